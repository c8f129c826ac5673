"""The documented loop of this library, with every file checked."""

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.frames import Checked, Checker, are_accounted
from benchmarks.measuring import Plan
from openhsi_shared import SharedSimulatedCamera
from openhsi_shared.writer.handle import SaveHandle

__all__ = ["QUEUE", "Loop", "cores_for_recording", "run_loop"]

QUEUE = 30
"""Frames that the camera keeps until they are read."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Result of a loop."""

    n_cubes: int
    n_lost: int
    """From the camera's status."""
    is_right: bool
    """Whether each frame is in one file, bit by bit, or declared lost, and there is one file for each cube."""
    files: list[Checked] = field(repr=False)
    saves_ms: list[float] = field(repr=False)
    """Duration of each call of `save()`."""
    gaps_ms: list[float] = field(repr=False)
    """From the last line of a cube to when the loop is ready for the next."""
    lines_per_s: float

    @property
    def verified(self) -> str:
        """What was checked, and the result."""
        found = "each frame is there, or declared lost" if self.is_right else "FRAMES ARE MISSING, DOUBLED OR WRONG"
        return f"every line of {len(self.files)} files: {found}"

    def __str__(self) -> str:
        return (
            f"{self.n_lost} lost, {len(self.files)} files for {self.n_cubes} cubes at {self.lines_per_s:.0f} lines/s, "
            f"save() at most {max(self.saves_ms):.2f} ms"
        )


def run_loop(
    plan: Plan,
    folder: Path,
    *,
    n_lines: int,
    n_cubes: int,
    rate: float,
    mode: str | None = "counting",
    cores: set[int] | None = None,
    **keywords: Any,
) -> Loop:
    """Collect and save cube after cube from a paced camera, on `cores` only; files are deleted as they are checked."""
    saves_ms: list[float] = []
    gaps_ms: list[float] = []
    handles: deque[SaveHandle] = deque()
    with Checker(plan.frame_shape, mode) as checker:
        with (
            _only_on(cores),
            SharedSimulatedCamera(
                n_lines, resolution=plan.frame_shape, row_slice=(0, -1), mode=mode, rate=rate, queue=QUEUE, **keywords
            ) as camera,
        ):
            camera.start_streaming()
            begun = time.perf_counter()
            for _ in range(n_cubes):
                camera.collect(progress=False)
                collected = time.perf_counter()
                handles.append(camera.save(folder))
                saves_ms.append(1e3 * (time.perf_counter() - collected))
                while len(handles) > 1 and handles[0].exitcode == 0:
                    _give(checker, handles.popleft())
                gaps_ms.append(1e3 * (time.perf_counter() - collected))
            seconds = time.perf_counter() - begun
        status = camera.status()
        for handle in handles:
            _give(checker, handle)
        files = checker.results()
    n_offered = status.lines + status.lines_lost
    is_complete = status.lines == n_lines * n_cubes and len(files) == n_cubes
    return Loop(
        n_cubes=n_cubes,
        n_lost=status.lines_lost,
        is_right=is_complete and are_accounted(files, n_offered, status.lost_ids),
        files=files,
        saves_ms=saves_ms,
        gaps_ms=gaps_ms,
        lines_per_s=n_lines * n_cubes / seconds,
    )


def _give(checker: Checker, handle: SaveHandle) -> None:
    path = handle.result().path
    if path is not None:
        checker.add(path)


def cores_for_recording(n: int) -> set[int] | None:
    """`n` of the cores that this process may use; None if this is not known, or there are no more."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    return set(cores[:n]) if len(cores) > n else None


@contextmanager
def _only_on(cores: set[int] | None) -> Iterator[None]:
    """Restrict this thread, and all that it starts, to these cores."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
