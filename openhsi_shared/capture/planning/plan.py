"""The plan of a flight: sizes of cubes, number of slots and compression that hold, by what was measured."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from openhsi_shared.save_options import Compression

__all__ = ["MIN_MARGIN", "Choice", "DiskSpeed", "Measured", "Plan", "lines_of_a_cube", "plan_of"]

MIN_MARGIN = 1.2
"""Nothing is promised below."""
CUBE_S = 1.0
"""A cube has at least the lines of this time: then the cost of a file is small."""
WAITING_RATE = 100.0
"""Lines/s for which the cubes of a source that waits are made."""
STALL_S = 5.0
"""What stall of the disk the slots are to bridge."""
MIN_LINES = 16
MIN_SLOTS = 3
SHARE_OF_MEMORY = 0.5


class DiskSpeed(NamedTuple):
    """How fast cubes became durable, by one compression."""

    lines_per_s: float
    """Over all cubes."""
    slowest: float
    """Lines/s in the slowest second."""
    line_bytes: float
    """Of a line in the file."""
    n_lost: int
    """Frames that the camera dropped meanwhile."""
    is_bound: bool = False
    """No cube was done in the time: it is at most so fast."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured."""

    camera: str
    save_dir: str
    rate: float
    """Lines/s that the camera delivers, taken or not."""
    queue: int | None
    """Frames that wait while none is taken; None: unknown, without a counter."""
    queue_is_full: bool
    """Whether the queue overflowed in the test: else it is longer."""
    waits: bool
    """The source waits until a frame is taken: it loses none."""
    busy: float
    """Share of the time that the computation of the level takes."""
    stride: int
    """Bytes of a line in memory."""
    free_memory: int
    free_disk: int
    disks: Mapping[Compression | None, DiskSpeed]
    """By compression; those for which there was time."""


class Choice(NamedTuple):
    """What one compression gives."""

    compression: Compression | None
    margin: float
    """Speed of the slowest part in its slowest second, over the rate of the camera."""
    minutes: float
    """Until the disk is full."""
    lines_lost_per_minute: float
    """0 if it keeps up."""
    holds: bool


@dataclass(frozen=True)
class Plan:
    """What holds on this machine, with this camera and disk; the result of `camera.plan`. `str` tells it in words."""

    measured: Measured
    n_lines: int
    """Lines of a cube."""
    n_buffers: int
    """Slots."""
    compression: Compression | None
    margin: float
    """Speed of the slowest part in its slowest second, over the rate of the camera; infinite if the source waits."""
    stall_s: float
    """How long the disk may stall, once, without loss."""
    minutes: float
    """Until the disk is full."""
    lines_lost_per_minute: float
    """What is lost if it is recorded nevertheless; 0 if it holds."""
    problems: tuple[str, ...]
    """Why nothing is promised."""
    choices: tuple[Choice, ...]
    """By compression, as measured."""

    @property
    def holds(self) -> bool:
        """Whether nothing will be lost, as far as what was measured stays so."""
        return not self.problems

    def __str__(self) -> str:
        m = self.measured
        more = "" if m.queue_is_full else "at least "
        queue = "it waits for the reader" if m.waits else "unknown" if m.queue is None else f"{more}{m.queue} frames"
        rows = [
            ("camera", f"{m.camera}: {m.rate:.1f} lines/s, queue: {queue}"),
            ("memory", f"{m.free_memory / 1e6:,.0f} MB free, {m.stride / 1e6:.2f} MB a line"),
            ("disk", f"{m.save_dir}: {m.free_disk / 1e9:,.1f} GB free"),
        ]
        for choice in self.choices:
            speed = m.disks[choice.compression]
            slow = "at most " if speed.is_bound else ""
            rows.append(
                (
                    f"  {choice.compression or 'none'}",
                    f"{slow}{speed.lines_per_s:.0f} lines/s, {speed.slowest:.0f} in the slowest second: margin "
                    f"{_floored(choice.margin)}, full after {choice.minutes:.0f} min"
                    + (f", loses {choice.lines_lost_per_minute:.0f} lines/min" if choice.lines_lost_per_minute else "")
                    + (f", the camera dropped {speed.n_lost} frames" if speed.n_lost else ""),
                )
            )
        rows += [
            ("lines", f"{self.n_lines} a cube"),
            ("buffers", f"{self.n_buffers}: the disk may stall for {self.stall_s:.1f} s"),
            ("compression", self.compression or "none"),
            ("margin", _floored(self.margin)),
            ("minutes", f"{self.minutes:.0f} until the disk is full"),
            ("holds", "yes" if self.holds else f"no: {'; '.join(self.problems)}"),
        ]
        if self.lines_lost_per_minute:
            rows.append(("lost", f"about {self.lines_lost_per_minute:.0f} lines a minute otherwise"))
        return "\n".join(f"{name:13}{text}" for name, text in rows)


