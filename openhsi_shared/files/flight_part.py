"""What is known of one cube of a flight, without its lines."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.files.reading import OpenCube
from openhsi_shared.line_times import UNKNOWN_TIME_NS

__all__ = ["FlightPart"]


@dataclass(frozen=True, eq=False)
class FlightPart:
    """What is known of one cube of a flight."""

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    level: int | None
    units: str | None
    """Of the pixels; None if the file does not contain them."""
    wavelengths_nm: NDArray[np.float64] | None
    run_id: str | None
    number: int | None
    """Of the cube in its run, from 1 on; None for a file that was not recorded by this library."""
    uuid: str | None
    times_ns: NDArray[np.int64]
    frame_ids: NDArray[np.int64] | None
    frames_paused: int = 0
    """Before it, in pauses and while no event went on: they are not lost."""
    average: int = 1
    """How many frames were one line."""
    step: int | None = None
    """Lines of the recording for each line, 1 unless they were binned; None if it is unknown."""
    joint_name: str = ""
    """Of one of several cameras that recorded together."""
    joint_id: str = ""
    """Of their common recording; "" for one camera alone."""
    clock_ns: int | None = None
    """UTC minus monotonic clock, in the times of its lines; None if it is unknown."""

    @classmethod
    def of(cls, cube: OpenCube) -> "FlightPart":
        """Of an open cube. FileError if it is empty."""
        cube.check_not_empty()
        n, rows, bands = cube.lines.shape
        about: Mapping[str, Any] = cube.attributes if cube.is_ours else {}
        run_id = about.get("run_id", about.get("source_run_id"))
        return cls(
            path=cube.path,
            shape=(n, rows, bands),
            dtype=np.dtype(cube.lines.dtype),
            level=cube.level,
            units=_units_of(cube),
            wavelengths_nm=cube.wavelengths_nm,
            run_id=None if run_id is None else str(run_id),
            number=_number_of(cube),
            uuid=str(cube.attributes.get("uuid")) if cube.is_ours else None,
            times_ns=np.full(n, UNKNOWN_TIME_NS) if cube.times_ns is None else cube.times_ns,
            frame_ids=None if cube.frame_ids is None else cube.frame_ids.astype(np.int64),
            frames_paused=_count(about, "frames_paused", 0) + _count(about, "frames_not_wanted", 0),
            average=max(1, _count(about, "average", 1)),
            step=_step_of(about),
            joint_name=str(about.get("joint_name", "")),
            joint_id=str(about.get("joint_id", "")),
            clock_ns=_clock_of(about),
        )

    def difference(self, other: "FlightPart") -> str:
        """How it differs in kind from another one; "" if both are of one kind."""
        for what, mine, others in (
            ("lines of", f"{self.dtype} {self.shape[1:]}", f"{other.dtype} {other.shape[1:]}"),
            ("level", self.level, other.level),
            ("pixels in", self.units or other.units, other.units or self.units),
        ):
            if mine != others:
                return f"{self.path} has {what} {mine}, but {other.path} {others}"
        mine_nm, others_nm = self.wavelengths_nm, other.wavelengths_nm
        is_same = mine_nm is others_nm or (
            mine_nm is not None and others_nm is not None and np.allclose(mine_nm, others_nm, rtol=0, atol=0.01)
        )
        return "" if is_same else f"{self.path} and {other.path} have bands of other wavelengths"


def _units_of(cube: OpenCube) -> str | None:
    units = cube.contents.attributes("datacube").get("units") if cube.contents.has("datacube") else None
    return None if units is None else str(units)


def _number_of(cube: OpenCube) -> int | None:
    number = cube.attributes.get("cube_number") if cube.is_ours and "run_id" in cube.attributes else None
    return int(number) if isinstance(number, int | np.integer) else None


def _count(about: Mapping[str, Any], name: str, default: int) -> int:
    """A number of the recording. A result of a job may have an attribute of that name from another program."""
    found = [about.get(key) for key in (name, f"source_{name}")]
    return next((int(one) for one in found if isinstance(one, int | np.integer)), default)


def _step_of(about: Mapping[str, Any]) -> int | None:
    """Of a recording, or of what a job has made of one: what is made of that does not say it."""
    if "lines_lost" in about:
        return 1
    made_of = about.get("source_lines") if "source_lines_lost" in about else None
    return int(json.loads(made_of)["lines_per_result"]) if made_of is not None else None


def _clock_of(about: Mapping[str, Any]) -> int | None:
    for prefix in ("", "source_"):
        found = [about.get(f"{prefix}clock_anchor_{which}_ns") for which in ("wall", "monotonic")]
        if all(isinstance(one, int | np.integer) for one in found):
            return int(found[0]) - int(found[1])  # type: ignore[arg-type] # they are numbers
    return None
