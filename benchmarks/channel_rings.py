"""Cost of delivering samples into shared memory, and what channels cost the loop that takes lines, and the writer."""

import time
import timeit
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.frames import Checked, CountedFrames, are_accounted, check_cube
from benchmarks.measuring import Plan, Row, Spread
from openhsi_shared import SharedDataCube, SharedSimulatedCamera, record
from openhsi_shared.buffers.samples import SampleLayout, SampleMemory
from openhsi_shared.channels import Channel
from openhsi_shared.channels.delivering import RingDeliver
from openhsi_shared.paths import cubes_below

__all__ = ["run"]

N_CHANNELS = 10
SAMPLE_RATE = 1000


def run(plan: Plan) -> list[Row]:
    return [
        _delivering(plan),
        _putting(plan),
        _saving(plan),
        *(_recording(plan, rate) for rate in plan.pick((500, 1000), (500,), (100,))),
    ]


# ---- one sample ----


def _delivering(plan: Plan) -> Row:
    n, n_rounds = plan.pick((20_000, 41), (20_000, 11), (1000, 3))
    channel = Channel("a")
    memory = SampleMemory.allocate([SampleLayout("a", 1, 4096)])
    deliver, ring, view = RingDeliver(channel.properties, memory), memory.ring("a"), memory.view("a")
    delivered, put = [], []
    for _ in range(n_rounds):
        delivered.append(1e6 * timeit.timeit(lambda: deliver.sample(1.5, 10**18), number=n) / n)
        put.append(1e6 * timeit.timeit(lambda: ring.put(1, 2, 3, 4, (1.5,)), number=n) / n)
    if view.counts.delivered != 2 * n * n_rounds:
        raise AssertionError(f"{view.counts} samples of {2 * n * n_rounds}")
    whole, alone = Spread(delivered), Spread(put)
    return Row(
        benchmark="channel_rings",
        what="deliver one sample from Python to shared memory",
        ours=f"{whole.text('us', 2)}; the ring alone {alone.text('us', 2)}",
        target="median <= 3 us",
        is_reached=whole.median <= 3.0,
        verified="the count of samples",
        figures={"deliver_us": delivered, "put_us": put},
    )


# ---- put and swap, with channels and without ----


def _channels(rate: float = SAMPLE_RATE) -> dict[str, Any]:
    return {f"c{n}": f"sim:clock,rate={rate},how=linear" for n in range(N_CHANNELS)}


def _putting(plan: Plan) -> Row:
    n_lines, n_rounds, rate = plan.pick((400, 15, 1000), (200, 7, 1000), (16, 2, 10))
    source = CountedFrames(plan.frame_shape)
    keywords: dict[str, Any] = {"resolution": plan.frame_shape, "pixel_format": "Mono12"}
    figures: dict[str, list[float]] = {"put_on_us": [], "put_off_us": [], "swap_on_ms": [], "swap_off_ms": []}
    with (
        plan.folder("channels") as folder,
        SharedDataCube(n_lines, channels=_channels(rate), **keywords) as with_channels,
        SharedDataCube(n_lines, **keywords) as without,
    ):
        for n in range(n_rounds + 1):
            for name, cube in (("on", with_channels), ("off", without)):
                saved = _fill_and_save(cube, source, folder, n * n_lines)
                figures[f"put_{name}_us"].append(saved.put_us)
                figures[f"swap_{name}_ms"].append(saved.swap_ms)
    for found in figures.values():
        del found[0]  # the first round allocates pages
    ratio = float(np.median(np.divide(figures["put_on_us"], figures["put_off_us"])))
    return Row(
        benchmark="channel_rings",
        what=f"put of one line, and save(), with {N_CHANNELS} channels at {rate} Hz",
        ours=f"put {Spread(figures['put_on_us']).text('us', 1)}, save {Spread(figures['swap_on_ms']).text('ms', 3)}",
        against=f"without channels: put {Spread(figures['put_off_us']).text('us', 1)}, "
        f"save {Spread(figures['swap_off_ms']).text('ms', 3)}",
        ratio=ratio,
        target="equal within 2 %",
        is_reached=ratio <= 1.02,
        verified=f"every line of {2 * n_rounds} files",
        figures=figures,
    )


