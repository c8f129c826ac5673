"""Cubes, stages and outputs for the workers of jobs."""

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from openhsi_shared.errors import SaveError
from openhsi_shared.files import CubeWriter
from openhsi_shared.files.checksums import crc32_of
from openhsi_shared.files.source_cube import SourceCube
from openhsi_shared.jobs.outputs.output import Done, Output, Published
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.stages.stage import LineFormat, Stage
from openhsi_shared.jobs.workers.control import Control
from openhsi_shared.jobs.workers.progress import Progress
from openhsi_shared.jobs.workers.team import Team
from openhsi_shared.save_options import SaveOptions
from tests.support.cubes import make_cube

TIMEOUT_S = 60.0


def saved(folder: Path, n_lines: int = 23, x: int = 5, bands: int = 7, **options: Any) -> tuple[Path, np.ndarray]:
    """A saved cube, and its lines."""
    cube = make_cube(n_lines, x, bands)
    with CubeWriter(n_lines, (x, bands), np.dtype(np.uint16), SaveOptions(**options)) as writer:
        return writer.write(cube, [folder]).path, np.stack(list(cube.lines()))


def damage(path: Path, line: int) -> None:
    """Change a byte of a line."""
    with h5py.File(path) as file:
        chunks: list[Any] = []
        file["datacube"].id.chunk_iter(chunks.append)
    [offset] = [chunk.byte_offset for chunk in chunks if chunk.chunk_offset[1] == line]
    with path.open("r+b") as raw:
        raw.seek(offset + 3)
        [byte] = raw.read(1)
        raw.seek(offset + 3)
        raw.write(bytes([byte ^ 1]))


@dataclass(frozen=True)
class Job:
    """What of a recipe the workers look at."""

    on_error: str = "raise"
    output: str = "netcdf"
    link_to_input: bool = False
    significant_bits: int | None = None


def plan_of(
    path: Path,
    stages: tuple[Stage, ...] = (),
    *,
    block_lines: int = 4,
    n_blocks: int = 3,
    lines: range | None = None,
    **job: Any,
) -> CubePlan:
    source = SourceCube.look_at(path)
    lines = lines or range(source.n_lines)
    formats = [
        LineFormat(
            n_lines=len(lines),
            line_shape=source.line_shape,
            dtype=source.dtype,
            wavelengths_nm=source.wavelengths_nm,
            level=source.level,
            quantity=source.quantity,
            source=source,
        )
    ]
    for stage in stages:
        formats.append(stage.out_format(formats[-1]))
    recipe: Any = Job(**job)
    return CubePlan(
        job=recipe,
        source=source,
        lines=lines,
        stages=stages,
        formats=tuple(formats),
        block_lines=block_lines,
        n_blocks=n_blocks,
        target=path.with_suffix(".result"),
        ppid="",
        ppid_hash="",
    )


class InMemory(Output):
    """A result that stays in memory; checks what it is given."""

    def __init__(self, plan: CubePlan, *, is_ordered: bool = False) -> None:
        self.is_ordered = is_ordered
        self.lines = np.zeros((plan.result.n_lines, *plan.result.line_shape), plan.result.dtype)
        self.n_put = np.zeros(plan.result.n_lines, int)
        self.firsts: list[int] = []

    def put(self, first: int, lines: np.ndarray, crcs: np.ndarray) -> None:
        assert [crc32_of(line) for line in lines] == crcs.tolist()
        assert all(line.flags.c_contiguous for line in lines)
        self.firsts.append(first)
        self.lines[first : first + len(lines)] = lines
        self.n_put[first : first + len(lines)] += 1

    def finish(self, done: Done) -> Published:
        raise NotImplementedError

    def close(self, *, keep: bool = False) -> None:
        pass


