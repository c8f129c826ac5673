"""Dumps of cubes: their raw bytes, and a sidecar that describes them.

For a cube that crashed the writers that tried to save it. No HDF5, no threads: only `os.write`. The sidecar is
published last, so a dump with a sidecar is complete::

    2026_11_20-10_00_00_000000.raw         lines in the order of time, (line, cross-track, wavelength), C order
    2026_11_20-10_00_00_000000.raw.json    one line of JSON, and the CRC-32 of that line in the next one
"""

import base64
import json
import math
import os
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared import dataset
from openhsi_shared.attributes import attribute_value
from openhsi_shared.columns import Column, Saturation
from openhsi_shared.dataset import Cube
from openhsi_shared.durable import Durability, PartFile, make_folder, save_error
from openhsi_shared.errors import ArgumentError, ChecksumError, FileError, SaveError
from openhsi_shared.groups import Group, Variable
from openhsi_shared.line_times import begin_of
from openhsi_shared.loggers import safe_logger
from openhsi_shared.paths import given_path

__all__ = ["SIDECAR", "Dump", "read_dump", "remove_dump", "write_dump"]

logger = safe_logger(__name__)

SIDECAR = ".raw.json"
FORMAT = "openhsi_shared dump 1"
FORMAT_WITH_GROUPS = "openhsi_shared dump 2"
"""The format of a cube with groups: a reader without support for groups must refuse it."""

FIELDS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("raw", "dtype", "uuid", "prefix", "suffix"), (str, "text")),
    **dict.fromkeys(("shape", "line_crc32"), (list, "a list of numbers")),
    **dict.fromkeys(("columns", "attributes", "metadata"), (dict, "names and values")),
    "wavelengths_nm": (list | None, "a list of numbers, or null"),
    "level": (int | float, "a number"),
    "old_style": (bool, "true or false"),
}
"""Fields of a sidecar besides the format and the optional groups: the type of each, and its name in messages."""

INVALID_DUMP_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
)
"""Errors from a sidecar that has a valid checksum, but was not written by this library."""


class Dump(NamedTuple):
    """A dumped cube, and the options of the save that failed."""

    cube: Cube
    raw_path: Path
    prefix: str
    suffix: str
    old_style: bool


def write_dump(
    cube: Cube,
    directories: Sequence[Path],
    *,
    prefix: str = "",
    suffix: str = "",
    old_style: bool = True,
    durability: Durability = "fsync",
    passed: Callable[[str], None] | None = None,
) -> Path:
    """Write the lines of `cube` into the first of `directories` that works; return the path of the sidecar.

    Blocks until both files are durable. `passed("piece")` is called after each line. Raises the SaveError of the first
    directory if all fail; nothing is left behind then. ArgumentError if there is no directory.
    """
    if not directories:
        raise ArgumentError("there is no directory to dump the cube in: give at least one")
    time_ns = begin_of(cube.columns["time_ns"])
    stem, day = dataset.cube_stem(time_ns, prefix, suffix), dataset.day_folder(time_ns)
    how = {"prefix": prefix, "suffix": suffix, "old_style": bool(old_style)}
    errors: list[SaveError] = []
    for directory in directories:
        try:
            folder = make_folder(directory, day, durability=durability)
            return _write_both(cube, folder, stem, how, durability, passed or (lambda _: None))
        except OSError as error:
            errors.append(save_error(error, directory))
    raise errors[0]


