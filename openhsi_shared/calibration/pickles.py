"""Calibrations pickled by openhsi, read without executing them.

A pickle is a program: it names classes and functions, and calls them. Here each name that openhsi's calibrations use is
replaced by a placeholder class that only stores its arguments; any other name is refused. This makes it independent of
the versions of numpy, xarray, pandas and scipy that made the pickle, too.
"""

import io
import pickle
import reprlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import CalibrationError

__all__ = ["is_pickle", "values_of_pickle"]

_SUFFIXES = (".pkl", ".pickle")
_MEMO_OPCODES = ("PUT", "BINPUT", "LONG_BINPUT")
_MAX_OBJECTS = 1_000_000
"""Maximum number of lists, names and numbers, besides arrays: more than in any calibration."""


def is_pickle(path: Path) -> bool:
    """Whether the file has a suffix of pickles."""
    return path.suffix.lower() in _SUFFIXES


def values_of_pickle(
    content: bytes, path: Path
) -> tuple[dict[str, Any], dict[str, tuple[str, ...]], dict[str, NDArray[Any]]]:
    """Values, names of axes, and coordinates of a calibration that openhsi pickled.

    CalibrationError if it is damaged, or contains anything that openhsi's do not; nothing is executed.
    """
    try:
        _check_sizes(content)
        loaded = _RestrictedUnpickler(io.BytesIO(content)).load()
        if _count(loaded, {}) > _MAX_OBJECTS:
            raise CalibrationError(f"expands to more than {_MAX_OBJECTS} objects, more than any calibration of openhsi")
        found = _rebuilt(loaded)
    except CalibrationError as error:
        raise CalibrationError(f"calibration {str(path)!r} is a pickle and {error}") from None
    except Exception as error:  # a damaged pickle may raise anything
        raise CalibrationError(f"calibration {str(path)!r} is not a pickle, or damaged: {error!r}") from error
    if not isinstance(found, dict):
        raise CalibrationError(
            f"calibration {str(path)!r} is a pickle of {type(found).__name__}, expected a dictionary"
        )
    if not all(isinstance(key, str) for key in found):
        keys = reprlib.repr([key for key in found if not isinstance(key, str)])
        raise CalibrationError(
            f"calibration {str(path)!r} is a pickle of a dictionary with the keys {keys}, expected names, such as "
            f"'wavelengths': all keys must be text"
        )
    values: dict[str, Any] = {}
    dims: dict[str, tuple[str, ...]] = {}
    coordinates: dict[str, NDArray[Any]] = {}
    for key, value in found.items():
        if isinstance(value, _Labelled):
            values[key], dims[key] = value.data, value.dims
            coordinates |= value.coordinates
        elif isinstance(value, _Curve):
            values[f"{key}_x"], values[f"{key}_y"] = value.x, value.y
        elif value is not None:
            values[key] = value
    return values, dims, coordinates


def _check_sizes(content: bytes) -> None:
    """ValueError for a memo index beyond the length of the pickle: a few bytes could allocate all memory."""
    import pickletools  # not above: rare

    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in _MEMO_OPCODES and argument is not None and argument > len(content):
            raise ValueError(f"has memo index {argument} in {len(content)} bytes")


def _count(value: Any, known: dict[int, int]) -> int:
    """Number of objects in `value`, shared ones counted each time, as in a list of lists of the same list.

    RecursionError for a value that contains itself.
    """
    if isinstance(value, dict):
        parts: tuple[Any, ...] = (*value.keys(), *value.values())
    elif isinstance(value, list | tuple):
        parts = tuple(value)
    elif isinstance(value, _Placeholder):
        parts = (*value.arguments, value.state)
    else:
        return 1
    if id(value) not in known:
        known[id(value)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(value)]


# ---- placeholders ----------------------------------------------------------------------------


