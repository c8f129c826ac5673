"""Jobs with two workers compared with one, and with what two bare workers gain that know nothing of each other."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from isal import isal_zlib

from benchmarks.jobs_cubes import job_of, n_lines_of, remove
from benchmarks.levels import Camera
from benchmarks.measuring import Plan, Row
from benchmarks.sides import Sides
from benchmarks.slow_stage import SLOW_S, slow
from openhsi_shared import open_cube
from openhsi_shared.jobs import JobRunner, PipelineJob

__all__ = ["deflate", "python_stage"]

BARE = """
import sys
import numpy, h5py
from time import perf_counter
path, n_lines, n_bytes, seconds = sys.argv[1], *map(float, sys.argv[2:])
line = bytearray(int(n_bytes))
with open(path, "rb", buffering=0) as source:
    for number in range(int(n_lines)):
        source.readinto(line)
        until = perf_counter() + seconds
        while perf_counter() < until:
            pass
"""
"""The same stage without this library, in a process of its own: it reads as many bytes, and writes none."""


def python_stage(plan: Plan, folder: Path, path: Path) -> Row:
    """Processes."""
    sides = _one_and_two(
        plan,
        folder,
        lambda n, out: PipelineJob(path, out, stages=[slow], workers="processes", n_procs=n),
        lambda n, _: _bare_processes(plan, path, n),
    )
    return _row(
        sides, f"a stage of pure Python, {1e3 * SLOW_S:.0f} ms a line, with two processes, their start included"
    )


def _bare_processes(plan: Plan, path: Path, n: int) -> None:
    """Start `n` processes, each for as many lines as its part has, and wait for them."""
    numbers = [str(n_lines_of(path) // n), str(plan.line_bytes), str(SLOW_S)]
    processes = [subprocess.Popen([sys.executable, "-c", BARE, str(path), *numbers]) for _ in range(n)]
    if any(codes := [process.wait() for process in processes]):
        raise AssertionError(f"bare processes ended with {codes}")


def deflate(plan: Plan, camera: Camera, folder: Path, path: Path) -> Row:
    """Threads that compress."""
    lines: list[bytes] = []

    def bare(n: int, made: Path) -> None:
        if not lines:
            with open_cube(made) as cube:
                lines.extend(line.tobytes() for line in cube.lines[:64])
        _bare_deflate(lines, n_lines_of(path), n)

    sides = _one_and_two(
        plan, folder, lambda n, out: job_of(camera, path, out, 4, compression="deflate-1", n_procs=n), bare
    )
    return _row(sides, "level 4 with compression='deflate-1', two threads")


def _bare_deflate(lines: Sequence[bytes], n_lines: int, n: int) -> None:
    """Compress so many lines of a result in `n` threads, which share only the interpreter. Nothing is written."""

    def work(first: int) -> int:
        return sum(len(isal_zlib.compress(lines[(first + k) % len(lines)], 1)) for k in range(n_lines // n))

    with ThreadPoolExecutor(n) as pool:
        if min(pool.map(work, range(n))) <= 0:
            raise AssertionError("nothing was compressed")


def _one_and_two(
    plan: Plan, folder: Path, make: Callable[[int, Path], PipelineJob], bare: Callable[[int, Path], None]
) -> Sides:
    """A job and bare work, each with one worker and with two."""
    sides = Sides()
    outs = {n: folder / f"workers-{n}.nc" for n in (1, 2)}
    for number in range(plan.pick(-1, -1, 0), plan.pick(5, 2, 1)):
        now = Sides() if number < 0 else sides
        for n, out in outs.items():
            now.measure(str(n), lambda n=n, out=out: JobRunner(make(n, out)).run())  # type: ignore[misc]
        for n in outs:
            now.measure(f"bare {n}", lambda n=n: bare(n, outs[1]))  # type: ignore[misc]
        with open_cube(outs[1]) as one, open_cube(outs[2]) as two:
            if not np.array_equal(one.column("line_crc32"), two.column("line_crc32")):
                raise AssertionError("results of one and of two workers differ")
        remove(folder, *(f"{out.stem}.{end}" for out in outs.values() for end in ("nc", "png")))
    return sides


def _row(sides: Sides, what: str) -> Row:
    ratio, bare = sides.ratio("1", "2"), sides.ratio("bare 1", "bare 2")
    return Row(
        benchmark="jobs",
        what=what,
        ours=f"{sides.text('2')}; {ratio:.2f} x as fast as one, where two bare ones are {bare:.2f} x as fast as one",
        against=f"one: {sides.text('1')}; bare work: {sides.text('bare 1')}, with two {sides.text('bare 2')}",
        ratio=ratio,
        target=">= 1.7 x as fast as one",
        is_reached=ratio >= 1.7,
        verified="checksums of both results",
        figures={"wall_s": sides.wall, "cpu_s": sides.cpu},
    )
