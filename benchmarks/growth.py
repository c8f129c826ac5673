"""Whether time per line and memory stay constant, however much was recorded before."""

import os
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.frames import Checked, CountedFrames, are_accounted, check_cube
from benchmarks.measuring import MB, Plan, Row, private_bytes
from benchmarks.saving import writer_id
from openhsi_shared import SharedDataCube

__all__ = ["run"]

SHAPE = (64, 100)
"""Lines of 12.8 kB, so that many of them fit; they are written through the page cache."""
FLAT = 1.5
"""Maximum ratio of the time per line for a hundred times the work."""
FLAT_MB = 16.0
"""Maximum growth of memory meanwhile, without the slots."""


def run(plan: Plan) -> list[Row]:
    lengths = plan.pick((1_000, 10_000, 100_000), (1_000, 10_000, 50_000), (100, 1_000))
    counts = plan.pick((10, 100, 1_000), (10, 100, 300), (4, 16))
    return [_lines(plan, lengths), _cubes(plan, counts)]


# ---- longer cubes ----


def _lines(plan: Plan, lengths: tuple[int, ...]) -> Row:
    found = {n: _one_length(plan, n) for n in lengths}
    put, save = ([one[key] for one in found.values()] for key in ("put_us", "save_us"))
    ratio = max(put[-1] / put[0], save[-1] / save[0])
    return Row(
        benchmark="growth",
        what=f"cubes of {', '.join(f'{n:,}' for n in lengths)} lines of {SHAPE}",
        ours="; ".join(f"put {a:.1f} us, saved {b:.1f} us a line" for a, b in zip(put, save, strict=True)),
        against="itself, the shortest",
        ratio=ratio,
        target=f"flat (<= {FLAT} x)",
        is_reached=ratio <= FLAT,
        verified="every line of the last file of each length",
        figures={str(n): one for n, one in found.items()},
    )


def _one_length(plan: Plan, n_lines: int) -> dict[str, float]:
    """Microseconds per line, median of three cubes."""
    puts, saves, source = [], [], CountedFrames(SHAPE)
    with plan.folder("growth") as folder, SharedDataCube(n_lines, resolution=SHAPE) as cube:
        for n in range(4):
            puts.append(_fill(cube, source, n * n_lines))
            begun = time.perf_counter()
            path = cube.save(folder).result().path
            saves.append(1e6 * (time.perf_counter() - begun) / n_lines)
            files = [check_cube(path, source)] if path and n == 3 else []
            if path:
                path.unlink()
    _require([file for file in files if file.ids[0] == 3 * n_lines and not file.n_wrong], n_lines)
    return {"put_us": statistics.median(puts[2:]), "save_us": statistics.median(saves[2:])}  # first pages are made


# ---- more cubes ----


def _cubes(plan: Plan, counts: tuple[int, ...]) -> Row:
    n_lines, source, found = plan.pick(100, 100, 10), CountedFrames(SHAPE), []
    files: list[Checked] = []
    puts: list[float] = []
    calls: list[float] = []
    with plan.folder("growth") as folder, SharedDataCube(n_lines, resolution=SHAPE) as cube:
        for n in range(1, counts[-1] + 1):
            puts.append(_fill(cube, source, (n - 1) * n_lines))
            begun = time.perf_counter()
            handle = cube.save(folder)
            calls.append(1e3 * (time.perf_counter() - begun))
            files.append(_check(handle.result().path, source))
            if n in counts:
                found.append(_state(n, puts, calls))
    _require(files, counts[-1] * n_lines)
    first, last = found[0], found[-1]
    ratio = max(last["put_us"] / first["put_us"], last["save_ms"] / first["save_ms"])
    grown = max(last[key] - first[key] for key in ("ours_mb", "writer_mb"))
    return Row(
        benchmark="growth",
        what=f"{', '.join(f'{n:,}' for n in counts)} cubes of {n_lines} lines of {SHAPE}",
        ours="; ".join(
            f"put {one['put_us']:.1f} us a line, save() {one['save_ms']:.2f} ms, "
            f"private memory {one['ours_mb']:.0f} + {one['writer_mb']:.0f} MB, {one['descriptors']} open files"
            for one in found
        ),
        against="itself, the fewest",
        ratio=ratio,
        target=f"flat (<= {FLAT} x, <= {FLAT_MB:.0f} MB, no more open files)",
        is_reached=ratio <= FLAT and grown <= FLAT_MB and last["descriptors"] <= first["descriptors"],
        verified=f"every line of {len(files)} files",
        figures={str(one["n"]): one for one in found},
    )


def _state(n: int, puts: list[float], calls: list[float]) -> dict[str, Any]:
    recent = max(4, min(len(puts) // 2, 50))
    writer = writer_id()
    descriptors = [len(list(Path(f"/proc/{who}/fd").iterdir())) for who in ("self", writer)]
    return {
        "n": n,
        "put_us": statistics.median(puts[-recent:]),
        "save_ms": statistics.median(calls[-recent:]),
        "ours_mb": private_bytes(os.getpid()) / MB,
        "writer_mb": private_bytes(writer) / MB,
        "descriptors": sum(descriptors),
    }


def _fill(cube: SharedDataCube, source: CountedFrames, first: int) -> float:
    """Put a cube of lines; microseconds per line of `put` only."""
    seconds = 0.0
    clock, put = time.perf_counter, cube.put
    for number in range(first, first + cube.n_lines):
        frame = source.frame(number)
        begun = clock()
        put(frame)
        seconds += clock() - begun
    return 1e6 * seconds / int(cube.n_lines)


def _check(path: Path | None, source: CountedFrames) -> Checked:
    if path is None:
        raise AssertionError("there is no file")
    file = check_cube(path, source)
    path.unlink()
    path.with_suffix(".png").unlink(missing_ok=True)
    return file


def _require(files: list[Checked], n: int) -> None:
    n_found = sum(len(file.ids) for file in files)
    first = min((file.ids[0] for file in files), default=0)
    if n_found != n or (first == 0 and not are_accounted(files, n, [])):
        raise AssertionError(f"{n_found} lines were found in the files, expected {n}")
