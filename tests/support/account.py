"""The account of a recording, by its files alone: which frames are saved, which are declared lost, and what is wrong.

Frames of the camera in the mode "counting" prove themselves byte by byte, so nothing but the files is believed.
"""

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from openhsi_shared.drivers.simulated import check_frame, frame_number

__all__ = ["Account", "Verdict"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of the frames 0 to `offered` - 1."""

    offered: int
    saved: int
    declared_lost: int
    wrong: tuple[str, ...]
    """Lines, checksums, ids or counts that are not what they should be."""
    doubled: tuple[int, ...]
    """Frames that are saved twice, or saved and declared lost as well."""
    unaccounted: tuple[int, ...]
    """Frames that are neither saved nor declared lost."""
    strange: tuple[int, ...]
    """Frames that are saved or declared lost and were never offered."""

    @property
    def is_exact(self) -> bool:
        """Saved and declared lost are together what was offered, disjoint, and every line is right."""
        return not (self.wrong or self.doubled or self.unaccounted or self.strange)

    def __str__(self) -> str:
        parts = [f"{self.offered} offered, {self.saved} saved, {self.declared_lost} declared lost"]
        for name in ("wrong", "doubled", "unaccounted", "strange"):
            found = getattr(self, name)
            parts.append(f"{len(found)} {name}" + (f" ({', '.join(map(str, found[:5]))} ...)" if found else ""))
        return ", ".join(parts)


@dataclass
class Account:
    """Takes in the files of one recording, in any order; they may be deleted as soon as they are in."""

    saved: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    doubled: set[int] = field(default_factory=set)
    n_recovered: int = 0
    """Cubes that a writer has saved after the death of its parent."""
    _firsts: dict[int, int] = field(default_factory=dict)
    """Number of a cube to its first frame: cubes must be as much in order as their frames."""
    _runs: set[str] = field(default_factory=set)

    @property
    def n_cubes(self) -> int:
        """How many files were taken in."""
        return len(self._firsts)

    def take_in(self, path: Path) -> None:
        """Read all of a file; what is wrong with it is noted. OSError if it is none."""
        with h5py.File(path, "r", locking=False) as file:  # its writer may still hold its lock
            about = {name: _plain(value) for name, value in file.attrs.items()}
            ids = file["frame_id"][...].tolist()
            times = file["time"][...]
            sums = file["line_crc32"][...].tolist()
            cube = file["datacube"]
            along = cube.shape.index(len(ids), 1) if cube.shape[1] != len(ids) else 1
            lines = np.moveaxis(cube[...], along, 0)
        if about.get("complete") != 1 or len(lines) != len(ids):
            self.wrong.append(f"{path.name} is not complete")
            return
        self._look_at_lines(path.name, lines, ids, sums)
        if ids != sorted(set(ids)) or (np.diff(times) < 0).any():
            self.wrong.append(f"{path.name}: ids or times do not grow")
        self._note_loss(path.name, about, ids)
        self._note_cube(path.name, about, ids)

    def add(self, directory: Path) -> "Account":
        """Take in every file below `directory`."""
        for path in sorted(directory.rglob("*.nc")):
            self.take_in(path)
        return self

    def declare_lost(self, first: int, last: int) -> None:
        """Take in what was told elsewhere, such as frames lost after the last line, which no file can name."""
        self.lost.update(range(first, last + 1))

    def verdict(self, offered: int) -> Verdict:
        """Compare with what the camera has offered: the frames 0 to `offered` - 1."""
        expected, known = set(range(offered)), self.saved | self.lost
        wrong = list(self.wrong)
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

    def _look_at_lines(self, name: str, lines: Any, ids: list[int], sums: list[int]) -> None:
        for line, frame_id, crc in zip(lines, ids, sums, strict=True):
            whole = np.ascontiguousarray(line)
            if not check_frame(whole) or frame_number(whole) != frame_id & 0xFFFFFFFF:
                self.wrong.append(f"{name}: line of frame {frame_id} is not as the camera made it")
            elif zlib.crc32(whole.tobytes()) != crc:
                self.wrong.append(f"{name}: checksum of frame {frame_id} is wrong")
            if frame_id in self.saved:
                self.doubled.add(frame_id)
            self.saved.add(frame_id)

    def _note_loss(self, name: str, about: dict[str, Any], ids: list[int]) -> None:
        lost = _ids_of(str(about["lost_frame_ids"]))
        within = len(lost & set(range(ids[0], ids[-1])))
        counts = about["lines_lost"], about["lines_lost_within"], about["lines_lost_before"]
        if counts != (len(lost), within, len(lost) - within):
            self.wrong.append(f"{name}: counts of lost lines {counts} do not fit the ids {about['lost_frame_ids']!r}")
        self.lost |= lost

    def _note_cube(self, name: str, about: dict[str, Any], ids: list[int]) -> None:
        number = int(about["cube_number"])
        if number in self._firsts:
            self.wrong.append(f"{name}: there are two files of cube {number}")
        self._firsts[number] = ids[0]
        self._runs.add(str(about["run_id"]))
        self.n_recovered += int(about["recovered"])


def _ids_of(words: str) -> set[int]:
    """The ids of '3-5 9'."""
    found: set[int] = set()
    for word in words.split():
        first, _, last = word.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value
