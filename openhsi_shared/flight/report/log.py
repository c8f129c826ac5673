"""What the log of the flight and attributes of cubes say together: marks, pauses, events, settings, the plan."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openhsi_shared.flight.report.facts import (
    EventFacts,
    MarkFacts,
    PauseFacts,
    PlanFacts,
    RecordingFacts,
    SettingFacts,
)
from openhsi_shared.flight.report.recordings import Run, number_in, settings_of, whole_in
from openhsi_shared.line_times import iso_time, ns_of_iso

__all__ = ["event_facts", "mark_facts", "pause_facts", "plan_facts", "setting_facts"]

Entry = Mapping[str, Any]


def mark_facts(runs: Sequence[Run], log: Sequence[Entry], directory: Path) -> list[MarkFacts]:
    """Marks in files, and those that are only in the log, in the order of time."""
    found: dict[tuple[int | None, str], MarkFacts] = {}
    for run in runs:
        for cube in run.cubes:
            for mark in _marks_in(cube.attributes):
                path = cube.path.relative_to(directory).as_posix()
                one = MarkFacts(time=str(mark["time"]), text=str(mark["text"]), path=path, line=whole_in(mark, "line"))
                found[ns_of_iso(one.time), one.text] = one
    for entry in log:
        if entry["kind"] == "mark":
            text, time_ns = str(entry.get("text", "")), ns_of_iso(entry["time"])
            is_in_a_file = any(known_ns == time_ns and text.startswith(known) for known_ns, known in found)
            if not is_in_a_file:
                found[time_ns, text] = MarkFacts(time=str(entry["time"]), text=text, path=None, line=None)
    return [mark for _, mark in sorted(found.items(), key=lambda one: (one[0][0] or 0, one[0][1]))]


def _marks_in(attributes: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    try:
        marks = json.loads(attributes.get("marks", "[]"))
    except (TypeError, ValueError):
        return []
    return [one for one in marks if isinstance(one, dict) and {"time", "text"} <= one.keys()]


def pause_facts(runs: Sequence[Run], directory: Path) -> list[PauseFacts]:
    """Pauses before cubes."""
    return [
        PauseFacts(
            recording=run.number,
            path=cube.path.relative_to(directory).as_posix(),
            seconds=number_in(cube.attributes, "paused_before_s") or 0.0,
            n_frames=whole_in(cube.attributes, "frames_paused"),
        )
        for run in runs
        for cube in run.cubes
        if "paused_before_s" in cube.attributes
    ]


def event_facts(runs: Sequence[Run]) -> list[EventFacts]:
    """Events, each with its cubes."""
    found = []
    for run in runs:
        of_event: dict[int, list[Any]] = {}
        for cube in run.cubes:
            if number := whole_in(cube.attributes, "event"):
                of_event.setdefault(number, []).append(cube)
        for number, cubes in of_event.items():
            times = [cube.known_ns for cube in cubes if cube.known_ns.size]
            found.append(
                EventFacts(
                    recording=run.number,
                    number=number,
                    begin=iso_time(min(int(one.min()) for one in times)) if times else None,
                    end=iso_time(max(int(one.max()) for one in times)) if times else None,
                    n_cubes=len(cubes),
                    n_lines=sum(cube.shape[0] for cube in cubes),
                )
            )
    return found


def setting_facts(runs: Sequence[Run], directory: Path) -> list[SettingFacts]:
    """Settings that changed from one cube to the next of a recording."""
    found = []
    for run in runs:
        before = settings_of(run.cubes[0])
        for cube in run.cubes[1:]:
            after = settings_of(cube)
            for name in dict.fromkeys([*before, *after]):
                if before.get(name) != after.get(name):
                    path = cube.path.relative_to(directory).as_posix()
                    change = {"before": before.get(name), "after": after.get(name)}
                    found.append(SettingFacts(recording=run.number, path=path, name=name, **change))
            before = after
    return found


def plan_facts(
    log: Sequence[Entry], runs: Sequence[Run], recordings: Sequence[RecordingFacts], begin: str | None
) -> PlanFacts | None:
    """The last plan before the first line, else the last one; and the same of what came."""
    plans = [entry for entry in log if entry["kind"] == "plan"]
    if not plans:
        return None
    first_ns = ns_of_iso(begin)
    earlier = [one for one in plans if first_ns is not None and (ns_of_iso(one["time"]) or 0) <= first_ns]
    plan = (earlier or plans)[-1]
    starts = [entry for entry in log if entry["kind"] == "start"]
    seconds = [
        (end_ns - begin_ns) / 1e9
        for one in recordings
        if (begin_ns := ns_of_iso(one.begin)) is not None and (end_ns := ns_of_iso(one.end)) is not None
    ]
    minutes = sum(seconds) / 60
    n_lost = sum(one.n_lines_lost for one in recordings)
    options = starts[-1].get("options") if starts else None
    came = {
        "rate": recordings[0].rate if recordings else None,
        "n_lines": max((cube.shape[0] for run in runs for cube in run.cubes), default=None),
        "n_buffers": _n_buffers(options),
        "minutes": minutes if seconds else None,
        "lines_lost_per_minute": n_lost / minutes if minutes else None,
    }
    planned = {name: value for name, value in plan.items() if name not in ("time", "kind")}
    return PlanFacts(time=str(plan["time"]), planned=planned, came=came)


def _n_buffers(options: Any) -> int | None:
    """Of the options of a recording, which the log has as texts."""
    try:
        return int(options["n_buffers"])
    except (TypeError, KeyError, ValueError):
        return None
