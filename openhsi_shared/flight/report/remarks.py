"""Remarks of a report: what should be looked at, of files that are good."""

from collections.abc import Iterator, Sequence

import numpy as np

from openhsi_shared.flight.report.facts import ChannelFacts, ClockFacts, FlightFacts, ReferenceFacts
from openhsi_shared.flight.report.recordings import Run

__all__ = ["remarks_of"]

MAX_SATURATED = 0.001
"""Mean share of the pixels of a cube."""
MAX_UNKNOWN = 0.01
"""Share of the lines for which a channel has no value."""
MAX_AGE_S, MAX_KELVIN = 3600.0, 2.0
GOOD = ("good", "unchanged", "edge")
"""States of lines that may have a value: at an edge a later sample had not come when the cube was saved."""
MIN_RATE = 0.98
"""Of the planned one."""


def remarks_of(facts: FlightFacts, runs: Sequence[Run], copies: dict[str, list[str]]) -> list[str]:
    """One sentence each, the gravest first."""
    found = [
        *_of_losses(facts),
        *(f"the log has an error: {text}" for text in facts.log_errors),
        *_of_cubes(facts, runs),
        *(
            f"recording {one.recording}: {one.name} changed from {one.before} to {one.after} at {one.path}"
            for one in facts.settings_changed
        ),
        *(text for one in facts.references for text in _of_reference(one)),
        *(text for one in facts.channels for text in _of_channel(one)),
        *(text for one in facts.clocks for text in _of_clocks(one)),
        *_of_plan(facts),
    ]
    found += [
        f"the same cube is in {len(paths)} files, and counted once: {', '.join(paths)}" for paths in copies.values()
    ]
    return found


def _of_losses(facts: FlightFacts) -> Iterator[str]:
    if facts.n_lines_lost:
        what = "lines" if facts.n_frames == facts.n_lines else "frames"
        yield f"{facts.n_lines_lost:,} of {facts.n_lines_lost + facts.n_frames:,} {what} were lost"
    for number, one in enumerate(facts.recordings, 1):
        if one.log_n_lines_lost is not None and one.log_n_lines_lost > one.n_lines_lost:
            yield f"recording {number}: the log has {one.log_n_lines_lost} lost lines, the files {one.n_lines_lost}"
        if one.log_n_lines is not None and one.log_n_lines != one.n_lines:
            yield f"recording {number}: the log has {one.log_n_lines:,} lines, the files here {one.n_lines:,}"
        if one.ended_by:
            yield f"recording {number} was ended by an error: {one.ended_by}"
    unknown = [one.path for one in facts.cubes if one.lines_lost is None]
    if unknown:
        yield f"{len(unknown)} cubes do not say how many lines were lost before them: {_some(unknown)}"


def _of_cubes(facts: FlightFacts, runs: Sequence[Run]) -> Iterator[str]:
    recovered = [one.path for one in facts.cubes if one.recovered]
    if recovered:
        yield f"{len(recovered)} cubes were saved after their recording had died: {_some(recovered)}"
    bright = [one.path for one in facts.cubes if one.saturated and one.saturated.mean > MAX_SATURATED]
    if bright:
        yield f"more than {100 * MAX_SATURATED:g} % of the pixels are saturated in {len(bright)} cubes: {_some(bright)}"
    cubes = [cube for run in runs for cube in run.cubes]
    for name, what in (("channels_failed", "channels"), ("references_failed", "references")):
        texts: dict[str, list[str]] = {}
        for cube in cubes:
            if name in cube.attributes:
                texts.setdefault(str(cube.attributes[name]), []).append(cube.path.name)
        for text, names in texts.items():
            yield f"{len(names)} cubes were saved without some {what}: {text}: {_some(names)}"
    n_marks = sum(int(cube.attributes.get("marks_pushed_out", 0)) for cube in cubes)
    if n_marks:
        yield f"{n_marks} marks are in no file: more than 1,000 came at once; the log has them"
    without = [one.path for one in facts.cubes if one.latitude is None]
    if without and len(without) < facts.n_cubes:
        yield f"{len(without)} cubes have no position: {_some(without)}"


def _of_reference(one: ReferenceFacts) -> Iterator[str]:
    what = f"the {one.kind} reference {one.path}"
    if one.kind == "white" and one.saturated > MAX_SATURATED:
        yield f"{what} is saturated: {100 * one.saturated:.2g} % of its pixels"
    if one.age_s is not None and one.age_s.maximum > MAX_AGE_S:
        yield f"{what} was up to {one.age_s.maximum / 3600:.1f} h old"
    if one.temperature_change_k is not None:
        change = max(one.temperature_change_k.minimum, one.temperature_change_k.maximum, key=abs)
        if abs(change) > MAX_KELVIN:
            taken = np.nan if one.temperature is None else one.temperature
            yield f"{what} was taken at {taken:.1f} C, the sensor was up to {change:+.1f} K from that"


def _of_channel(one: ChannelFacts) -> Iterator[str]:
    n = sum(one.states.values())
    bad = {state: count for state, count in one.states.items() if state not in GOOD}
    if n and max(sum(bad.values()), one.n_without_value) > MAX_UNKNOWN * n:
        words = ", ".join(f"{state} {100 * count / n:.1f} %" for state, count in one.states.items() if state != "good")
        yield f"recording {one.recording}: channel {one.name!r} has no good value for some lines: {words}"
    if one.n_overwritten:
        n_gone = one.n_overwritten
        yield f"recording {one.recording}: {n_gone:,} samples of channel {one.name!r} were overwritten before a save"


def _of_clocks(one: ClockFacts) -> Iterator[str]:
    if one.host_clock.get("not synchronised"):
        true = "but true UTC is in clock_offset" if one.channel else "and no channel knows true UTC"
        yield f"recording {one.recording}: the computer's clock was not synchronised, {true}"
    for path, seconds in one.steps_s.items():
        yield f"recording {one.recording}: the computer's clock was set by {seconds:+.3f} s at {path}"


def _of_plan(facts: FlightFacts) -> Iterator[str]:
    if facts.plan is None:
        return
    planned, came = facts.plan.planned.get("rate"), facts.plan.came.get("rate")
    if isinstance(planned, int | float) and came is not None and came < MIN_RATE * planned:
        yield f"the plan was for {planned:g} lines/s, and {came:.4g} came"
    if facts.plan.planned.get("holds") is False:
        yield "the plan said that it does not hold"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
