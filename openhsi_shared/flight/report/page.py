"""The page of a report: one HTML file, without scripts, that requests nothing."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openhsi_shared.flight.report import figures
from openhsi_shared.flight.report.cubes import CubeNotes, Image
from openhsi_shared.flight.report.facts import FlightFacts
from openhsi_shared.flight.report.gathering import Gathered
from openhsi_shared.flight.report.html import (
    Cell,
    image,
    items,
    number,
    range_text,
    seconds_text,
    section,
    table,
    text,
    tile,
)
from openhsi_shared.flight.report.recordings import camera_of
from openhsi_shared.line_times import ns_of_iso
from openhsi_shared.viewer import theme

__all__ = ["page_of"]

MAX_ROWS = 200
"""Of a table."""
MIN_HEIGHT = 48
"""Of a picture, if there is a very long cube."""
OF_A_PLAN = {
    "rate": "lines/s",
    "queue": "frames in the camera's queue",
    "n_lines": "lines per cube",
    "n_buffers": "buffers",
    "margin": "margin of the disk's speed",
    "stall_s": "stall of the disk that is bridged, s",
    "minutes": "minutes, planned: until the disk is full",
    "lines_lost_per_minute": "lines lost per minute",
}
"""Keys of a plan in words."""
DARK = {"paper": theme.PAPER, "panel": theme.PANEL, "ink": theme.INK, "grey": theme.GREY, "good": theme.GOOD}
DARK |= {"warn": theme.WARN, "bad": theme.BAD, "accent": theme.ACCENT, "rule": "#39444f", "faint": "#1d2630"}
DARK |= {"second": "#c78bff", "third": "#5fb3a1"}
LIGHT = {"paper": "#ffffff", "panel": "#f3f5f8", "ink": "#12181f", "grey": "#55616e", "good": "#17a558"}
LIGHT |= {"warn": "#c77f00", "bad": "#d22222", "accent": "#1273c4", "rule": "#c4ccd5", "faint": "#e6eaef"}
LIGHT |= {"second": "#8a45c9", "third": "#2d8673"}


def page_of(gathered: Gathered) -> str:
    """The whole page."""
    facts = gathered.facts
    parts = [
        _head(facts),
        section("Problems", items("problems", facts.problems)),
        section("Remarks", items("remarks", facts.remarks)),
        section("Contact sheet", _sheet(gathered)),
        section("Track", figures.track_map(gathered)),
        section("Over time", figures.over_time(gathered), _legend(facts)),
        section("Marks", _marks(facts)),
        section("Events", _events(facts)),
        section("Losses, gaps and pauses", _gaps(facts)),
        section("References", *_references(gathered)),
        section("Settings", _changes(facts), _settings(facts)),
        section("Plan against what came", _plan(facts)),
        section("Channels", _channels(facts), _values(facts)),
        section("Clocks", _clocks(facts)),
        section("Recordings", _recordings(facts)),
        section("Cubes", _cubes(facts)),
        section("Results of jobs, not counted", items("results", facts.results)),
    ]
    body = "\n".join(part for part in parts if part)
    footer = f"Made by openhsi_shared {text(facts.version)} at {_clock(facts.made)} UTC, from the files only."
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(facts.directory)} · flight report</title>\n<style>\n{_css()}</style></head>\n"
        f"<body>\n{body}\n<footer>{footer}</footer>\n</body></html>\n"
    )


def _css() -> str:
    def root(colours: Mapping[str, str]) -> str:
        return ":root { " + " ".join(f"--{name}: {colour};" for name, colour in colours.items()) + " }\n"

    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return f"{root(LIGHT)}@media screen and (prefers-color-scheme: dark) {{ {root(DARK)} }}\n{style}"


def _clock(time: str | None) -> str:
    """A time to the millisecond.

    >>> _clock("2026-11-28T10:56:35.848295Z")
    '2026-11-28 10:56:35.848'
    """
    return "" if time is None else time.replace("T", " ").removesuffix("Z")[:23]


def _share(n: int, n_all: int) -> str:
    return number(100 * n / n_all, "%", 2 if n < n_all else 3) if n_all else ""


# ---- summary ---------------------------------------------------------------------------------


def _head(facts: FlightFacts) -> str:
    n = len(facts.problems)
    badge = (
        f'<div class="badge bad">{n} problem{"s" * (n > 1)}</div>' if n else '<div class="badge good">no problems</div>'
    )
    begin, end = ns_of_iso(facts.begin), ns_of_iso(facts.end)
    seconds = None if begin is None or end is None else (end - begin) / 1e9
    span = f"{_clock(facts.begin)} to {_clock(facts.end)} UTC" if facts.begin else "times are not known"
    n_all = facts.n_frames + facts.n_lines_lost
    rates = [one.rate for one in facts.recordings if one.rate is not None]
    is_all_intact = facts.n_intact == facts.n_cubes
    n_runs = len(facts.recordings)
    size = f"{facts.n_bytes / 1e9:.3g} GB" if facts.n_bytes >= 1e8 else f"{facts.n_bytes / 1e6:.3g} MB"
    lost = _share(facts.n_lines_lost, n_all) if facts.n_lines_lost else "none"
    tiles = [
        tile("cubes", f"{facts.n_cubes:,}", f"of {n_runs} recording{'s' * (n_runs > 1)}"),
        tile("lines", f"{facts.n_lines:,}", size),
        tile("lines lost", f"{facts.n_lines_lost:,}", lost, "bad" if facts.n_lines_lost else "good"),
        tile("intact", f"{facts.n_intact:,}", "every byte verified", "good" if is_all_intact else "bad"),
        tile("duration", seconds_text(seconds), "first to last line"),
        tile("rate", number(max(rates, default=None)), "lines/s"),
    ]
    return (
        f'<div class="head"><div><h1>{text(facts.directory)}</h1><p>{text(span)}</p></div>{badge}</div>\n'
        f'<div class="tiles">{"".join(tiles)}</div>'
    )


def _sheet(gathered: Gathered) -> str:
    """All cubes; of several cameras in columns, paired by time."""
    cubes = [cube for run in gathered.runs for cube in run.cubes]
    facts = dict(zip((cube.path for cube in cubes), gathered.facts.cubes, strict=True))
    numbers = {cube.path: number for number, cube in enumerate(cubes, 1)}
    cameras = list(dict.fromkeys(camera_of(cube.attributes) for cube in cubes))
    height = max(MIN_HEIGHT, min((cube.image.height for cube in cubes if cube.image), default=0))

    def figure(cube: CubeNotes) -> str:
        one = facts[cube.path]
        shown = image(_lowered(cube.image, height), one.path) if cube.image else '<div class="none"></div>'
        lost = f' <span class="lost">{one.lines_lost:,} lost</span>' if one.lines_lost else ""
        damaged = "" if one.is_intact else ' <span class="lost">not intact</span>'
        caption = f"<b>{numbers[cube.path]}</b> {_clock(one.begin)[11:]}<br>{one.n_lines:,} lines{lost}{damaged}"
        return f'<figure title="{text(one.path)}">{shown}<figcaption>{caption}</figcaption></figure>'

    if len(cameras) == 1:
        return f'<div class="sheet">{"".join(map(figure, cubes))}</div>'
    columns = f"grid-template-columns: repeat({len(cameras)}, minmax(0, 1fr))"
    heads = "".join(f"<h3>{text(camera) or 'camera'}</h3>" for camera in cameras)
    rows = "".join(
        figure(row[camera]) if camera in row else "<div></div>" for row in _paired(cubes) for camera in cameras
    )
    return f'<div class="sheet pairs" style="{columns}">{heads}{rows}</div>'


def _lowered(one: Image, height: int) -> Image:
    """Not higher than others: a cube of few lines is as high as one of many."""
    shown = min(one.height, height)
    return one._replace(width=max(1, one.width * shown // one.height), height=shown)


def _paired(cubes: list[CubeNotes]) -> list[dict[str, CubeNotes]]:
    """Cubes of several cameras that overlap in time, one of each; in the order of time."""
    rows: list[dict[str, CubeNotes]] = []
    for cube in sorted(cubes, key=lambda cube: int(cube.known_ns.min()) if cube.known_ns.size else 2**63 - 1):
        camera = camera_of(cube.attributes)
        overlapping = [
            row for row in rows if camera not in row and any(_overlap_ns(cube, one) > 0 for one in row.values())
        ]
        best = max(overlapping, key=lambda row: max(_overlap_ns(cube, one) for one in row.values()), default=None)
        if best is None:
            rows.append({camera: cube})
        else:
            best[camera] = cube
    return rows


def _overlap_ns(one: CubeNotes, other: CubeNotes) -> int:
    if not one.known_ns.size or not other.known_ns.size:
        return 0
    return int(min(one.known_ns.max(), other.known_ns.max()) - max(one.known_ns.min(), other.known_ns.min()))


def _legend(facts: FlightFacts) -> str:
    words = (
        ["Red in the first row: lines lost, or a cube that is not intact."]
        if facts.n_lines_lost or facts.n_intact < facts.n_cubes
        else []
    )
    words += ["Red areas: lines without a good value of the channel."] if facts.channels else []
    words += ["Hatched: pauses."] if facts.pauses else []
    words += ["Dashed, numbered: marks."] if facts.marks else []
    return f'<p class="note">{" ".join(words)} Times are UTC by the computer\'s clock.</p>'


# ---- tables ----------------------------------------------------------------------------------


def _n(value: float | None, is_bad: object = False) -> Cell:
    return Cell(number(value), "n bad" if is_bad else "n")


def _marks(facts: FlightFacts) -> str:
    rows = [
        (_n(index), Cell(_clock(one.time), "t"), one.text, one.path or "only in the log", _n(one.line))
        for index, one in enumerate(facts.marks[:MAX_ROWS], 1)
    ]
    return table(["#", "time", "text", "cube", "#line"], rows, len(facts.marks) - MAX_ROWS)


def _events(facts: FlightFacts) -> str:
    rows = [
        (
            _n(one.recording),
            _n(one.number),
            *(Cell(_clock(time), "t") for time in (one.begin, one.end)),
            _n(one.n_cubes),
            _n(one.n_lines),
        )
        for one in facts.events[:MAX_ROWS]
    ]
    return table(["#recording", "#event", "from", "to", "#cubes", "#lines"], rows, len(facts.events) - MAX_ROWS)


def _gaps(facts: FlightFacts) -> str:
    rows = []
    for one in facts.gaps[:MAX_ROWS]:
        ids = f"{one.first_frame_id} to {one.last_frame_id}"
        where = "before it" if one.is_between_cubes else "within it"
        counts = [_n(one.n_lost, one.n_lost), _n(one.n_paused), _n(one.n_not_wanted)]
        rows.append((one.path, where, Cell(ids, "n"), *counts, Cell(seconds_text(one.seconds), "n")))
    none = "" if rows else "<p>No frame is missing within cubes, or between them.</p>"
    return none + table(
        ["cube", "where", "#frame ids", "#lost", "#paused", "#not wanted", "#time"], rows, len(facts.gaps) - MAX_ROWS
    )


def _references(gathered: Gathered) -> list[str]:
    found = []
    for one, known in zip(gathered.facts.references, gathered.references, strict=True):
        rows = [
            ("taken", _clock(one.time) + " UTC"),
            ("frames", f"{one.n_frames}" + (f" of {one.exposure_ms:g} ms" if one.exposure_ms is not None else "")),
            ("brightness", f"{100 * one.brightness:.3g} % of full scale"),
            ("saturated", f"{100 * one.saturated:.3g} % of the pixels"),
            ("sensor", number(one.temperature, "°C")),
            ("used by", f"{one.n_cubes} cubes, embedded in {one.n_cubes_embedded}"),
            ("age then", _ages(one.age_s)),
            ("sensor then", range_text(one.temperature_change_k, "K from it")),
            ("file", one.path),
        ]
        shown = image(figures.picture_of(known.reference), f"{one.kind} reference")
        about = table(("", ""), [row for row in rows if row[1]])
        found.append(
            f'<div class="reference"><h3>{text(one.kind)}</h3><figure>{shown}\n{figures.spectrum_of(known.reference)}'
            f"</figure>{about}</div>"
        )
    return found


def _ages(ages: Any) -> str:
    return "" if ages is None else f"{seconds_text(ages.minimum)} to {seconds_text(ages.maximum)}"


def _changes(facts: FlightFacts) -> str:
    rows = [(one.path, one.name, _value(one.before), _value(one.after)) for one in facts.settings_changed[:MAX_ROWS]]
    none = "" if rows else "<p>No setting changed within a recording.</p>"
    return none + table(
        ["from this cube on", "setting", "before", "after"], rows, len(facts.settings_changed) - MAX_ROWS
    )


def _settings(facts: FlightFacts) -> str:
    """One column for each recording whose settings differ from those of the ones before."""
    different: dict[str, tuple[list[int], Mapping[str, Any]]] = {}
    for index, one in enumerate(facts.recordings, 1):
        different.setdefault(json.dumps(one.settings, sort_keys=True, default=str), ([], one.settings))[0].append(index)
    names = dict.fromkeys(name for _, settings in different.values() for name in settings)
    heads = [f"recording {', '.join(map(str, numbers))}" for numbers, _ in different.values()]
    rows = [(Cell(name, "t"), *(_value(settings.get(name)) for _, settings in different.values())) for name in names]
    return table(["setting", *heads], rows)


def _value(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)


def _plan(facts: FlightFacts) -> str:
    if facts.plan is None:
        return ""
    rows = []
    for name in dict.fromkeys([*facts.plan.planned, *facts.plan.came]):
        planned, came = facts.plan.planned.get(name), facts.plan.came.get(name)
        if planned not in (None, []) or came is not None:
            cells = [number(one, digits=3) if isinstance(one, float) else _value(one) for one in (planned, came)]
            rows.append((OF_A_PLAN.get(name, name), *cells))
    note = f'<p class="note">planned at {text(_clock(facts.plan.time))} UTC</p>'
    return table(["", "planned", "came"], rows) + note


def _channels(facts: FlightFacts) -> str:
    rows = []
    for one in facts.channels:
        n = sum(one.states.values())
        states = ", ".join(f"{state} {_share(count, n)}" for state, count in one.states.items())
        counts = _n(one.n_delivered), _n(one.n_refused, one.n_refused), _n(one.n_overwritten, one.n_overwritten)
        rows.append((_n(one.recording), one.name, one.source, *counts, states))
    heads = ["#recording", "channel", "source", "#samples", "#refused", "#overwritten", "lines by state"]
    return table(heads, rows)


def _values(facts: FlightFacts) -> str:
    """Values of channels at the lines."""
    rows = []
    for one in facts.channels:
        for name, found in one.values.items():
            if found is not None:
                unit = one.units.get(name, "")
                digits = 8 if unit.startswith("degree_") else 4
                shown = [Cell(number(value, digits=digits), "n") for value in found]
                field = "" if len(one.values) == 1 else name
                rows.append((_n(one.recording), one.name, field, *shown, "" if unit == "1" else unit))
    return table(["#recording", "channel", "field", "#least", "#mean", "#greatest", "unit"], rows)


def _clocks(facts: FlightFacts) -> str:
    rows = []
    for one in facts.clocks:
        host = ", ".join(f"{state} ({n} cubes)" for state, n in one.host_clock.items())
        error = (
            f", at most {number(one.host_clock_max_error_s)} s off" if one.host_clock_max_error_s is not None else ""
        )
        offset = "" if one.offset_s is None else f"{one.offset_s.minimum:+.6f} to {one.offset_s.maximum:+.6f} s"
        by = ", ".join(one.source) or (f"{one.channel} ({one.method})" if one.channel else "no channel")
        uncertainty = seconds_text(one.uncertainty_s)
        steps = ", ".join(f"{seconds:+.3f} s at {path}" for path, seconds in one.steps_s.items()) or "none"
        rows.append((_n(one.recording), host + error, offset, uncertainty, by, steps))
    return table(["#recording", "computer's clock", "true UTC minus it", "uncertainty", "known by", "it was set"], rows)


def _recordings(facts: FlightFacts) -> str:
    rows = [
        (
            _n(index),
            one.camera,
            Cell(_clock(one.begin), "t"),
            Cell(_clock(one.end), "t"),
            _n(one.n_cubes),
            _n(one.n_lines),
            _n(one.n_lines_lost, one.n_lines_lost),
            _n(one.rate),
            "not in the log" if one.ended_by is None else one.ended_by or "as planned",
        )
        for index, one in enumerate(facts.recordings[:MAX_ROWS], 1)
    ]
    heads = ["#", "camera", "from", "to", "#cubes", "#lines", "#lost", "#lines/s", "ended"]
    return table(heads, rows, len(facts.recordings) - MAX_ROWS)


def _cubes(facts: FlightFacts) -> str:
    rows = [
        (
            _n(index),
            one.path,
            _n(one.n_lines),
            Cell("unknown" if one.lines_lost is None else number(one.lines_lost), "n bad" if one.lines_lost else "n"),
            _n(one.exposure_ms),
            Cell(range_text(one.temperature, "°C"), "n"),
            Cell("" if one.saturated is None else f"{100 * one.saturated.mean:.2g} %", "n"),
            Cell("intact") if one.is_intact else Cell("not intact", "bad"),
        )
        for index, one in enumerate(facts.cubes, 1)
    ]
    return table(["#", "file", "#lines", "#lost", "#exposure ms", "#sensor", "#saturated", "verify"], rows)
