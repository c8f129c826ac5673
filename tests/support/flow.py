"""Helpers of the tests from frame to file: an independent reader, and programs to be killed."""

import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

import openhsi_shared
from openhsi_shared.drivers.simulated.counting import CountingPainter, check_frame, frame_number

SHAPE = (16, 32)
"""(cross-track, wavelength) of small frames."""

SMALL: dict[str, Any] = {"resolution": SHAPE, "row_slice": None, "cal_path": ""}
"""Keywords of a simulated camera with small frames."""

COUNTING: dict[str, Any] = {**SMALL, "mode": "counting"}


def frame(number: int, shape: tuple[int, int] = SHAPE) -> NDArray[np.uint16]:
    """A frame that can be verified."""
    out = np.zeros(shape, np.uint16)
    CountingPainter(shape, out.dtype).paint(out, number)
    return out


@dataclass(frozen=True)
class Saved:
    """Contents of a file, read by netCDF4 only."""

    path: Path
    lines: NDArray[Any]
    """(along-track, cross-track, wavelength)"""
    dims: tuple[str, ...]
    ids: list[int]
    times_ns: list[int]
    temperatures: list[float]
    attributes: dict[str, Any]

    @property
    def numbers(self) -> list[int]:
        """Frame numbers in the pixels, each frame checked byte by byte."""
        assert all(check_frame(line) for line in self.lines), (
            f"{self.path} contains a line that differs from the frame of the camera"
        )
        return [frame_number(line) for line in self.lines]

    @property
    def lost_ids(self) -> list[int]:
        found: list[int] = []
        for words in self.attributes["lost_frame_ids"].split():
            first, _, last = words.partition("-")
            found.extend(range(int(first), int(last or first) + 1))
        return found


def read(path: Path) -> Saved:
    """Read a file, which must be complete, with every checksum right."""
    import netCDF4  # here: many children import this module, and none of them reads a file

    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        cube = file["datacube"]
        order = [cube.dimensions.index(name) for name in ("y", "x", "wavelength")]
        lines = np.ascontiguousarray(np.transpose(cube[:], order))
        saved = Saved(
            Path(path),
            lines,
            cube.dimensions,
            file["frame_id"][:].tolist(),
            file["time"][:].tolist(),
            file["temperature"][:].tolist(),
            {name: file.getncattr(name) for name in file.ncattrs()},
        )
        assert file["line_crc32"][:].tolist() == [zlib.crc32(line.tobytes()) for line in lines]
        assert saved.attributes["complete"] == 1
    return saved


def cubes_in(directory: Path) -> list[Saved]:
    """All cubes below a directory, in the order they were taken."""
    cubes = [read(path) for path in Path(directory).rglob("*.nc")]
    return sorted(cubes, key=lambda cube: cube.attributes["cube_number"])


def account(directory: Path) -> tuple[list[int], list[int]]:
    """(ids saved, ids lost), from the files only: every line is verified, and both together are all ids from 0 on."""
    saved: list[int] = []
    lost: list[int] = []
    for cube in cubes_in(directory):
        assert cube.numbers == cube.ids
        assert cube.attributes["lines_lost"] == len(cube.lost_ids)
        saved += cube.ids
        lost += cube.lost_ids
    assert sorted(saved + lost) == list(range(len(saved) + len(lost)))
    assert saved == sorted(saved)
    return saved, lost


def parts_in(directory: Path) -> list[Path]:
    """Unfinished files."""
    found = [path for path in Path(directory).rglob("*") if path.is_file() and path.name != "flight_log.jsonl"]
    return [path for path in found if path.suffix not in (".nc", ".png")]


# ---- programs --------------------------------------------------------------------------


def environment(directory: Path, **more: str) -> dict[str, str]:
    """Environment of a program that runs in `directory`, with its temporary files there."""
    temporary = directory / "temporary"
    temporary.mkdir(exist_ok=True)
    root = str(Path(openhsi_shared.__file__).parents[1])
    runtime = {"XDG_RUNTIME_DIR": str(temporary), "TMPDIR": str(temporary), "XDG_STATE_HOME": str(temporary)}
    return {**os.environ, "PYTHONPATH": root, **runtime, **more}


@contextmanager
def program(code: str, directory: Path, how: str = "script", **more: str) -> Iterator[subprocess.Popen[str]]:
    """Run `code` in `directory`, in a new session: as a script, from standard input, or by -c."""
    (directory / "program.py").write_text(code)
    arguments = {"script": ["program.py"], "stdin": ["-"], "-c": ["-c", code]}[how]
    with (
        (directory / "program.py").open() if how == "stdin" else open(os.devnull) as standard_input,  # noqa: PTH123
        subprocess.Popen(
            [sys.executable, *arguments],
            cwd=directory,
            env=environment(directory, **more),
            stdin=standard_input,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()
            for left in processes_in(directory):  # else orphans of a failing test would disturb the next ones
                psutil.Process(left).kill()


def run(code: str, directory: Path, how: str = "script", **more: str) -> tuple[int, str, str]:
    """Run `code` to its end: (exit code, standard output, standard error)."""
    with program(code, directory, how, **more) as process:
        output, errors = process.communicate(timeout=60)
        return process.returncode, output, errors


def processes_in(directory: Path) -> list[int]:
    """Processes with this working directory: a program, and all its orphans."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(directory) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


CAMERA = """\
from openhsi_shared import SharedSimulatedCamera
def camera(**keywords):
    return SharedSimulatedCamera(**{"mode": "counting", "resolution": (16, 32), "row_slice": None, "cal_path": "",
                                    "n_lines": 8, **keywords})
"""
"""Start of a program that has a camera."""

ENDLESS = """
cam = camera(n_lines=64)
for n in range(10_000):
    cam.collect()
    cam.save("out")
    print(n, flush=True)
"""
"""Continues such a program, until it is killed."""