class _Placeholder:
    """Placeholder of an instance of a class, or of the result of a function. Stores arguments and state."""

    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any, **_named: Any) -> "_Placeholder":
        """Used by pickles that create instances with or without a call of the class."""
        placeholder = super().__new__(cls)
        placeholder.arguments, placeholder.state = arguments, None
        return placeholder

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def field(self, name: str) -> Any:
        """Rebuild an attribute of the instance, from its dictionary or its slots; None if it is missing."""
        for part in self.state if isinstance(self.state, tuple) else (self.state,):
            if isinstance(part, dict) and name in part:
                return _rebuilt(part[name])
        return None

    def rebuilt(self) -> Any:
        """Value that is used of it."""
        return None


class _Dtype(_Placeholder):
    """A dtype, with the arguments (code, ...); the second item of its state is the byte order."""

    def rebuilt(self) -> Any:
        code = self.arguments[0] if self.arguments else None
        if not isinstance(code, str) or code[:1] not in "biufUO" or not code[1:].isdigit():
            raise CalibrationError(f"contains values of the type {code!r}, expected integers, floats or text")
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "="
        return np.dtype(f"{order if order in ('<', '>') else '='}{code}")


class _Array(_Placeholder):
    """An array; its state is (version, shape, dtype, whether the first axis runs fastest, bytes or list)."""

    def rebuilt(self) -> Any:
        _, shape, dtype, is_fortran, data = self.state
        return _array(data, _rebuilt(dtype), shape, "F" if is_fortran else "C")


class _FromBuffer(_Placeholder):
    """An array, with the arguments (bytes, dtype, shape, order)."""

    def rebuilt(self) -> Any:
        data, dtype, shape, order = self.arguments
        return _array(data, _rebuilt(dtype), shape, order)


class _Scalar(_Placeholder):
    """A numpy scalar, with the arguments (dtype, bytes)."""

    def rebuilt(self) -> Any:
        dtype, data = self.arguments
        return _array(data, _rebuilt(dtype), (), "C").item()


class _Bytes(_Placeholder):
    """Bytes of old protocols, with the arguments (text, "latin1")."""

    def rebuilt(self) -> Any:
        return self.arguments[0].encode("latin1")


class _Index(_Placeholder):
    """An index of pandas, with the arguments (class, dictionary)."""

    def rebuilt(self) -> Any:
        return _rebuilt(self.arguments[1].get("data"))


class _Adapter(_Placeholder):
    """xarray's wrapper around an array, or around an index."""

    def rebuilt(self) -> Any:
        return self.field("array")


class _Variable(_Placeholder):
    """Array and names of its axes."""

    def rebuilt(self) -> Any:
        data, dims = self.field("_data"), self.field("_dims")
        if not isinstance(data, np.ndarray):
            return None  # texts, which are not used
        return _Labelled(data, tuple(str(dim) for dim in dims), {})


class _DataArray(_Placeholder):
    """A variable and its coordinates."""

    def rebuilt(self) -> Any:
        variable, coordinates = self.field("_variable"), self.field("_coords") or {}
        if not isinstance(variable, _Labelled):
            raise CalibrationError("its DataArray has no numeric array: is its file missing?")
        variable.coordinates |= {
            name: labelled.data
            for name, labelled in coordinates.items()
            if isinstance(labelled, _Labelled) and labelled.dims == (name,)
        }
        return variable


class _Interpolator(_Placeholder):
    """A curve through points."""

    def rebuilt(self) -> Any:
        x, y = self.field("x"), self.field("y")
        y = self.field("_y") if y is None else y
        if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray) or x.size != y.size:
            raise CalibrationError("its curve has no points x and y")
        return _Curve(x.ravel(), y.ravel())


class _Labelled:
    """Array, names of its axes, values along them."""

    def __init__(self, data: NDArray[Any], dims: tuple[str, ...], coordinates: dict[str, NDArray[Any]]) -> None:
        self.data, self.dims, self.coordinates = data, dims, coordinates


