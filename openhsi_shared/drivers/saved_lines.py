"""Sequence of the lines of saved cubes, with ids and times that continue from file to file.

They are read in blocks, so that a line takes little longer than its copy.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ChecksumError, FileError
from openhsi_shared.exposure import known_exposure_ms
from openhsi_shared.files import OpenCube, open_cube
from openhsi_shared.files.lines import READ_THREADS
from openhsi_shared.line_times import UNKNOWN_TIME_NS, begin_of, known_times
from openhsi_shared.loggers import safe_logger
from openhsi_shared.paths import cubes_below

__all__ = ["MAX_PAUSE_NS", "SavedCube", "SavedLine", "inspect_cubes", "lines_of"]

logger = safe_logger(__name__)

BLOCK_BYTES = 8 * 2**20
"""Bytes per read of a file."""
MAX_PAUSE_NS = 10 * 10**9
"""Maximum pause between two lines: different flights may be hours apart."""


@dataclass(frozen=True)
class SavedCube:
    """Metadata of a file, read before its pixels."""

    path: Path
    n_lines: int
    line_shape: tuple[int, int]
    dtype: np.dtype[Any]
    run_id: str | None
    """Shared by cubes of one recording, whose frame ids are one sequence."""
    exposure_ms: float | None
    times_ns: NDArray[Any] | None
    frame_ids: NDArray[Any] | None
    """Of frames; of groups of frames, if lines are means."""
    temperatures: NDArray[Any] | None
    groups: tuple[str, ...] = ()
    """Names of groups of variables that are stored beside the cube."""
    uuid: str | None = None
    """Equal in two files that contain the same lines. None if another program wrote the file."""
    joint_name: str = ""
    """Of one of several cameras that recorded together."""


class SavedLine(NamedTuple):
    """A recorded line. Values missing in the file are None, or NaN."""

    pixels: NDArray[Any] | None
    """Valid until the next line is asked for. None: this line is damaged in the file."""
    frame_id: int
    time_ns: int | None
    pause_ns: int
    """Time since the previous line, at most `MAX_PAUSE_NS`; 0 for the first."""
    temperature: float


def inspect_cubes(path: Path) -> list[SavedCube]:
    """Read the metadata of a cube's file, or of all in a folder and its subfolders, ordered by time.

    FileError if it is missing, not a cube, or empty, and for cubes with different frames.
    """
    if path.is_dir():
        files = cubes_below(path)
        if not files:
            raise FileError(f"folder {path} contains no cube: no file in it ends in .nc")
        cubes = sorted(map(_inspect_one, files), key=_begin)
        _warn_of_copies(cubes)
    else:
        cubes = [_inspect_one(path)]
    first = cubes[0]
    for cube in cubes:
        if (cube.line_shape, cube.dtype) != (first.line_shape, first.dtype):
            raise FileError(
                f"{cube.path} has lines of {cube.dtype} {cube.line_shape}, but {first.path} of {first.dtype} "
                f"{first.line_shape}: replay cubes of one kind only"
            )
        if cube.joint_name != first.joint_name:
            names = f"{first.joint_name!r} and {cube.joint_name!r}"
            raise FileError(f"{path} has cubes of the cameras {names}: replay those of one, in a folder of their own")
    return cubes


def _inspect_one(path: Path) -> SavedCube:
    with open_cube(path) as cube:
        cube.check_not_empty()
        n_lines, n_rows, n_columns = cube.lines.shape
        return SavedCube(
            path=path,
            n_lines=n_lines,
            line_shape=(n_rows, n_columns),
            dtype=np.dtype(cube.lines.dtype).newbyteorder("="),
            run_id=cube.attributes.get("run_id"),
            exposure_ms=known_exposure_ms(cube.attributes.get("exposure_ms")),
            times_ns=cube.times_ns,
            frame_ids=_ids_of_lines(cube),
            temperatures=cube.temperatures,
            groups=_groups_of(cube),
            uuid=cube.attributes.get("uuid") if cube.is_ours else None,
            joint_name=str(cube.attributes.get("joint_name", "")) if cube.is_ours else "",
        )


def _ids_of_lines(cube: OpenCube) -> NDArray[Any] | None:
    """An id for each line, with a gap where lines are missing: lines that are means have the numbers of their groups.

    Two lines of one group, before and after a pause, have ids of their own.
    """
    ids, average = cube.frame_ids, cube.frames_per_line
    if ids is None or average == 1:
        return ids
    groups = ids.astype(np.int64) // average
    found: NDArray[np.int64] = groups[0] + np.cumsum(np.insert(np.maximum(1, np.diff(groups)), 0, 0))
    return found


def _warn_of_copies(cubes: list[SavedCube]) -> None:
    """Log further files of a cube: its lines are replayed again, under new ids."""
    first: dict[str, SavedCube] = {}
    for cube in cubes:
        if cube.uuid is not None and first.setdefault(cube.uuid, cube) is not cube:
            logger.warning("%s contains the same cube as %s: it is replayed again", cube.path, first[cube.uuid].path)


def _groups_of(cube: OpenCube) -> tuple[str, ...]:
    try:
        return tuple(cube.groups)
    except FileError as error:
        logger.warning("groups of a replayed cube cannot be read: %s", error)
        return ()


def _begin(cube: SavedCube) -> tuple[int, str]:
    begin_ns = None if cube.times_ns is None else begin_of(cube.times_ns)
    return (begin_ns or 0, cube.path.name)


def lines_of(cubes: list[SavedCube], *, loop: bool) -> Generator[SavedLine]:
    """Yield all lines; with `loop` endlessly, ids and times continuing as if all had been recorded again.

    Close the generator to close the file it reads.
    """
    last_id, shift_ns = -1, 0
    last_ns: int | None = None
    while True:
        id_offset, run_id = 0, None
        for number, cube in enumerate(cubes):
            ids = np.arange(cube.n_lines) if cube.frame_ids is None else cube.frame_ids
            is_same_run = number > 0 and run_id is not None and cube.run_id == run_id
            if last_id >= 0 and not (is_same_run and int(ids[0]) + id_offset > last_id):
                id_offset = last_id + 1 - int(ids[0])
            run_id = cube.run_id
            times = cube.times_ns
            if number == 0 and times is not None and last_ns is not None:
                shift_ns = last_ns + _usual_step_ns(times) - (begin_of(times) or 0)
            for index, pixels in enumerate(_pixels_of(cube)):
                is_known = times is not None and times[index] != UNKNOWN_TIME_NS
                time_ns = int(times[index]) + shift_ns if is_known else None  # type: ignore[index]
                pause_ns = 0 if time_ns is None or last_ns is None else time_ns - last_ns
                last_ns = last_ns if time_ns is None else time_ns
                last_id = int(ids[index]) + id_offset
                celsius = np.nan if cube.temperatures is None else float(cube.temperatures[index])
                yield SavedLine(pixels, last_id, time_ns, min(max(pause_ns, 0), MAX_PAUSE_NS), celsius)
        if not loop:
            return


def _pixels_of(cube: SavedCube) -> Iterator[NDArray[Any] | None]:
    """The lines, each valid until the next one is asked for."""
    n_block = max(1, BLOCK_BYTES // (cube.line_shape[0] * cube.line_shape[1] * cube.dtype.itemsize))
    block = np.empty((min(n_block, cube.n_lines), *cube.line_shape), cube.dtype)
    with open_cube(cube.path) as opened:
        for begin in range(0, cube.n_lines, n_block):
            end = min(begin + n_block, cube.n_lines)
            good = opened.lines.read_into(begin, end, block[: end - begin], READ_THREADS)
            for number, is_good in enumerate(good):
                yield block[number] if is_good else _pixels_unless_damaged(opened.lines, begin + number)


def _pixels_unless_damaged(lines: Any, index: int) -> NDArray[Any] | None:
    try:
        return np.asarray(lines[index])
    except ChecksumError as error:
        logger.warning("a line is replayed as an incomplete frame: %s", error)
        return None


def _usual_step_ns(times_ns: NDArray[Any]) -> int:
    known = known_times(times_ns)
    return int(np.median(np.diff(known))) if len(known) > 1 else 0
