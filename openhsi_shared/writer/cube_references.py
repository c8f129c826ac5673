"""What the file of a cube has of the references in force, which the writer reads from their files.

A reference that cannot be read never costs a cube: what is wrong is logged, and stored in the file.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import FileError
from openhsi_shared.groups import Group
from openhsi_shared.line_times import begin_of
from openhsi_shared.loggers import safe_logger

__all__ = ["references_of_cube"]

logger = safe_logger(__name__)

MAX_AGE_S = 3600.0
MAX_DRIFT_K = 2.0
_read: dict[tuple[str, str], Any] = {}
"""By path and checksum; only those that are in force."""
_said: set[tuple[str, str]] = set()


def references_of_cube(
    references: Mapping[str, Any],
    line_shape: tuple[int, int],
    times_ns: NDArray[np.int64],
    temperatures: NDArray[Any],
    is_embedded: bool,
) -> tuple[dict[str, Group], dict[str, Any]]:
    """Groups and attributes for the file of a cube; `references`: path and checksum by kind. Never raises.

    Each is read once, and warned about once if it is old, or the sensor has another temperature by now.
    """
    groups: dict[str, Group] = {}
    files: dict[str, dict[str, Any]] = {}
    failures: dict[str, str] = {}
    for kind, (path, sha256) in references.items():
        files[kind] = {"path": path, "sha256": sha256}
        try:
            reference = _reference(path, sha256)
            about = _since(reference, times_ns, temperatures)
            files[kind] |= about
            if is_embedded:
                if reference.mean.shape != line_shape:
                    raise FileError(f"{path} has the shape {reference.mean.shape}, the lines {line_shape}")
                groups[kind] = reference.group({"path": path, "sha256": sha256, **about})
        except Exception as error:  # noqa: BLE001 - logged, and written to the file: the lines must be saved
            failures[kind] = f"{type(error).__name__}: {error}"
            logger.error("the %s reference is not in the file: %s", kind, failures[kind])
    for gone in _read.keys() - {(path, sha256) for path, sha256 in references.values()}:
        del _read[gone]
    attributes: dict[str, Any] = {"reference_files": files} if files else {}
    return groups, attributes | ({"references_failed": failures} if failures else {})


def _reference(path: str, sha256: str) -> Any:
    key = path, sha256
    if key not in _read:
        from openhsi_shared.files.references import Reference

        found = Reference.read(path)
        if found.sha256 != sha256:
            raise FileError(f"{path} was changed since it was taken: its checksum is not {sha256[:12]}...")
        _read[key] = found
    return _read[key]


def _since(reference: Any, times_ns: NDArray[np.int64], temperatures: NDArray[Any]) -> dict[str, float]:
    """Age and change of the temperature of the sensor, if they are known."""
    found = {}
    begin_ns = begin_of(times_ns)
    if begin_ns is not None:
        found["age_s"] = age_s = (begin_ns - reference.time_ns) / 1e9
        if age_s > MAX_AGE_S:
            _warn(reference, f"is {age_s / 3600:.1f} h old: take it again")
    known = temperatures[np.isfinite(temperatures)]
    if len(known) and math.isfinite(reference.temperature):
        found["temperature_change_k"] = change = float(known.mean()) - reference.temperature
        if abs(change) > MAX_DRIFT_K:
            _warn(reference, f"was taken at {reference.temperature:.1f} C, the sensor is {change:+.1f} K from that now")
    return found


def _warn(reference: Any, what: str) -> None:
    key = reference.sha256, what.split(maxsplit=1)[0]
    if key not in _said:
        _said.add(key)
        logger.warning("the %s reference %s %s", reference.kind, reference.path, what)