class _Curve:
    """Points of a curve."""

    def __init__(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        self.x, self.y = x, y


def _rebuilt(value: Any) -> Any:
    """Replace every placeholder in `value` by its value."""
    if isinstance(value, dict):
        return {_rebuilt(key): _rebuilt(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_rebuilt(item) for item in value)
    return value.rebuilt() if isinstance(value, _Placeholder) else value


def _array(data: Any, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    if dtype.kind == "O":
        words = np.array([str(_rebuilt(item)) for item in data])
        return words.reshape(shape, order=order)
    return np.frombuffer(_rebuilt(data), dtype).reshape(shape, order=order).astype(dtype.newbyteorder("="))


# ---- the names -------------------------------------------------------------------------------

_PLACEHOLDERS: dict[str, tuple[type[_Placeholder], tuple[str, ...]]] = {
    "dtype": (_Dtype, ("numpy",)),
    "ndarray": (_Placeholder, ("numpy",)),
    "_reconstruct": (_Array, ("numpy._core.multiarray", "numpy.core.multiarray")),
    "_frombuffer": (_FromBuffer, ("numpy._core.numeric", "numpy.core.numeric")),
    "scalar": (_Scalar, ("numpy._core.multiarray", "numpy.core.multiarray")),
    "float64": (_Placeholder, ("numpy",)),
    "float32": (_Placeholder, ("numpy",)),
    "encode": (_Bytes, ("_codecs",)),
    "getattr": (_Placeholder, ("builtins", "__builtin__")),  # by which old protocols name a method; does nothing here
    "DataArray": (_DataArray, ("xarray.core.dataarray",)),
    "Variable": (_Variable, ("xarray.core.variable",)),
    "IndexVariable": (_Variable, ("xarray.core.variable",)),
    "PandasIndex": (_Placeholder, ("xarray.core.indexes",)),
    "PandasIndexingAdapter": (_Adapter, ("xarray.core.indexing",)),
    "NumpyIndexingAdapter": (_Adapter, ("xarray.core.indexing",)),
    "_new_Index": (_Index, ("pandas.core.indexes.base",)),
    "Index": (_Placeholder, ("pandas", "pandas.core.indexes.base")),
    "Int64Index": (_Placeholder, ("pandas.core.indexes.numeric",)),
    "Float64Index": (_Placeholder, ("pandas.core.indexes.numeric",)),
    "StringDtype": (_Placeholder, ("pandas", "pandas.core.arrays.string_")),
    "StringArray": (_Placeholder, ("pandas.arrays", "pandas.core.arrays.string_")),
    "__pyx_unpickle_NDArrayBacked": (_Placeholder, ("pandas._libs.arrays",)),
    "interp1d": (_Interpolator, ("scipy.interpolate._interpolate", "scipy.interpolate.interpolate")),
    **{
        f"interp1d._call_{kind}": (_Placeholder, ("scipy.interpolate._interpolate", "scipy.interpolate.interpolate"))
        for kind in ("spline", "linear", "linear_np", "nearest", "previousnext")
    },
    "BSpline": (_Placeholder, ("scipy.interpolate._bsplines",)),
    "asarray": (_Placeholder, ("scipy._lib.array_api_compat.numpy._aliases",)),
}
"""Names in openhsi's pickles: placeholder, and modules in different versions."""


class _RestrictedUnpickler(pickle.Unpickler):
    """Resolves the names above to placeholders, and refuses all others."""

    def find_class(self, module_name: str, global_name: str) -> type[_Placeholder]:
        placeholder, modules = _PLACEHOLDERS.get(global_name, (_Placeholder, ()))
        if module_name not in modules:
            raise CalibrationError(
                f"names {module_name}.{global_name}, which openhsi's calibrations do not contain: it may be malicious, "
                f"and was not executed; load it only if you trust it, and save it as NetCDF"
            )
        return placeholder

    def persistent_load(self, pid: Any) -> Any:
        raise CalibrationError(f"has a persistent reference, {pid!r}")
