"""openhsi's function for saving a shared array, for code that calls it directly.

It writes files as safely as this library does: atomic, durable, with checksums, and never over another file.
"""

import contextlib
import ctypes
import math
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared import dataset
from openhsi_shared.attributes import attribute_value
from openhsi_shared.dataset import Cube
from openhsi_shared.errors import ArgumentError
from openhsi_shared.files.image import Image, Layout
from openhsi_shared.files.preview import write_preview
from openhsi_shared.files.saving import Saving, no_progress
from openhsi_shared.groups import Variable, check_name
from openhsi_shared.line_times import UNKNOWN_TIME_NS, ns_of
from openhsi_shared.loggers import safe_logger
from openhsi_shared.paths import given_path
from openhsi_shared.rgb import preview_bands
from openhsi_shared.wavelengths import are_band_numbers, in_nanometres

__all__ = ["save_shared_datacube"]

logger = safe_logger(__name__)

UNITS = {"pixels": "1", "nanometers": "nm", "degrees Celsius": "degC"}
"""Units that openhsi writes and UDUNITS does not support, or has under another name."""


def save_shared_datacube(
    fname: str,
    shared_array: Any,
    c_dtype: Any,
    shape: tuple[int, int, int],
    coords_dict: Mapping[str, Any],
    attrs_dict: Mapping[str, Any],
    proc_lvl: int,
    old_style: bool = True,
    savefig: bool = False,
) -> Path:
    """Save a cube of `shape` (x, y, wavelength) that is stored in a `multiprocessing.Array`, locked or not.

    Writes `fname` + ".nc", and with `savefig` a picture with ".png"; an existing name gets a number. Returns the path
    of the cube. `coords_dict` as xarray accepts it: name to values, to (dims, values) or to (dims, values, attributes).
    Blocks until the file is durable; raises SaveError with the true errno, PreviewError if only the picture failed,
    ArgumentError if array, `shape` and coordinates do not fit each other.
    """
    lines = _lines(shared_array, c_dtype, shape)
    variables = {name: _variable(name, given) for name, given in coords_dict.items()}
    sizes = {"x": shape[0], "y": shape[1], "wavelength": shape[2]}
    for name, variable in variables.items():
        wrong = [
            dim for dim, n in zip(variable.dims, variable.data.shape, strict=True) if sizes.setdefault(dim, n) != n
        ]
        if wrong:
            raise ArgumentError(
                f"coordinate {name!r} has {variable.data.shape} values, but {wrong[0]} has {sizes[wrong[0]]}"
            )
    times = variables.get("time")
    has_times = times is not None and times.data.shape == (shape[1],)
    times_ns = times.data if times and has_times else np.full(shape[1], UNKNOWN_TIME_NS)
    cube = Cube(
        memory=lines,
        n_lines=shape[1],
        columns={"time_ns": times_ns},
        wavelengths_nm=_wavelengths_nm(variables.get("wavelength")),
        level=proc_lvl,
        metadata=attrs_dict,
        uuid=str(uuid.uuid4()),
    )
    target, ours = given_path(f"{fname}.nc", "fname"), dataset.coordinates(cube)
    labelled = _with_labels({name: ours[name] for name in ours if name in sizes}, variables)
    attributes = {**dataset.global_attributes(cube), "durability": "fsync"}
    with ThreadPoolExecutor(2) as pool:
        saving = Saving(
            cube=cube,
            describe=lambda image: image.describe_cube(cube, labelled, attributes),
            pool=pool,
            threads=2,
            durability="fsync",
            bands=preview_bands(cube.wavelengths_nm, shape[2]) if savefig else None,
            passed=no_progress,
        )
        layout = Layout(shape[1], (shape[0], shape[2]), lines.dtype.newbyteorder("<"), old_style)
        with contextlib.closing(Image(layout)) as image:
            written = saving.run(image, target.parent, target.name.removesuffix(".nc"))
    if written.picture is not None:
        write_preview(written.picture, written.path.with_suffix(".png"))
    return written.path


def _wavelengths_nm(variable: Variable | None) -> NDArray[np.float64] | None:
    """Wavelengths of a coordinate, which are in nm without units, as openhsi passes them; None if they are unknown."""
    units = None if variable is None else variable.attributes.get("units", "nm")
    if variable is None or are_band_numbers(variable.data, units):
        return None
    try:
        return in_nanometres(variable.data, units)
    except ArgumentError as error:
        logger.warning("coordinate 'wavelength': %s: the wavelengths are unknown, and the picture is grey", error)
        return None


def _with_labels(ours: dict[str, Variable], given: Mapping[str, Variable]) -> dict[str, Variable]:
    """The given coordinates besides ours; those without units have our labels."""
    labelled = {
        name: item._replace(attributes={**ours[name].attributes, **item.attributes})
        for name, item in given.items()
        if name in ours and "units" not in item.attributes
    }
    return {**ours, **given, **labelled}


def _lines(shared_array: Any, c_dtype: Any, shape: tuple[int, int, int]) -> NDArray[Any]:
    """A view of the array with lines first; its own order is (x, y, wavelength)."""
    memory = shared_array.get_obj() if hasattr(shared_array, "get_obj") else shared_array
    expected = "expected a multiprocessing.Array (or any buffer) with exactly the pixels of the cube"
    try:
        dtype = np.dtype(getattr(ctypes, c_dtype, c_dtype) if isinstance(c_dtype, str) else c_dtype)
        of_array = np.dtype(getattr(memory, "_type_", np.uint8))
        pixels = np.frombuffer(memory, np.uint8)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"shared_array {shared_array!r:.80} of {c_dtype!r}: {error}; {expected}") from error
    if of_array not in (dtype, np.dtype(np.uint8), np.dtype(np.int8), np.dtype("S1")):
        raise ArgumentError(f"shared_array holds {of_array}, but c_dtype is {dtype}: {expected}")
    if len(shape) != 3 or min(shape) < 1 or math.prod(shape) * dtype.itemsize != pixels.nbytes:
        raise ArgumentError(
            f"shared_array has {pixels.nbytes} bytes, but a cube of shape {tuple(shape)} and {dtype} has "
            f"{math.prod(shape) * dtype.itemsize}: {expected}"
        )
    return pixels.view(dtype).reshape(shape).transpose(1, 0, 2)


def _variable(name: str, given: Any) -> Variable:
    """Convert a coordinate as xarray accepts it."""
    check_name("coordinate", name)
    if hasattr(given, "dims") and hasattr(given, "values"):
        dims, data, labels = tuple(given.dims), np.asarray(given.values), dict(given.attrs)
    elif isinstance(given, tuple):
        dims = (given[0],) if isinstance(given[0], str) else tuple(given[0])
        data, labels = np.asarray(given[1]), dict(given[2]) if len(given) > 2 else {}
    else:
        dims, data, labels = (name,), np.asarray(given), {}
    if data.ndim != len(dims) or data.ndim == 0:
        raise ArgumentError(f"coordinate {name!r} has {data.ndim} axes, but the dimension names {dims}")
    labels = {key: attribute_value(value) for key, value in labels.items()}
    if data.dtype.kind == "O":
        data = data.astype("datetime64[ns]")
    if data.dtype.kind == "M":
        time = dataset.time_variable(ns_of(data, f"coordinate {name!r}"))
        return Variable(dims, time.data, {**time.attributes, **labels})
    if data.dtype.kind not in "uif":
        raise ArgumentError(f"coordinate {name!r} of type {data.dtype} cannot be saved, expected numbers or times")
    if "units" in labels:
        labels["units"] = UNITS.get(str(labels["units"]), labels["units"])
    return Variable(dims, data, labels)