def _write_both(
    cube: Cube, folder: Path, stem: str, how: dict[str, Any], durability: Durability, passed: Callable[[str], None]
) -> Path:
    n_bytes = cube.memory[0].nbytes
    crcs = []
    lines = PartFile(folder, f"{stem}.raw")
    try:
        with lines:
            lines.reserve(cube.n_lines * n_bytes)
            for number in range(cube.n_lines):
                stored = cube.memory[(cube.first + number) % len(cube.memory)]
                line = np.ascontiguousarray(stored, stored.dtype.newbyteorder("<"))
                data = line.reshape(-1).view(np.uint8).data
                crcs.append(zlib.crc32(data))
                lines.write_at(number * n_bytes, data)
                passed("piece")
            raw = lines.publish(stem, ".raw", durability=durability)
        with PartFile(folder, raw.name + ".json") as part:
            text = json.dumps(_sidecar_fields(cube, raw, crcs, how), default=_plain).encode()
            part.write_at(0, memoryview(text + b"\n%08x\n" % zlib.crc32(text)))
            try:
                return part.publish(raw.name, ".json", durability=durability)
            except SaveError as error:
                if not part.is_published:
                    raise
                read_dump(part.path)  # raises if it is not whole; else another one would be a second dump
                logger.warning("%s is whole, but cannot be synced: %s", part.path, error)
                return part.path
    except BaseException:
        sidecar = lines.path.with_name(lines.path.name + ".json")
        if lines.path.suffix == ".raw" and not os.path.lexists(sidecar):  # else it is complete, only not synced
            with suppress(OSError):  # `recover` reports it; the error to raise is the first one
                lines.path.unlink()
        raise


def _sidecar_fields(cube: Cube, raw: Path, crcs: list[int], how: dict[str, Any]) -> dict[str, Any]:
    described = {
        item.name: {"unit": item.unit, "long_name": item.long_name, "attributes": dict(item.attributes)}
        for item in cube.column_descriptions
    }
    groups = {"groups": {name: _group_to_json(group) for name, group in cube.groups.items()}} if cube.groups else {}
    return {
        "format": FORMAT_WITH_GROUPS if groups else FORMAT,
        "raw": raw.name,
        "shape": [cube.n_lines, *cube.line_shape],
        "dtype": cube.memory.dtype.newbyteorder("<").str,
        "line_crc32": crcs,
        "columns": {
            name: {"dtype": column.dtype.str, "values": column.tolist(), **described.get(name, {})}
            for name, column in cube.columns.items()
        },
        "wavelengths_nm": cube.wavelengths_nm,
        "level": cube.level,
        "attributes": dict(cube.attributes),
        "metadata": dict(cube.metadata),
        "uuid": cube.uuid,
        "saturation": cube.saturation,
        **groups,
        **how,
    }


def _group_to_json(group: Group) -> dict[str, Any]:
    return {
        "variables": {
            name: {
                "dims": variable.dims,
                "dtype": variable.data.dtype.str,
                "shape": variable.data.shape,
                "values": base64.b64encode(variable.data.tobytes()).decode("ascii"),
                "attributes": dict(variable.attributes),
            }
            for name, variable in group.variables.items()
        },
        "attributes": dict(group.attributes),
        "groups": {name: _group_to_json(nested) for name, nested in group.groups.items()},
    }


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def remove_dump(sidecar: Path) -> None:
    """Remove a dump whose cube is published. What cannot be removed is logged."""
    for path in (sidecar, sidecar.with_suffix("")):  # a .raw alone is reported by `recover`, a sidecar is an error
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s could not be removed: its cube is published: %s", path, error)


def read_dump(sidecar: str | os.PathLike[str]) -> Dump:
    """Read a dump by its sidecar. The lines are mapped, not loaded; each is compared with its checksum.

    Raises FileError for an invalid or incomplete dump, ChecksumError for a damaged line or sidecar.
    """
    path = given_path(sidecar)
    try:
        fields = _read_sidecar(path)
        dump = _dump(path, fields)
    except FileError:
        raise
    except INVALID_DUMP_ERRORS as error:
        why = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise FileError(f"{path} is not a valid dump: {why}") from error
    crcs = fields["line_crc32"]
    for number, line in enumerate(dump.cube.memory):
        if zlib.crc32(line) != crcs[number]:
            raise ChecksumError(f"{dump.raw_path}: line {number} is damaged: its checksum is not {crcs[number]:#010x}")
    return dump


