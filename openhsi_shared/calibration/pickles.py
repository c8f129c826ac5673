"""What a calibration pickled by openhsi holds, rebuilt without running anything of it.

A pickle is a program: it names classes and functions, and calls them. Here each name that openhsi's calibrations use
stands for a husk, a class of ours that only keeps what it is given; any other name ends the reading. So it does not
matter either with which versions of numpy, xarray, pandas or scipy the pickle was made.
"""

import io
import pickle
import pickletools
import reprlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import CalibrationError

__all__ = ["is_pickle", "values_of_pickle"]

_SUFFIXES = (".pkl", ".pickle")
_MEMORIES = ("PUT", "BINPUT", "LONG_BINPUT")
_MOST_THINGS = 1_000_000
"""More lists, names and numbers than that, beside its arrays, no calibration has."""


def is_pickle(path: Path) -> bool:
    """Whether the name says that the file is a pickle."""
    return path.suffix.lower() in _SUFFIXES


def values_of_pickle(
    content: bytes, path: Path
) -> tuple[dict[str, Any], dict[str, tuple[str, ...]], dict[str, NDArray[Any]]]:
    """Values, names of axes, and coordinates of a calibration that openhsi pickled.

    CalibrationError if it is broken, or holds anything that openhsi's own do not; nothing of it is run.
    """
    try:
        _check_sizes(content)
        loaded = _Inert(io.BytesIO(content)).load()
        if _count(loaded, {}) > _MOST_THINGS:
            raise CalibrationError(f"unfolds to more than {_MOST_THINGS} things, which no calibration of openhsi does")
        found = _rebuilt(loaded)
    except CalibrationError as error:
        raise CalibrationError(f"calibration {str(path)!r} is a pickle and {error}") from None
    except Exception as error:  # a broken pickle may raise whatever it likes
        raise CalibrationError(f"calibration {str(path)!r} is no pickle, or broken: {error!r}") from error
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
    """ValueError if the program asks for more memory than its own length accounts for: a few bytes can ask for all."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in _MEMORIES and argument is not None and argument > len(content):
            raise ValueError(f"remembers thing number {argument} of {len(content)} bytes")


def _count(value: Any, known: dict[int, int]) -> int:
    """Things within `value`, one that is there several times counted as often: a list of lists of the same list.

    RecursionError for what holds itself.
    """
    if isinstance(value, dict):
        parts: tuple[Any, ...] = (*value.keys(), *value.values())
    elif isinstance(value, list | tuple):
        parts = tuple(value)
    elif isinstance(value, _Husk):
        parts = (*value.given, value.state)
    else:
        return 1
    if id(value) not in known:
        known[id(value)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(value)]


# ---- husks -----------------------------------------------------------------------------------


class _Husk:
    """Stands for a class or function: an instance, or what a call would give. Keeps arguments and state."""

    given: tuple[Any, ...]
    state: Any

    def __new__(cls, *given: Any, **_named: Any) -> "_Husk":
        """Pickles make instances with and without a call of the class; both come here."""
        husk = super().__new__(cls)
        husk.given, husk.state = given, None
        return husk

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def field(self, name: str) -> Any:
        """Rebuild an attribute of the instance, from its dictionary or that of its slots; None if it has none."""
        for part in self.state if isinstance(self.state, tuple) else (self.state,):
            if isinstance(part, dict) and name in part:
                return _rebuilt(part[name])
        return None

    def rebuilt(self) -> Any:
        """What we need of it."""
        return None


class _Dtype(_Husk):
    """A dtype, given as (code, ...); its state has the order of bytes in second place."""

    def rebuilt(self) -> Any:
        code = self.given[0] if self.given else None
        if not isinstance(code, str) or code[:1] not in "biufUO" or not code[1:].isdigit():
            raise CalibrationError(f"holds numbers of the type {code!r}, expected integers, floats or text")
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "="
        return np.dtype(f"{order if order in ('<', '>') else '='}{code}")


class _Array(_Husk):
    """An array; its state is (version, shape, dtype, whether the first axis runs fastest, bytes or list)."""

    def rebuilt(self) -> Any:
        _, shape, dtype, is_fortran, data = self.state
        return _array(data, _rebuilt(dtype), shape, "F" if is_fortran else "C")


class _FromBuffer(_Husk):
    """An array, given as (bytes, dtype, shape, order)."""

    def rebuilt(self) -> Any:
        data, dtype, shape, order = self.given
        return _array(data, _rebuilt(dtype), shape, order)


class _Scalar(_Husk):
    """A number of numpy, given as (dtype, bytes)."""

    def rebuilt(self) -> Any:
        dtype, data = self.given
        return _array(data, _rebuilt(dtype), (), "C").item()


class _Bytes(_Husk):
    """Bytes, given as (text, "latin1"), as old protocols have them."""

    def rebuilt(self) -> Any:
        return self.given[0].encode("latin1")


class _Index(_Husk):
    """An index of pandas, given as (class, what it was made of)."""

    def rebuilt(self) -> Any:
        return _rebuilt(self.given[1].get("data"))


class _Adapter(_Husk):
    """xarray's wrapper around an array, or around an index."""

    def rebuilt(self) -> Any:
        return self.field("array")


