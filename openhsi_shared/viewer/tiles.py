"""What the large numbers of the page say: pure functions from the words at the door to HTML."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from openhsi_shared.buffers.slot_memory import SlotState
from openhsi_shared.buffers.tap import SlotStatus
from openhsi_shared.viewer.theme import BAD, GOOD, GREY, STATES, WARN

__all__ = ["Numbers", "head", "losses", "minutes", "tiles"]

LOW_MINUTES = 10.0
OLD_S = 1.0
"""Lines on the screen older than this are no longer live."""
GAPS_SHOWN = 40

BADGES = {
    "running": ("RECORDING", GOOD),
    "ending": ("SAVING THE REST", WARN),
    "ended": ("ENDED", GREY),
    "silent": ("NO ANSWER", BAD),
    "died": ("DIED", BAD),
    "failed": ("PAGE FAILED", BAD),
}


class Numbers(NamedTuple):
    """What the page itself knows."""

    shown_per_s: float
    """Lines that reached this browser's screen."""
    age_s: float
    """From capture to this screen, of its newest line; NaN before the first."""
    is_frozen: bool
    is_over: bool = False
    """Nothing comes any more."""


def tiles(words: Mapping[str, Any], slots: Sequence[SlotStatus], n_lines: int, numbers: Numbers) -> str:
    """The row of large numbers. `words` is what the door said to "glance", or nothing yet; `n_lines` of a cube."""
    n_lost = int(words.get("lines_lost", 0))
    left = math.nan if numbers.is_over else float(words.get("disk_minutes_left", math.nan))
    is_old = numbers.age_s > OLD_S and not numbers.is_frozen and not numbers.is_over
    age = "frozen" if numbers.is_frozen else "–" if numbers.is_over else _age(numbers.age_s)
    rate = None if numbers.is_over else words.get("rate")
    cubes = f"{words.get('cubes_saved', 0)} cubes saved, {words.get('cubes_pending', 0)} to go"
    shown = f"{numbers.shown_per_s:.0f} /s on this screen"
    parts = [
        _tile("captured", "captured", _number(rate, "/s"), shown, "good"),
        _tile("lost", "lines lost", f"{n_lost:,}", _share(words), "bad" if n_lost else "good"),
        _tile("lines", "lines", f"{int(words.get('lines', 0)):,}", cubes),
        _tile("slots", "memory", _slots(slots, n_lines), "places for a cube each"),
        _tile("writer", "writer", _number(words.get("writer_mb_per_s"), "MB/s"), "to the disk"),
        _tile("disk", "disk left", minutes(left), "at this rate", "bad" if left < LOW_MINUTES else ""),
        _tile("age", "age on screen", age, "of the newest line", "warn" if is_old else "good"),
    ]
    return f'<div class="tiles">{"".join(parts)}</div>'


def _tile(kind: str, name: str, value: str, under: str, judgement: str = "") -> str:
    return (
        f'<div class="tile {kind} {judgement}"><div class="name">{name}</div>'
        f'<div class="value">{value}</div><div class="under">{under}</div></div>'
    )


def _number(value: Any, unit: str) -> str:
    number = math.nan if value is None else float(value)
    return f"{number:.0f} <small>{unit}</small>" if math.isfinite(number) else "–"


def _age(age_s: float) -> str:
    if math.isnan(age_s):
        return "–"
    return f"{1000 * age_s:.0f} <small>ms</small>" if age_s < 1 else f"{age_s:.1f} <small>s</small>"


def minutes(left: float) -> str:
    """Tell minutes so that one sees at once whether they are few.

    >>> minutes(4.26), minutes(90), minutes(600), minutes(float("inf"))
    ('4.3 <small>min</small>', '90 <small>min</small>', '10 <small>h</small>', '–')
    """
    if not math.isfinite(left):
        return "–"
    if left < LOW_MINUTES:
        return f"{left:.1f} <small>min</small>"
    return f"{left:.0f} <small>min</small>" if left < 180 else f"{min(left / 60, 9999):.0f} <small>h</small>"


def _share(words: Mapping[str, Any]) -> str:
    n_lost, n = int(words.get("lines_lost", 0)), int(words.get("lines", 0))
    overwritten = int(words.get("lines_overwritten", 0))
    told = f"{100 * n_lost / (n + n_lost):.2g} % of all" if n_lost else "none"
    return f"{told}, {overwritten:,} overwritten" if overwritten else told


def _slots(slots: Sequence[SlotStatus], n_lines: int) -> str:
    """One box a slot, filled as its cube is; many are only counted."""
    if len(slots) > 4:
        counts = {state.name: sum(slot.state == state for slot in slots) for state in SlotState}
        return f"{counts['FREE']} <small>of {len(slots)} free</small>"
    return "".join(_slot(slot, n_lines) for slot in slots) or "–"


def _slot(slot: SlotStatus, n_lines: int) -> str:
    name = slot.state.name
    percent = min(100.0, 100 * slot.n_put / n_lines) if slot.state != SlotState.FREE else 0.0
    filled = f'<i style="height:{percent:.0f}%;background:{STATES[name]}"></i>'
    return f'<span class="slot" title="cube {slot.cube}">{filled}<b>{name.lower()}</b></span>'


def head(state: str, about: Mapping[str, Any], words: Mapping[str, Any]) -> str:
    """The first row: how it is, whose it is, where it goes."""
    badge, colour = BADGES[state]
    if about["kind"] == "camera" and state == "running":
        badge = "CAMERA"
    end = {
        "ended": f" · {words.get('lines', 0):,} lines, {words.get('lines_lost', 0):,} lost",
        "died": " · its process is gone; its writer saves what there was",
        "silent": " · it does not answer",
        "failed": " · what is shown is old: open another page; the recording is not touched by this",
    }.get(state, "")
    ended_by = f" · {words['ended_by']}" if words.get("ended_by") else ""
    exposure = about["settings"].get("exposure_ms")
    what = f"{about['camera']} · level {about['level']} · {exposure} ms"
    return (
        f'<div class="head"><span class="badge {state}" style="background:{colour}">{badge}</span><b>{escape(what)}</b>'
        f'<span class="where">{escape(about["save_dir"] or "not saved yet")}{escape(end + ended_by)}</span></div>'
    )


def losses(words: Mapping[str, Any]) -> str:
    """Which frames are lost, newest first, and what went wrong; nothing where all is well."""
    parts = []
    gaps: Iterable[Sequence[int]] = words.get("newest_gaps", ())
    if gaps:
        told = [f"{first}" if first == last else f"{first}-{last}" for first, last in reversed(list(gaps))]
        n_more = int(words.get("n_gaps", len(told))) - min(len(told), GAPS_SHOWN)
        more = f" and {n_more:,} gaps before" if n_more > 0 else ""
        parts.append(f'<div class="losses">Lost frame ids, newest first: {", ".join(told[:GAPS_SHOWN])}{more}</div>')
    parts += [f'<div class="errors">{escape(str(error))}</div>' for error in words.get("errors", ())]
    return "".join(parts)
