"""Analysis: replay of captures beside dranspose, lines of a cube beside a bare loop, live analyses beside none."""

import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import h5py
import numpy as np

from benchmarks import analysis_pairs
from benchmarks.analysis_live import live_rows
from benchmarks.analysis_pairs import CLOCK
from benchmarks.frames import frames_of_scene
from benchmarks.measuring import Plan, Row, Spread
from openhsi_shared import SharedDataCube, open_cube
from openhsi_shared.analysis import replay

__all__ = ["run"]

ROOT = Path(__file__).parent.parent
WORKERS = {"None": "NothingWorker", "parse": "ParsingWorker", "mean": "MeanWorker"}


def run(plan: Plan) -> list[Row]:
    with plan.folder("analysis") as folder:
        small = _capture(folder / "small.cbors", plan.pick(20_000, 5_000, 100), (10, 10))
        large = _capture(folder / "large.cbors", plan.pick(1_000, 300, 20), plan.frame_shape)
        rows = [_replay(plan, small, (10, 10), 1.2), _replay(plan, large, plan.frame_shape, 8.0)]
        for path in (small, large):
            path.unlink()
        cube = _cube(plan, folder)
        rows += [_bare(plan, cube), _two(plan, cube), _first(plan, folder)]
    return [*rows, *live_rows(plan)]


def _capture(path: Path, n_frames: int, shape: tuple[int, int]) -> Path:
    """Write what an ingester of dranspose dumps."""
    frame = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape)

    def record(number: int, about: dict[str, Any], *frames: bytes) -> bytes:
        stream = cbor2.CBORTag(42878, ["STINS", [json.dumps(about).encode(), *frames]])
        return cbor2.dumps(cbor2.CBORTag(55799, cbor2.CBORTag(42877, [number, {"xrd": stream}])))

    with path.open("wb") as file:
        file.write(record(0, {"htype": "header", "filename": "", "msg_number": 0}))
        about = {"htype": "image", "shape": shape, "type": "uint16", "compression": "none"}
        for k in range(n_frames):
            file.write(record(k + 1, about | {"frame": k, "msg_number": k + 1}, (frame + k).tobytes()))
        file.write(record(n_frames + 1, {"htype": "series_end", "msg_number": n_frames + 1}))
    return path


# ---- captures ----


def _replay(plan: Plan, path: Path, shape: tuple[int, int], target: float) -> Row:
    n_rounds = plan.pick(5, 3, 1)
    ours: dict[str, list[float]] = {kind: [] for kind in WORKERS}
    theirs: dict[str, list[float]] = {kind: [] for kind in WORKERS}
    n_events = 0
    for _ in range(n_rounds):
        for kind, worker in WORKERS.items():
            seconds, found, n_events = _ours(path, worker, shape)
            ours[kind].append(n_events / seconds)
            if plan.dranspose_python is not None:
                both = [_dranspose(plan.dranspose_python, path, worker, n) for n in (1, 2)]
                if kind == "mean" and not all(_are_equal(one, found) for one in both):
                    raise AssertionError(f"{found} here, {both} there")
                theirs[kind].append(n_events / min(one["seconds"] for one in both))
    ratios = {kind: max(ours[kind]) / max(theirs[kind]) for kind in WORKERS if theirs[kind]}
    return Row(
        benchmark="analysis",
        what=f"replay of a capture of {n_events} events of {shape[0]} x {shape[1]} uint16, 1 worker: "
        "None / parse / mean of a corner",
        ours=" / ".join(f"{max(values):,.0f}" for values in ours.values()) + " events/s",
        against=f"dranspose, best of 1 and 2 workers: {' / '.join(f'{max(each):,.0f}' for each in theirs.values())}"
        if ratios
        else "dranspose is not installed",
        ratio=min(ratios.values()) if ratios else None,
        target=f">= {target:g} x each",
        is_reached=min(ratios.values()) >= target if ratios else None,
        verified="number and sum of the results" + (", and dranspose's" if ratios else ""),
        figures={"events_s": ours, "dranspose_events_s": theirs, "ratios": ratios},
    )


def _ours(path: Path, worker: str, shape: tuple[int, int]) -> tuple[float, dict[str, Any], int]:
    """Seconds, what was published, and the number of events. AssertionError if a result is wrong or missing."""
    CLOCK.clear()
    run = replay(getattr(analysis_pairs, worker), analysis_pairs.MeanReducer, [path], progress=False)
    n_frames = run.n_events - 2
    first = np.arange(shape[0] * shape[1]).reshape(shape)[:2, 8:10].mean()  # of frame 0; each has 1 more
    mean = {"n": n_frames, "sum": n_frames * first + n_frames * (n_frames - 1) / 2}
    expected = mean if worker == "MeanWorker" else {"n": 0, "sum": 0.0}
    found = dict(run.published)
    if run.n_failed or run.n_results != expected["n"] or not _are_equal(found, expected):
        raise AssertionError(f"{found} of {n_frames} frames, expected {expected}; {run.n_failed} failed")
    return CLOCK["ended"] - CLOCK["begun"], found, run.n_events


