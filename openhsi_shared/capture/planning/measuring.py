"""Measures a camera, the memory and a disk together, within 20 s, and makes the plan of it."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from openhsi_shared.buffers.memory import RESERVE, free_memory
from openhsi_shared.buffers.slot_memory import SlotLayout
from openhsi_shared.capture.planning.camera_trial import CameraTrial, Read
from openhsi_shared.capture.planning.disk_trial import DiskTrial, free_bytes
from openhsi_shared.capture.planning.plan import DiskSpeed, Measured, Plan, lines_of_a_cube, plan_of
from openhsi_shared.drivers import FrameSource
from openhsi_shared.errors import FrameTimeout
from openhsi_shared.levels import LevelPlan
from openhsi_shared.save_options import Compression

__all__ = ["measured_plan"]

LIMIT_S = 18.0
"""For all but the end of the process, which is killed."""
COMPRESSIONS: tuple[tuple[Compression | None, float], ...] = ((None, 5.0), ("deflate", 2.5), ("zstd", 2.5))
"""In the order of preference (every reader opens deflate), and for how many seconds each is tried."""
ANSWER_S = 3.0
"""How long the disk may take to say what is free."""
LAST_S = 1.5
"""A compression is not tried when less time is left."""
MIN_TRIAL_BYTES = 16 << 20
MAX_TRIAL_BYTES = 512 << 20
FREE_CUBES = 2
"""Room for so many trial cubes is needed."""


def measured_plan(
    camera: str,
    source: FrameSource,
    read: Read,
    plan: LevelPlan,
    layout: SlotLayout,
    save_dir: Path,
    minutes: float | None,
    average: int = 1,
) -> Plan:
    """Measure and choose. The camera streams; `read` takes a frame in its turn. Blocks for at most 20 s.

    `average` frames are one line. Raises what `read` raises; SaveError if the disk cannot be used
    or has no room for the trial, MemoryShortage.
    """
    end = time.monotonic() + LIMIT_S
    free_disk = free_bytes(save_dir, FREE_CUBES * layout.line_bytes, ANSWER_S)
    trial = CameraTrial(read, source, plan, np.empty(layout.line_shape, layout.dtype))
    rate = trial.rate(end - LIMIT_S / 2)
    busy = trial.busy(rate)
    queue = trial.queue(rate, end - LIMIT_S / 2)
    line_rate = rate / average
    available = min(free for _, free, _ in free_memory()) - RESERVE
    n_lines = lines_of_a_cube(line_rate, layout.stride, available, queue.waits)
    n_trial = max(16, min(max(n_lines, MIN_TRIAL_BYTES // layout.stride), MAX_TRIAL_BYTES // layout.stride))
    n_trial = min(n_trial, max(1, available // 4 // layout.stride))
    free_disk = free_bytes(save_dir, FREE_CUBES * n_trial * layout.line_bytes, ANSWER_S)
    measured = Measured(
        camera=camera,
        save_dir=str(save_dir),
        rate=line_rate,
        queue=queue.n_frames,
        queue_is_full=queue.is_full,
        waits=queue.waits,
        busy=busy,
        stride=layout.stride,
        free_memory=available,
        free_disk=free_disk,
        disks={},
    )
    size = replace(layout, n_lines=n_trial)
    with closing(DiskTrial(save_dir, size, list(trial.lines) or [np.zeros(layout.line_shape, layout.dtype)])) as disk:
        disk.wait_until_ready(lambda: _take(trial, queue.waits))
        disks = _speeds(disk, lambda: _take(trial, queue.waits), end)
    return plan_of(replace(measured, disks=disks), minutes)


def _take(trial: CameraTrial, waits: bool) -> int:
    """Take a frame, as a recording would meanwhile; how many are missing before it."""
    if waits:  # a recording would not take them faster than they are saved
        time.sleep(0.02)
        return 0
    try:
        return trial.take()
    except FrameTimeout:
        return 0


def _speeds(disk: DiskTrial, take: Callable[[], int], end: float) -> dict[Compression | None, DiskSpeed]:
    found: dict[Compression | None, DiskSpeed] = {}
    for compression, seconds in COMPRESSIONS:
        if found and (end - time.monotonic() < LAST_S or any(speed.is_bound for speed in found.values())):
            break
        found[compression] = disk.speed(compression, seconds, end, take)
    return found