def _floored(margin: float) -> str:
    """One that is too small must not look like one that is not."""
    return f"{math.floor(100 * margin) / 100:.2f}" if margin < math.inf else "infinite"


def lines_of_a_cube(rate: float, stride: int, free_memory: int, waits: bool) -> int:
    """Lines of a cube: those of one second, as a power of two; fewer if three slots of it do not fit into memory."""
    rate = WAITING_RATE if waits else rate
    n = max(MIN_LINES, 1 << math.ceil(math.log2(max(rate * CUBE_S, 1.0))))
    while n > MIN_LINES and MIN_SLOTS * n * stride > free_memory * SHARE_OF_MEMORY:
        n //= 2
    return n


def plan_of(measured: Measured, minutes: float | None = None) -> Plan:
    """Choose: the first compression, in the order of `measured.disks`, that holds for `minutes`, else the best one."""
    n_lines = lines_of_a_cube(measured.rate, measured.stride, measured.free_memory, measured.waits)
    choices = tuple(_choice(measured, compression) for compression in measured.disks)
    best = max(choices, key=lambda one: (one.holds, one.holds and _lasts(one, minutes), *_worth(one, minutes)))
    cube_s = n_lines / measured.rate
    save_s = n_lines / measured.disks[best.compression].slowest
    wanted = MIN_SLOTS if measured.waits else 1 + math.ceil((STALL_S + min(save_s, cube_s)) / cube_s)
    n_most = int(measured.free_memory * SHARE_OF_MEMORY / (n_lines * measured.stride))
    n_buffers = max(MIN_SLOTS, min(wanted, n_most))
    return Plan(
        measured=measured,
        n_lines=n_lines,
        n_buffers=n_buffers,
        compression=best.compression,
        margin=best.margin,
        stall_s=math.inf if measured.waits else max(0.0, (n_buffers - 1) * cube_s - save_s),
        minutes=best.minutes,
        lines_lost_per_minute=best.lines_lost_per_minute,
        problems=tuple(_problems(measured, best, n_most, minutes)),
        choices=choices,
    )


def _worth(choice: Choice, minutes: float | None) -> tuple[float, ...]:
    """Of several that hold, the first one is the best, if no time is asked for that it does not last."""
    return (0.0,) if choice.holds and _lasts(choice, minutes) else (choice.minutes if choice.holds else choice.margin,)


def _lasts(choice: Choice, minutes: float | None) -> bool:
    return minutes is None or choice.minutes >= minutes


def _choice(measured: Measured, compression: Compression | None) -> Choice:
    disk, rate = measured.disks[compression], measured.rate
    used = min(rate, disk.lines_per_s) if measured.waits else rate
    minutes = measured.free_disk / (disk.line_bytes * used) / 60
    if measured.waits:
        return Choice(compression, math.inf, minutes, 0.0, True)
    level = math.inf if measured.busy <= 0 else 1 / measured.busy
    margin = min(disk.slowest / rate, level)
    speed = min(disk.lines_per_s, level * rate)
    holds = margin >= MIN_MARGIN and not disk.n_lost and not disk.is_bound
    return Choice(compression, margin, minutes, 60 * max(0.0, rate - speed), holds)


def _problems(measured: Measured, best: Choice, n_most: int, minutes: float | None) -> list[str]:
    disk, found = measured.disks[best.compression], []
    if n_most < MIN_SLOTS:
        found.append(
            f"{measured.free_memory / 1e6:,.0f} MB of memory are free, half of which is not enough for {MIN_SLOTS} "
            f"slots of {MIN_LINES} lines: use more memory, or a smaller window"
        )
    if not measured.waits and best.margin < MIN_MARGIN:
        slow = "the computation of the level" if measured.busy > measured.rate / disk.slowest else "the disk"
        found.append(
            f"{slow} has a margin of {_floored(best.margin)}, below {MIN_MARGIN}: use a faster one, a lower rate, "
            "or binning"
        )
    elif not measured.waits and disk.n_lost:
        found.append(
            f"the camera dropped {disk.n_lost} frames during the trial: its queue is too short for what this machine "
            "does meanwhile; use a longer queue, or realtime"
        )
    if not _lasts(best, minutes):
        found.append(f"the disk is full after {best.minutes:.1f} of {minutes:g} minutes: free some space")
    return found