class _Variable(_Husk):
    """Array and names of its axes."""

    def rebuilt(self) -> Any:
        data, dims = self.field("_data"), self.field("_dims")
        if not isinstance(data, np.ndarray):
            return None  # words, that nobody needs
        return _Labelled(data, tuple(str(dim) for dim in dims), {})


class _DataArray(_Husk):
    """A variable and its coordinates."""

    def rebuilt(self) -> Any:
        variable, coordinates = self.field("_variable"), self.field("_coords") or {}
        if not isinstance(variable, _Labelled):
            raise CalibrationError("its DataArray holds no array of numbers: was it read from a file that is not here?")
        variable.coordinates |= {
            name: labelled.data
            for name, labelled in coordinates.items()
            if isinstance(labelled, _Labelled) and labelled.dims == (name,)
        }
        return variable


class _Interpolator(_Husk):
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
    """Replace every husk within by what it stands for."""
    if isinstance(value, dict):
        return {_rebuilt(key): _rebuilt(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_rebuilt(item) for item in value)
    return value.rebuilt() if isinstance(value, _Husk) else value


def _array(data: Any, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    if dtype.kind == "O":
        words = np.array([str(_rebuilt(item)) for item in data])
        return words.reshape(shape, order=order)
    return np.frombuffer(_rebuilt(data), dtype).reshape(shape, order=order).astype(dtype.newbyteorder("="))


# ---- the names -------------------------------------------------------------------------------

_STANDS_FOR: dict[str, tuple[type[_Husk], tuple[str, ...]]] = {
    "dtype": (_Dtype, ("numpy",)),
    "ndarray": (_Husk, ("numpy",)),
    "_reconstruct": (_Array, ("numpy._core.multiarray", "numpy.core.multiarray")),
    "_frombuffer": (_FromBuffer, ("numpy._core.numeric", "numpy.core.numeric")),
    "scalar": (_Scalar, ("numpy._core.multiarray", "numpy.core.multiarray")),
    "float64": (_Husk, ("numpy",)),
    "float32": (_Husk, ("numpy",)),
    "encode": (_Bytes, ("_codecs",)),
    "getattr": (_Husk, ("builtins", "__builtin__")),  # by which old protocols name a method; here it gets nothing
    "DataArray": (_DataArray, ("xarray.core.dataarray",)),
    "Variable": (_Variable, ("xarray.core.variable",)),
    "IndexVariable": (_Variable, ("xarray.core.variable",)),
    "PandasIndex": (_Husk, ("xarray.core.indexes",)),
    "PandasIndexingAdapter": (_Adapter, ("xarray.core.indexing",)),
    "NumpyIndexingAdapter": (_Adapter, ("xarray.core.indexing",)),
    "_new_Index": (_Index, ("pandas.core.indexes.base",)),
    "Index": (_Husk, ("pandas", "pandas.core.indexes.base")),
    "Int64Index": (_Husk, ("pandas.core.indexes.numeric",)),
    "Float64Index": (_Husk, ("pandas.core.indexes.numeric",)),
    "StringDtype": (_Husk, ("pandas", "pandas.core.arrays.string_")),
    "StringArray": (_Husk, ("pandas.arrays", "pandas.core.arrays.string_")),
    "__pyx_unpickle_NDArrayBacked": (_Husk, ("pandas._libs.arrays",)),
    "interp1d": (_Interpolator, ("scipy.interpolate._interpolate", "scipy.interpolate.interpolate")),
    **{
        f"interp1d._call_{kind}": (_Husk, ("scipy.interpolate._interpolate", "scipy.interpolate.interpolate"))
        for kind in ("spline", "linear", "linear_np", "nearest", "previousnext")
    },
    "BSpline": (_Husk, ("scipy.interpolate._bsplines",)),
    "asarray": (_Husk, ("scipy._lib.array_api_compat.numpy._aliases",)),
}
"""What openhsi's pickles name, in which modules of which versions, and the husk for it."""


class _Inert(pickle.Unpickler):
    """Knows the names above, and their husks, and nothing else."""

    def find_class(self, module_name: str, global_name: str) -> type[_Husk]:
        husk, modules = _STANDS_FOR.get(global_name, (_Husk, ()))
        if module_name not in modules:
            raise CalibrationError(
                f"names {module_name}.{global_name}, which openhsi's calibrations do not hold: it may be meant to do "
                f"harm, and was not run; load it where you trust it, and save it as NetCDF"
            )
        return husk

    def persistent_load(self, pid: Any) -> Any:
        raise CalibrationError(f"refers to something outside, {pid!r}")