def _read_sidecar(path: Path) -> dict[str, Any]:
    """The fields of a sidecar, each present and of its type."""
    text, _, checksum = path.read_bytes().partition(b"\n")
    if checksum.strip() != b"%08x" % zlib.crc32(text):
        raise ChecksumError(f"{path} is damaged: its checksum is {zlib.crc32(text):08x}, expected {checksum[:20]!r}")
    fields = json.loads(text)
    if not isinstance(fields, dict) or fields.get("format") not in (FORMAT, FORMAT_WITH_GROUPS):
        raise FileError(
            f"{path} is not the sidecar of a dump: expected the format {FORMAT!r} or {FORMAT_WITH_GROUPS!r}"
        )
    for name, (kind, expected) in FIELDS.items():
        if name not in fields or not isinstance(fields[name], kind):
            raise FileError(f"{path} is not a valid dump: {name} is {fields.get(name)!r:.60}, expected {expected}")
    shape, crcs = fields["shape"], fields["line_crc32"]
    if len(shape) != 3 or not all(type(n) is int and n > 0 for n in shape):
        raise FileError(f"{path} is not a valid dump: shape is {shape!r:.60}, expected three positive numbers")
    if len(crcs) != shape[0] or not all(type(crc) is int for crc in crcs):
        raise FileError(f"{path} is not a valid dump: line_crc32 must be {shape[0]} numbers, one for each line")
    return fields


def _dump(path: Path, fields: dict[str, Any]) -> Dump:
    raw = path.with_name(Path(fields["raw"]).name)
    shape, dtype = tuple(fields["shape"]), _dtype("the pixels", fields["dtype"])
    n_bytes = math.prod(shape) * dtype.itemsize
    if raw.stat().st_size != n_bytes:
        raise FileError(f"{raw} has {raw.stat().st_size} bytes, expected {n_bytes}: it is not the file that was dumped")
    columns = {name: _column(name, column) for name, column in fields["columns"].items()}
    cube = Cube(
        memory=np.memmap(raw, dtype, "r", shape=shape),
        n_lines=shape[0],
        columns=columns,
        column_descriptions=tuple(
            Column(
                name,
                columns[name].dtype.str,
                str(column["unit"]),
                str(column["long_name"]),
                {key: attribute_value(value) for key, value in column.get("attributes", {}).items()},
            )
            for name, column in fields["columns"].items()
            if column.keys() >= {"unit", "long_name"}
        ),
        groups={name: _group(group) for name, group in fields.get("groups", {}).items()},
        wavelengths_nm=fields["wavelengths_nm"],
        level=int(np.int64(fields["level"])),  # the type in files
        attributes=fields["attributes"],
        metadata=fields["metadata"],
        uuid=fields["uuid"],
        saturation=_saturation(fields.get("saturation"), shape),
    )
    return Dump(cube, raw, fields["prefix"], fields["suffix"], fields["old_style"])


def _saturation(fields: Any, shape: tuple[int, ...]) -> Saturation | None:
    if fields is None:  # also of an older version
        return None
    found = Saturation(*map(int, fields))
    if not 0 <= found.first_row < found.end_row <= shape[1]:
        raise ValueError(f"saturation is {fields!r:.60}, expected full scale and rows of a line")
    return found


def _column(name: str, fields: Any) -> NDArray[Any]:
    if "/" in name or not isinstance(fields, dict):
        raise ValueError(f"column {name!r} is {fields!r:.60}, expected a name without / and the contents of a column")
    return np.array(fields["values"], _dtype(f"column {name!r}", fields["dtype"]))


def _group(fields: Any) -> Group:
    return Group(
        {name: _variable(name, variable) for name, variable in fields["variables"].items()},
        dict(fields["attributes"]),
        {name: _group(nested) for name, nested in fields["groups"].items()},
    )


def _variable(name: str, fields: Any) -> Variable:
    values = np.frombuffer(base64.b64decode(fields["values"]), _dtype(f"variable {name!r}", fields["dtype"], "biufU"))
    return Variable(tuple(fields["dims"]), values.reshape(fields["shape"]), dict(fields["attributes"]))


def _dtype(what: str, name: Any, kinds: str = "biuf") -> np.dtype[Any]:
    """The dtype of that name, numbers only: others could allocate all memory."""
    if not isinstance(name, str) or np.dtype(name).kind not in kinds:
        raise ValueError(f"the type of {what} is {name!r:.60}, expected a numeric type")
    return np.dtype(name)
