"""Time of `put` of one line, compared with copying the same frame into contiguous memory."""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frames import frames_of_scene
from benchmarks.measuring import MB, Plan, Row, Spread
from openhsi_shared import SharedDataCube
from openhsi_shared.buffers.memory import PAGE, aligned_bytes, shared_array

__all__ = ["run"]


def run(plan: Plan) -> list[Row]:
    """Both sides fill as many lines, more than the cache holds."""
    n_lines, n_rounds = plan.pick((400, 41), (200, 15), (16, 3))
    frames = frames_of_scene(plan.frame_shape, 8)
    private = _ones_placed_like(frames, n_lines)
    memory = shared_array("B", private.nbytes + PAGE, "the other side's lines")
    shared = aligned_bytes(memory, private.nbytes).view(np.uint16).reshape(private.shape)
    shared[:] = 1
    puts, copies, shared_copies = [], [], []
    with (
        SharedDataCube(n_lines, resolution=plan.frame_shape, pixel_format="Mono12") as cube,
        plan.folder("put") as folder,
    ):
        for _ in range(n_rounds + 1):
            puts.append(_time_puts(cube, frames, n_lines))
            copies.append(_time_copies(private, frames))
            shared_copies.append(_time_copies(shared, frames))
            _verify(cube, frames)
        cube.save(folder, savefig=False).result()
    del puts[0], copies[0], shared_copies[0]  # the first round allocates pages
    put, copy, shared_copy = Spread(puts), Spread(copies), Spread(shared_copies)
    ratio = float(np.median(np.divide(puts, copies)))  # of consecutive measurements
    speed = plan.line_bytes / put.median / MB * 1e6
    return [
        Row(
            benchmark="put",
            what=f"put of one line {plan.frame_shape} uint16 into the cube",
            ours=f"{put.text('us', 1)}, {speed:,.0f} MB/s",
            against=f"np.copyto into memory: {copy.text('us', 1)}; into shared memory: {shared_copy.text('us', 1)}",
            ratio=ratio,
            target="<= 1.3 x",
            is_reached=ratio <= 1.3,
            verified=f"all {n_lines} lines of the cube, in each of {n_rounds} rounds",
            figures={"put_us": puts, "copyto_us": copies, "copyto_shared_us": shared_copies, "n_lines": n_lines},
        )
    ]


def _ones_placed_like(frames: NDArray[Any], n_lines: int) -> NDArray[Any]:
    """Lines with the same offset from a cache line as the frames: else the time of a copy varies by a factor of two."""
    n_bytes = n_lines * frames[0].nbytes
    flat = np.ones(n_bytes + 64, np.uint8)
    begin = (frames.ctypes.data - flat.ctypes.data) % 64
    return flat[begin : begin + n_bytes].view(np.uint16).reshape(n_lines, *frames.shape[1:])


def _time_puts(cube: SharedDataCube, frames: NDArray[Any], n_lines: int) -> float:
    put, n_frames = cube.put, len(frames)
    begun = time.perf_counter()
    for line in range(n_lines):
        put(frames[line % n_frames])
    return 1e6 * (time.perf_counter() - begun) / n_lines


def _time_copies(lines: NDArray[Any], frames: NDArray[Any]) -> float:
    n_frames = len(frames)
    begun = time.perf_counter()
    for line in range(len(lines)):
        np.copyto(lines[line], frames[line % n_frames])
    return 1e6 * (time.perf_counter() - begun) / len(lines)


def _verify(cube: SharedDataCube, frames: NDArray[Any]) -> None:
    data = cube.dc.data
    for line in range(data.shape[1]):
        if not np.array_equal(data[:, line], frames[line % len(frames)]):
            raise AssertionError(f"line {line} of the cube is not the frame that was put")
