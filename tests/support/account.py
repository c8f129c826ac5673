"""Accounts for the frames of a recording from its files alone: saved, declared lost, or wrong.

Frames of the simulated camera in the mode "counting" can be verified byte by byte, so only the files are needed.
"""

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from openhsi_shared.dataset import cube_stem
from openhsi_shared.drivers.simulated import check_frame, frame_number

__all__ = ["Account", "Verdict"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """State of the frames 0 to `offered` - 1."""

    offered: int
    saved: int
    declared_lost: int
    wrong: tuple[str, ...]
    """Wrong lines, checksums, ids, counts, names, or times that contradict what is declared of the clock."""
    doubled: tuple[int, ...]
    """Frames that are saved twice, or saved and declared lost as well."""
    unaccounted: tuple[int, ...]
    """Frames that are neither saved nor declared lost."""
    strange: tuple[int, ...]
    """Frames that are saved or declared lost, but were never offered."""

    @property
    def is_exact(self) -> bool:
        """Saved and declared lost frames are disjoint, their union is what was offered, and every line is right."""
        return not (self.wrong or self.doubled or self.unaccounted or self.strange)

    def __str__(self) -> str:
        parts = [f"{self.offered} offered, {self.saved} saved, {self.declared_lost} declared lost"]
        for name in ("wrong", "doubled", "unaccounted", "strange"):
            found = getattr(self, name)
            parts.append(f"{len(found)} {name}" + (f" ({', '.join(map(str, found[:5]))} ...)" if found else ""))
        return ", ".join(parts)


@dataclass(frozen=True)
class _Times:
    """Times of a cube, and what its file declares of the clock."""

    first_ns: int
    last_ns: int
    offset_ns: int
    """From the monotonic clock to UTC."""
    step_before_ns: int
    overlap_ns: int


@dataclass
class Account:
    """Reads the files of one recording, in any order; a file can be deleted after it is read."""

    saved: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    doubled: set[int] = field(default_factory=set)
    n_recovered: int = 0
    """Cubes that a writer saved after its parent died."""
    _firsts: dict[int, int] = field(default_factory=dict)
    """Cube number to its first frame: cubes must be numbered in the order of their frames."""
    _times: dict[int, _Times] = field(default_factory=dict)
    _runs: set[str] = field(default_factory=set)

    @property
    def n_cubes(self) -> int:
        """Number of files that were read."""
        return len(self._firsts)

    def read(self, path: Path) -> None:
        """Read a complete file, and record its errors. OSError if it cannot be read."""
        with h5py.File(path, "r", locking=False) as file:  # its writer may still hold its lock
            attributes = {name: _plain(value) for name, value in file.attrs.items()}
            ids = file["frame_id"][...].tolist()
            times = file["time"][...].tolist()
            sums = file["line_crc32"][...].tolist()
            cube = file["datacube"]
            along = cube.shape.index(len(ids), 1) if cube.shape[1] != len(ids) else 1
            lines = np.moveaxis(cube[...], along, 0)
        if attributes.get("complete") != 1 or len(lines) != len(ids):
            self.wrong.append(f"{path.name} is not complete")
            return
        self._check_lines(path.name, lines, ids, sums)
        if ids != sorted(set(ids)) or times != sorted(times):
            self.wrong.append(f"{path.name}: ids or times do not increase")
        self._check_losses(path.name, attributes, ids)
        self._check_cube(path.name, attributes, ids)
        self._note_times(path.name, attributes, times)

    def add(self, directory: Path) -> "Account":
        """Read every file below `directory`."""
        for path in sorted(directory.rglob("*.nc")):
            self.read(path)
        return self

    def declare_lost(self, first: int, last: int) -> None:
        """Add losses that no file contains, such as frames lost after the last line."""
        self.lost.update(range(first, last + 1))

    def verdict(self, offered: int) -> Verdict:
        """Compare with the frames that the camera offered, 0 to `offered` - 1."""
        expected, known = set(range(offered)), self.saved | self.lost
        wrong = [*self.wrong, *self._undeclared_times()]
        firsts = [self._firsts[number] for number in sorted(self._firsts)]
        if firsts != sorted(firsts):
            wrong.append("cubes are not numbered in the order of their frames")
        if len(self._runs) > 1:
            wrong.append(f"files of {len(self._runs)} recordings")
        return Verdict(
            offered=offered,
            saved=len(self.saved),
            declared_lost=len(self.lost),
            wrong=tuple(wrong),
            doubled=tuple(sorted(self.doubled | (self.saved & self.lost))),
            unaccounted=tuple(sorted(expected - known)),
            strange=tuple(sorted(known - expected)),
        )

    def _check_lines(self, name: str, lines: Any, ids: list[int], sums: list[int]) -> None:
        for line, frame_id, crc in zip(lines, ids, sums, strict=True):
            contiguous = np.ascontiguousarray(line)
            if not check_frame(contiguous) or frame_number(contiguous) != frame_id & 0xFFFFFFFF:
                self.wrong.append(f"{name}: line of frame {frame_id} is not as the camera made it")
            elif zlib.crc32(contiguous.tobytes()) != crc:
                self.wrong.append(f"{name}: checksum of frame {frame_id} is wrong")
            if frame_id in self.saved:
                self.doubled.add(frame_id)
            self.saved.add(frame_id)

    def _check_losses(self, name: str, attributes: dict[str, Any], ids: list[int]) -> None:
        lost = _ids_of(str(attributes["lost_frame_ids"]))
        within = len(lost & set(range(ids[0], ids[-1])))
        counts = attributes["lines_lost"], attributes["lines_lost_within"], attributes["lines_lost_before"]
        if counts != (len(lost), within, len(lost) - within):
            self.wrong.append(
                f"{name}: counts of lost lines {counts} do not fit the ids {attributes['lost_frame_ids']!r}"
            )
        self.lost |= lost

    def _check_cube(self, name: str, attributes: dict[str, Any], ids: list[int]) -> None:
        number = int(attributes["cube_number"])
        if number in self._firsts:
            self.wrong.append(f"{name}: there are two files of cube {number}")
        self._firsts[number] = ids[0]
        self._runs.add(str(attributes["run_id"]))
        self.n_recovered += int(attributes["recovered"])

    def _note_times(self, name: str, attributes: dict[str, Any], times: list[int]) -> None:
        if cube_stem(times[0]) not in name:
            self.wrong.append(f"{name}: the name is not the time of the first line, {cube_stem(times[0])}")
        self._times[int(attributes["cube_number"])] = _Times(
            times[0],
            times[-1],
            attributes["clock_anchor_wall_ns"] - attributes["clock_anchor_monotonic_ns"],
            attributes["clock_step_before_ns"],
            attributes["time_overlap_ns"],
        )

    def _undeclared_times(self) -> list[str]:
        """Steps of the clock and overlaps of times that the files do not declare."""
        found, latest_ns = [], None
        for number in sorted(self._times):
            cube, before = self._times[number], self._times.get(number - 1)
            step_ns = 0 if before is None else cube.offset_ns - before.offset_ns
            if before is not None and step_ns != cube.step_before_ns:
                found.append(f"cube {number}: the clock stepped by {step_ns} ns before it, which is not declared")
            overlap_ns = 0 if latest_ns is None else latest_ns - cube.first_ns
            if overlap_ns > cube.overlap_ns:
                found.append(f"cube {number}: times overlap by {overlap_ns} ns with earlier ones, not declared")
            latest_ns = max(cube.last_ns, cube.last_ns if latest_ns is None else latest_ns)
        return found


def _ids_of(words: str) -> set[int]:
    """Parse ids such as '3-5 9'."""
    found: set[int] = set()
    for word in words.split():
        first, _, last = word.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value
