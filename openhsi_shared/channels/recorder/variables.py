"""Variables of rows, as files and Datasets have them: names and units of CF, images as contiguous ragged arrays."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.channels.units import known_unit
from openhsi_shared.line_times import TIME_UNITS

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["FORMAT", "OF_IMAGE", "ROW", "Part", "attributes_of", "parts_of", "to_dataset"]

ROW = "row"
NO_NAME = re.compile(r"[^A-Za-z0-9_]")
OF_IMAGE = ("height", "width", "start_row", "start_column", "centre_row", "centre_column", "size")
FORMAT = "rows-1"


class Part(NamedTuple):
    """A variable."""

    name: str
    dims: tuple[str, ...]
    data: NDArray[Any] | list[NDArray[Any]]
    """An array, or the regions that are one behind the other."""
    attributes: dict[str, Any]


def parts_of(
    data: Mapping[str, NDArray[Any]], images: Collection[str], attributes: Mapping[str, Any]
) -> Iterator[Part]:
    """The variables of a file of rows."""
    names, units = _variable_names(data, images), attributes.get("units", {})
    time = {"units": TIME_UNITS, "calendar": "standard", "units_metadata": "leap_seconds: none"}
    time |= {"standard_name": "time", "long_name": "time of the reference"}
    yield Part("time", (ROW,), data["time_ns"], time)
    for column, name in names.items():
        about: dict[str, Any] = {"long_name": column, "column": column}
        if column not in images:
            given = units.get(column)
            unit = None if given is None else known_unit(given)
            more = {"units": unit} if unit is not None else {"unit_as_given": given} if given is not None else {}
            yield Part(name, (ROW,), data[column], about | more)
            continue
        regions = [np.asarray(region) for region in data[column]]
        start, centre = data[f"{column} start"], data[f"{column} centre"]
        sizes: dict[str, NDArray[Any]] = {
            "height": np.array([region.shape[0] for region in regions], np.int32),
            "width": np.array([region.shape[1] for region in regions], np.int32),
            "start_row": start["x"].astype(np.int64),
            "start_column": start["y"].astype(np.int64),
            "centre_row": centre["x"],
            "centre_column": centre["y"],
            "size": np.array([region.size for region in regions], np.int64),
        }
        for suffix in OF_IMAGE:
            of_size = {"sample_dimension": f"{name}_pixel"} if suffix == "size" else {}
            words = f"{suffix.replace('_', ' ')} of the region of {column}"
            yield Part(f"{name}_{suffix}", (ROW,), sizes[suffix], {"long_name": words, "units": "1"} | of_size)
        yield Part(name, (f"{name}_pixel",), regions, about | {"units": "1", "is_image": 1})


def _variable_names(data: Mapping[str, NDArray[Any]], images: Collection[str]) -> dict[str, str]:
    """Names of variables by columns: CF has letters, digits and underscores only."""
    beside = {f"{image} {what}" for image in images for what in ("start", "centre")}
    columns = [name for name in data if name not in beside | {"timestamp", "time_ns", "valid"}]
    found: dict[str, str] = {}
    taken = {"time"}
    for column in columns:
        base = NO_NAME.sub("_", column)
        base = base if base[0].isalpha() else f"channel_{base}"
        name, number = base, 1
        while taken & {name, *(f"{name}_{suffix}" for suffix in OF_IMAGE)}:
            number += 1
            name = f"{base}_{number}"
        found[column] = name
        taken |= {name, *(f"{name}_{suffix}" for suffix in OF_IMAGE)} if column in images else {name}
    return found


def attributes_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Global attributes of a file of rows."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "Conventions": "CF-1.11",
        "title": "values of several channels, matched shot by shot",
        "source": "openhsi_shared Recorder",
        "history": f"{now} saved by openhsi_shared",
        "rows_format": FORMAT,
        "recorder": json.dumps(dict(attributes), default=str),
    }


def to_dataset(
    data: Mapping[str, NDArray[Any]], images: Collection[str], attributes: Mapping[str, Any]
) -> "xr.Dataset":
    """Rows as a Dataset with the variables of a file, times decoded. Copies pixels."""
    import xarray as xr

    variables: dict[str, Any] = {}
    for part in parts_of(data, images, attributes):
        values, about = part.data, part.attributes
        if isinstance(values, list):
            values = np.concatenate([region.reshape(-1) for region in values]) if values else np.zeros(0)
        if part.name == "time":
            values = values.astype("datetime64[ns]")
            about = {key: value for key, value in about.items() if key not in ("units", "calendar")}
        variables[part.name] = (part.dims, values, about)
    return xr.Dataset(variables, attrs=attributes_of(attributes)).set_coords("time")