class Full(InMemory):
    """A disk that is full at the n-th block."""

    def put(self, first: int, lines: np.ndarray, crcs: np.ndarray) -> None:
        if len(self.firsts) == 2:
            raise SaveError(28, "No space left on device", "result.nc")
        super().put(first, lines, crcs)


class Waiting(InMemory):
    """A disk that writes when it is let."""

    def __init__(self, plan: CubePlan, **how: Any) -> None:
        super().__init__(plan, **how)
        self.may_write = threading.Event()
        self.n_waiting = 0

    def put(self, first: int, lines: np.ndarray, crcs: np.ndarray) -> None:
        self.n_waiting += 1
        assert self.may_write.wait(TIMEOUT_S)
        super().put(first, lines, crcs)


def run(plan: CubePlan, output: Output | None = None, *, n: int = 2, kind: Any = "threads", **how: Any) -> Any:
    """Run a plan by a team of its own; returns (worked, output)."""
    output = output or InMemory(plan)
    options = {name: how.pop(name) for name in ("patience_s", "debug") if name in how}
    with Team(n_procs=n, kind=kind, control=how.pop("control", None) or Control(), **options) as team:
        return team.run(plan, output, progress=how.pop("progress", None) or Progress(), **how), output


# ---- stages ----


@dataclass
class Twice(Stage):
    """Twice the values, as float32."""

    code = "twice"

    def out_dtype(self, source: LineFormat) -> np.dtype[Any]:
        return np.dtype(np.float32)

    def apply(self, lines: np.ndarray, out: np.ndarray) -> None:
        np.multiply(lines, np.float32(2), out=out)


@dataclass
class FailsAt(Twice):
    """Fails at a line, which it knows by its values."""

    code = "fails_at"
    value: int = 0
    """First value of the line."""

    def apply(self, lines: np.ndarray, out: np.ndarray) -> None:
        if self.value in lines[:, 0, 0]:
            self.fail(lines)
        super().apply(lines, out)

    def fail(self, lines: np.ndarray) -> None:
        raise ValueError("it is too hot")


@dataclass
class Kills(FailsAt):
    """Kills its process at a line; if there is a `marks` folder, only so many times."""

    code = "kills"
    marks: str = ""
    n_times: int = 1_000_000
    number: int = signal.SIGKILL
    releases_lock = False

    def fail(self, lines: np.ndarray) -> None:
        if self.marks:
            if len(list(Path(self.marks).iterdir())) >= self.n_times:
                return
            (Path(self.marks) / str(os.getpid())).touch()
        os.kill(os.getpid(), self.number)


@dataclass
class Sees(Twice):
    """Subtracts the mean of all lines, which a survey finds."""

    code = "sees"
    step: int = 1

    def survey_lines(self, source: LineFormat) -> range:
        return range(0, source.n_lines, self.step)

    def survey(self, lines: np.ndarray) -> Any:
        return len(lines), lines.sum(axis=0, dtype=np.float64)

    def combine(self, parts: Any) -> Any:
        return sum(total for _, total in parts) / sum(n for n, _ in parts)

    def apply(self, lines: np.ndarray, out: np.ndarray) -> None:
        np.subtract(lines, self.surveyed, out=out, casting="unsafe")


@dataclass
class Finds(Stage):
    """Gives 0, 1 or 2 rows of a line, by its number in the cubes of `saved`."""

    code = "finds"
    row_dtype = np.dtype([("value", np.uint16)])

    def survey_lines(self, source: LineFormat) -> range:
        return range(1)  # whose first value all others are compared with

    def survey(self, lines: np.ndarray) -> Any:
        return int(lines[0, 0, 0])

    def combine(self, parts: Any) -> Any:
        return parts[0]

    def rows(self, lines: np.ndarray) -> list[np.ndarray]:
        values = lines[:, 0, 0].astype(int)
        numbers = (values - self.surveyed) % 65536 // 1000
        return [np.full(n % 3, value, self.row_dtype) for value, n in zip(values, numbers, strict=True)]