def _saving(plan: Plan) -> Row:
    n_lines, n_rounds, rate = plan.pick((1024, 9, SAMPLE_RATE), (1024, 4, SAMPLE_RATE), (16, 2, 10))
    source = CountedFrames(plan.frame_shape)
    keywords: dict[str, Any] = {"resolution": plan.frame_shape, "pixel_format": "Mono12"}
    seconds: dict[str, list[float]] = {"on": [], "off": []}
    with (
        plan.folder("channels") as folder,
        SharedDataCube(n_lines, channels=_channels(rate), **keywords) as with_channels,
        SharedDataCube(n_lines, **keywords) as without,
    ):
        for n in range(n_rounds + 1):
            for name, cube in (("on", with_channels), ("off", without)):
                seconds[name].append(_fill_and_save(cube, source, folder, n * n_lines).save_s)
    for found in seconds.values():
        del found[0]  # the first round allocates pages
    ratio = Spread(seconds["on"]).median / Spread(seconds["off"]).median
    return Row(
        benchmark="channel_rings",
        what=f"saving {n_lines * plan.line_bytes / 1e9:.2f} GB with {N_CHANNELS} channels at {rate} Hz",
        ours=Spread(seconds["on"]).text("s", 3),
        against=f"without channels {Spread(seconds['off']).text('s', 3)}",
        ratio=ratio,
        target="<= 3 % longer",
        is_reached=ratio <= 1.03,
        verified=f"every line of {2 * n_rounds} files",
        figures={f"{name}_s": found for name, found in seconds.items()},
    )


class _Saved(NamedTuple):
    put_us: float
    swap_ms: float
    """Until `save()` returns."""
    save_s: float
    """Until the file is there."""


def _fill_and_save(cube: SharedDataCube, source: CountedFrames, folder: Path, first: int) -> _Saved:
    put, seconds = cube.put, 0.0
    for n in range(cube.n_lines):
        frame = source.frame(first + n)
        begun = time.perf_counter()
        put(frame)
        seconds += time.perf_counter() - begun
    begun = time.perf_counter()
    handle = cube.save(folder, savefig=False)
    swap_ms = 1e3 * (time.perf_counter() - begun)
    path = handle.result().path
    save_s = time.perf_counter() - begun
    if path is None:
        raise AssertionError("there is no file")
    checked = check_cube(path, source)
    _require(checked, first, cube.n_lines)
    path.unlink()
    return _Saved(1e6 * seconds / cube.n_lines, swap_ms, save_s)


def _require(file: Checked, first: int, n_lines: int) -> None:
    if file.ids != tuple(range(first, first + n_lines)) or file.n_wrong:
        raise AssertionError(f"{file.path} does not contain lines {first} to {first + n_lines - 1}: {file}")


# ---- a recording at rate ----


def _recording(plan: Plan, rate: int) -> Row:
    n_lines, n_cubes = plan.pick((500, 10), (500, 4), (10, 2))
    sample_rate = plan.pick(SAMPLE_RATE, SAMPLE_RATE, 10)
    lost, source, is_right = {}, CountedFrames((64, 80)), True
    for name, channels in (("on", _channels(sample_rate)), ("off", None)):
        with plan.folder(f"channels-{name}") as folder:
            with record(
                SharedSimulatedCamera,
                folder,
                n_lines=n_lines,
                n_cubes=n_cubes,
                rate=rate,
                mode="counting",
                resolution=(64, 80),
                row_slice=None,
                cal_path="",
                progress=False,
                channels=channels,
            ) as run_:
                summary = run_.wait()
            files = [check_cube(path, source) for path in cubes_below(folder)]
            is_right &= summary.lines == n_lines * n_cubes
            is_right &= are_accounted(files, summary.lines + summary.lines_lost, summary.lost_ids)
            lost[name] = summary.lines_lost
    return Row(
        benchmark="channel_rings",
        what=f"lines lost of {n_lines * n_cubes} at {rate} lines/s, with {N_CHANNELS} channels at {sample_rate} Hz",
        ours=f"{lost['on']} lost",
        against=f"without channels: {lost['off']} lost",
        target="0 lost",
        is_reached=lost["on"] == 0,
        is_right=is_right,
        verified="each frame is in one file, bit by bit, or declared lost",
        figures={"lost": lost},
    )
