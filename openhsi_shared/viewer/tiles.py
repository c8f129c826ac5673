"""Tiles with the key figures of the page: pure functions from a glance to HTML."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from openhsi_shared.buffers.slot_memory import SlotState
from openhsi_shared.buffers.tap import SlotStatus
from openhsi_shared.control.messages import About, Glance
from openhsi_shared.control.status import RecordingStatus, Status
from openhsi_shared.frames.losses import ranges_in_words
from openhsi_shared.viewer.theme import BAD, GOOD, GREY, STATES, WARN

__all__ = ["Numbers", "head", "losses", "minutes", "tiles", "width_of"]

MIN_MINUTES = 10.0
MAX_AGE_S = 1.0
"""Older lines on the screen are marked as not live."""
GAPS_SHOWN = 40

BADGES = {
    "running": ("RECORDING", GOOD),
    "paused": ("PAUSED", WARN),
    "waiting": ("WAITING", WARN),
    "ending": ("SAVING", WARN),
    "ended": ("ENDED", GREY),
    "silent": ("NOT RESPONDING", BAD),
    "died": ("DIED", BAD),
    "failed": ("PAGE FAILED", BAD),
}


class Numbers(NamedTuple):
    """Values measured by the page itself."""

    shown_per_s: float
    """Lines painted by this browser."""
    age_s: float
    """From exposure to painting of the newest line; NaN before the first."""
    is_frozen: bool
    is_over: bool = False
    """No more data will arrive."""


def tiles(glance: Glance, slots: Sequence[SlotStatus], n_lines: int, numbers: Numbers) -> str:
    """Row of tiles; `n_lines` is that of a full cube."""
    status = glance.status
    n_lost = status.lines_lost
    left = math.nan if numbers.is_over else glance.disk_minutes_left
    is_old = numbers.age_s > MAX_AGE_S and not numbers.is_frozen and not numbers.is_over
    age = "frozen" if numbers.is_frozen else "–" if numbers.is_over else _age(numbers.age_s)
    rate = math.nan if numbers.is_over else status.rate
    cubes = f"{status.cubes_saved} saved, {status.cubes_pending} pending"
    shown = f"{numbers.shown_per_s:.0f} /s on this screen"
    parts = [
        _tile("captured", "captured", _number(rate, "/s"), shown, "good"),
        _tile("lost", "lines lost", f"{n_lost:,}", _share(status), "bad" if n_lost else "good"),
        _tile("lines", "lines", f"{status.lines:,}", cubes),
        _tile("slots", "memory", _slots(slots, n_lines), "slots, one cube each"),
        _tile("writer", "writer", _number(status.writer_mb_per_s, "MB/s"), "to the disk"),
        _tile("disk", "disk left", minutes(left), "at this rate", "bad" if left < MIN_MINUTES else ""),
        _tile("age", "age on screen", age, "of the newest line", "warn" if is_old else "good"),
    ]
    return f'<div class="tiles">{"".join(parts)}</div>'


def _tile(kind: str, name: str, value: str, under: str, rating: str = "") -> str:
    return (
        f'<div class="tile {kind} {rating}"><div class="name">{name}</div>'
        f'<div class="value"{width_of(value)}>{value}</div><div class="under">{under}</div></div>'
    )


def width_of(value: str) -> str:
    """Style attribute with the width of a value in its digits, for the size of its letters; those of units are small.

    >>> width_of("1151 <small>MB/s</small>")
    ' style="--width: 7.9"'
    """
    number, _, unit = value.partition("<small>")
    if "<" in number:  # a picture
        return ""
    return f' style="--width: {max(4, len(number) + 0.72 * len(unit.removesuffix("</small>"))):.1f}"'


def _number(value: float, unit: str) -> str:
    return f"{value:.0f} <small>{unit}</small>" if math.isfinite(value) else "–"


def _age(age_s: float) -> str:
    if math.isnan(age_s):
        return "–"
    return f"{1000 * age_s:.0f} <small>ms</small>" if age_s < 1 else f"{age_s:.1f} <small>s</small>"


def minutes(left: float) -> str:
    """Format minutes: decimals if few, hours if many.

    >>> minutes(4.26), minutes(90), minutes(600), minutes(float("inf"))
    ('4.3 <small>min</small>', '90 <small>min</small>', '10 <small>h</small>', '–')
    """
    if not math.isfinite(left):
        return "–"
    if left < MIN_MINUTES:
        return f"{left:.1f} <small>min</small>"
    return f"{left:.0f} <small>min</small>" if left < 180 else f"{min(left / 60, 9999):.0f} <small>h</small>"


def _share(status: Status) -> str:
    n_lost, overwritten = status.lines_lost, status.lines_overwritten
    share = f"{100 * n_lost / (status.lines + n_lost):.2g} % of all" if n_lost else "none"
    return f"{share}, {overwritten:,} overwritten" if overwritten else share


def _slots(slots: Sequence[SlotStatus], n_lines: int) -> str:
    """One box per slot, filled as its cube is; more than four are only counted."""
    if len(slots) > 4:
        counts = {state.name: sum(slot.state == state for slot in slots) for state in SlotState}
        return f"{counts['FREE']} <small>of {len(slots)} free</small>"
    return "".join(_slot(slot, n_lines) for slot in slots) or "–"


def _slot(slot: SlotStatus, n_lines: int) -> str:
    name = slot.state.name
    percent = min(100.0, 100 * slot.n_put / n_lines) if slot.state != SlotState.FREE else 0.0
    filled = f'<i style="height:{percent:.0f}%;background:{STATES[name]}"></i>'
    return f'<span class="slot" title="cube {slot.cube}">{filled}<b>{name.lower()}</b></span>'


def head(state: str, about: About, glance: Glance) -> str:
    """First row: state, camera, directory."""
    badge, colour = BADGES[_doing(glance.status) if state == "running" else state]
    if about.kind == "camera" and state == "running":
        badge = "CAMERA"
    end = {
        "ended": f" · {glance.status.lines:,} lines, {glance.status.lines_lost:,} lost",
        "died": " · its process has terminated; its writer saves the remaining lines",
        "silent": " · no response from the recording",
        "failed": " · no longer updated: open another page; the recording is not affected",
    }.get(state, "")
    ended_by = f" · {glance.ended_by}" if glance.ended_by else ""
    event = (
        f" · event {glance.status.event}" if isinstance(glance.status, RecordingStatus) and glance.status.event else ""
    )
    what = f"{about.camera} · level {about.level} · {about.exposure_ms} ms{event}"
    return (
        f'<div class="head"><span class="badge {state}" style="background:{colour}">{badge}</span><b>{escape(what)}</b>'
        f'<span class="where">{escape(about.save_dir or "not saved yet")}{escape(end + ended_by)}</span></div>'
    )


def _doing(status: Status) -> str:
    """What a recording does that runs."""
    if not isinstance(status, RecordingStatus):
        return "running"
    return "paused" if status.is_paused else "waiting" if status.is_waiting else "running"


def losses(glance: Glance) -> str:
    """Lost frame ids, newest first, and errors; empty if there are none."""
    parts = []
    newest = glance.status.lost_ids[: -GAPS_SHOWN - 1 : -1]
    if newest:
        ids = ", ".join(ranges_in_words([gap]) for gap in newest)
        n_more = glance.n_gaps - len(newest)
        more = f" and {n_more:,} earlier gaps" if n_more > 0 else ""
        parts.append(f'<div class="losses">Lost frame ids, newest first: {ids}{more}</div>')
    parts += [f'<div class="errors">{escape(error)}</div>' for error in glance.status.errors]
    return "".join(parts)