def _are_equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether both have as many results, and the same sum."""
    return one["n"] == other["n"] and bool(np.isclose(one["sum"], other["sum"], rtol=1e-9))


def _dranspose(python: Path, path: Path, worker: str, n_workers: int) -> dict[str, Any]:
    command = [str(python), "-m", "benchmarks.dranspose_side", str(path), worker, str(n_workers)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# ---- cubes ----


def _cube(plan: Plan, folder: Path) -> Path:
    n_lines = plan.pick(2048, 512, 24)
    frames = frames_of_scene(plan.frame_shape, 16)
    with SharedDataCube(n_lines, resolution=plan.frame_shape, pixel_format="Mono12", exposure_ms=2.0) as cube:
        for number in range(n_lines):
            cube.put(frames[number % len(frames)])
        path = cube.save(folder, savefig=False).result().path
    if path is None:
        raise AssertionError("there is no file")
    return path


def _plain_loop(path: Path) -> float:
    """Seconds to read each line with `preadv`, and to compare its checksum."""
    with open_cube(path) as cube:
        checksums = cube.column("line_crc32").tolist()
        view = memoryview(bytearray(cube.lines[0].nbytes))
    with h5py.File(path) as hdf5:
        dataset = hdf5["datacube"]
        along = dataset.chunks.index(1)
        info = [dataset.id.get_chunk_info(k) for k in range(len(checksums))]
    offsets = [one.byte_offset for one in sorted(info, key=lambda one: one.chunk_offset[along])]
    file = os.open(path, os.O_RDONLY)
    begun = time.perf_counter()
    for offset, checksum in zip(offsets, checksums, strict=True):
        os.preadv(file, [view], offset)
        if _crc32(view) != checksum:
            raise AssertionError(f"the line at byte {offset} is damaged, or not where it is looked for")
    seconds = time.perf_counter() - begun
    os.close(file)
    return seconds


def _crc32(data: Any) -> int:
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.crc32(data)
    return int(isal_zlib.crc32(data))


def _bare(plan: Plan, path: Path) -> Row:
    ours, bare = [], []
    n_lines = 0
    for number in range(-1, plan.pick(5, 3, 1)):
        seconds, n_lines = _seconds_of(path, analysis_pairs.NothingWorker, 1, "begun", {"n": 0, "sum": 0.0})
        plain = _plain_loop(path)
        if number >= 0:
            ours.append(n_lines / seconds)
            bare.append(n_lines / plain)
    ratio = max(ours) / max(bare)
    return Row(
        benchmark="analysis",
        what=f"{n_lines} lines of a cube of {plan.frame_shape} uint16, CRC checked, trivial worker in this process",
        ours=f"{Spread(ours).text('lines/s')}",
        against=f"bare loop of preadv and CRC: {Spread(bare).text('lines/s')}",
        ratio=ratio,
        target=">= 0.8 x",
        is_reached=ratio >= 0.8,
        verified="every checksum, by both",
        figures={"lines_s": ours, "bare_lines_s": bare},
    )


def _seconds_of(path: Path, worker: type, n_workers: int, begin: str, expected: dict[str, Any]) -> tuple[float, int]:
    """Seconds without the start of worker processes, and the number of lines. AssertionError if results are wrong."""
    CLOCK.clear()
    run = replay(worker, analysis_pairs.MeanReducer, [path], n_workers=n_workers, progress=False)
    if run.n_failed or not _are_equal(dict(run.published), expected):
        raise AssertionError(f"{dict(run.published)}, expected {expected}; {run.n_failed} events failed")
    return CLOCK["ended"] - CLOCK[begin], run.n_events - 2


def _two(plan: Plan, path: Path) -> Row:
    rates: dict[int, list[float]] = {1: [], 2: []}
    with open_cube(path) as cube:
        expected = {"n": len(cube.lines), "sum": sum(float(line.mean(axis=0).sum()) for line in cube.lines)}
    for _ in range(plan.pick(5, 3, 1)):
        for n_workers, found in rates.items():
            seconds, n_lines = _seconds_of(path, analysis_pairs.SpectrumWorker, n_workers, "first", expected)
            found.append(n_lines / seconds)
    ratio = max(rates[2]) / max(rates[1])
    return Row(
        benchmark="analysis",
        what="the same, full mean spectrum: 2 workers",
        ours=Spread(rates[2]).text("lines/s"),
        against=f"1 worker: {Spread(rates[1]).text('lines/s')}",
        ratio=ratio,
        target=">= 1.5 x",
        is_reached=ratio >= 1.5,
        verified="number and sum of the spectra",
        figures={"lines_s": rates},
    )


# ---- the command ----


def _first(plan: Plan, folder: Path) -> Row:
    """Seconds from the command to its end, on a capture of ten frames."""
    path = _capture(folder / "ten.cbors", 10, (10, 10))
    pair = ["-w", "benchmarks.analysis_pairs:MeanWorker", "-r", "benchmarks.analysis_pairs:MeanReducer"]
    program = "from openhsi_shared.cli import main; main()"

    def seconds() -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", program, "replay", *pair, "-f", str(path)], cwd=ROOT, check=True)
        return time.perf_counter() - begun

    found = _several(plan, seconds)
    return Row(
        benchmark="analysis",
        what="from the command `replay` on a capture of 10 frames to its end",
        ours=Spread(found).text("s", 2),
        target="<= 1 s",
        is_reached=Spread(found).median <= 1,
        verified="its exit code",
        figures={"s": found},
    )


def _several(plan: Plan, measure: Callable[[], float]) -> list[float]:
    return [measure() for _ in range(plan.pick(5, 3, 1))]
