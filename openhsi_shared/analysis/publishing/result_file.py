"""The result of a run as an HDF5 file: what was published, and in the group `_analysis` how it came about."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.parameter_log import ParameterLog
from openhsi_shared.control.snapshot import Dataset, Group, Snapshot
from openhsi_shared.durable import PartFile
from openhsi_shared.files.memory_file import MemoryFile
from openhsi_shared.files.pieces import write_extents
from openhsi_shared.loggers import safe_logger

__all__ = ["ABOUT", "result_path", "save_result"]

logger = safe_logger(__name__)

ABOUT = "_analysis"
"""Group with the classes, parameters and counts."""


def result_path(first_cube: Path, *, is_attached: bool = False) -> Path:
    """Return where the result of the analysis of a recording is saved: beside its first cube.

    One that was attached has a name of its own, beside the first cube that it was given lines of.
    """
    return first_cube.with_name(f"{first_cube.stem}_analysis{'_attached' if is_attached else ''}.h5")


def save_result(
    target: Path, snapshot: Snapshot, pair: Pair, log: ParameterLog, counts: Mapping[str, int | float | str]
) -> Path:
    """Write what was published; blocks until it is on the disk. SaveError if that fails.

    Returns its path: never overwrites a file, but uses the first free name of `name`, `name-1`, `name-2`, ...
    The group `_analysis` has the names, source hashes and versions of the classes, the counts, the parameters at the
    end, and in `parameter_log` those at the start with all changes, as JSON.
    """
    about: dict[str, Any] = {
        "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "openhsi_shared": version("openhsi_shared"),
        "numpy": np.__version__,
        "worker": pair.worker_name,
        "reducer": pair.reducer_name or "",
        "parameters_hash": log.newest.hash,
        "mapreduce_version": pair.version,
        **{f"sha256 of {name}": digest for name, digest in pair.source_hashes.items()},
        **counts,
    }
    memory = MemoryFile()
    with h5py.File(memory, "w", libver=("v110", "v110"), track_order=True) as file:
        problems = [*snapshot.problems, *_put_group(file, snapshot.root, is_root=True)]
        values: dict[str, Group | Dataset] = {name: Dataset(_as_array(one.value)) for name, one in log.newest.items()}
        members: dict[str, Group | Dataset] = {
            "parameters": Group(values),
            "parameter_log": Dataset(np.asarray(log.to_json())),
        }
        if problems:
            about["not_published"] = problems
            logger.warning("%s does not contain all that was published: %s", target, "; ".join(problems))
        attributes = {name: _as_array(value) for name, value in about.items()}
        _put_group(file.create_group(ABOUT, track_order=True), Group(members, attributes))
    with PartFile(target.parent, target.name) as part:
        write_extents(memory.extents(), memory.size, part)
        return part.publish(target.stem, target.suffix)


def _put_group(into: Any, group: Group, is_root: bool = False) -> list[str]:
    """Write a group; return what HDF5 refuses, and why."""
    problems = _put_attributes(into, group)
    for name, node in group.members.items():
        if is_root and name == ABOUT:
            problems.append(f"{name}: this is the name of the group about the analysis")
            continue
        try:
            if isinstance(node, Group):
                problems += _put_group(into.create_group(name, track_order=True), node)
            else:
                problems += _put_attributes(_put_dataset(into, name, node.values), node)
        except (OSError, ValueError, TypeError) as error:
            problems.append(f"{into.name.rstrip('/')}/{name!r}: HDF5: {error}")
    return problems


def _put_dataset(into: Any, name: str, values: NDArray[Any]) -> Any:
    has_checksum = values.dtype.kind != "U" and values.size > 0 and values.ndim > 0
    return into.create_dataset(name, data=_storable(values), fletcher32=has_checksum or None)


def _put_attributes(into: Any, node: Group | Dataset) -> list[str]:
    problems = []
    for name, value in node.attributes.items():
        try:
            into.attrs[name] = _storable(value)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            problems.append(f"attribute {name!r} of {into.name}: HDF5: {error}")
    return problems


def _storable(values: NDArray[Any]) -> NDArray[Any]:
    """Text of any length, in UTF-8. ValueError for text that HDF5 cannot store, before anything is made for it."""
    if values.dtype.kind != "U":
        return values
    for text in values.flat:
        if text != _escaped(text):
            raise ValueError("text with null characters, or half of a surrogate pair, cannot be stored")
    return values.astype(h5py.string_dtype())


def _as_array(value: Any) -> NDArray[Any]:
    """What is known of the analysis as an array, which can be stored in any case."""
    if isinstance(value, str | list):
        return np.asarray(np.vectorize(_escaped, otypes=[str])(value))
    return np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.asarray(value)


def _escaped(text: str) -> str:
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
