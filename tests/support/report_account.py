"""The numbers of a report, computed again from the files alone, with netCDF4 and the log's own lines."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

__all__ = ["differences"]


def differences(directory: Path, report: Mapping[str, Any]) -> list[str]:
    """Where `report.json` differs from what the cubes, the references and the log contain; [] if nowhere."""
    cubes = [_Cube(directory, path) for path in directory.rglob("*.nc") if path.parent.name != "references"]
    cubes.sort(key=lambda cube: int(cube.times.min()))
    entries = [json.loads(line) for line in (directory / "flight_log.jsonl").read_text().splitlines()]
    found = _Differences()
    found.compare("n_cubes", report["n_cubes"], len(cubes))
    found.compare("n_intact", report["n_intact"], len(cubes))
    found.compare("n_lines", report["n_lines"], sum(len(cube.ids) for cube in cubes))
    found.compare("n_lines_lost", report["n_lines_lost"], sum(cube.about["lines_lost"] for cube in cubes))
    found.compare("n_bytes", report["n_bytes"], sum(cube.n_bytes for cube in cubes))
    found.compare("log", report["log"], dict(Counter(entry["kind"] for entry in entries)))
    found.compare("problems", report["problems"], [])
    for cube, told in zip(cubes, report["cubes"], strict=True):
        _compare_cube(found, cube, told)
    runs: dict[str, list[_Cube]] = {}
    for cube in cubes:
        runs.setdefault(cube.about["run_id"], []).append(cube)
    found.compare("recordings", [one["run_id"] for one in report["recordings"]], [*runs])
    for number, (run, told) in enumerate(zip(runs.values(), report["recordings"], strict=True), 1):
        _compare_run(found, number, run, told, report)
    _compare_marks(found, cubes, report)
    _compare_references(found, directory, cubes, report["references"])
    return found.texts


class _Differences:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def compare(self, what: str, told: Any, expected: Any) -> None:
        is_number = isinstance(expected, float) and isinstance(told, float | int)
        is_same = math.isclose(told, expected, rel_tol=1e-6, abs_tol=1e-9) if is_number else told == expected
        if not is_same:
            self.texts.append(f"{what}: the report has {told!r}, the files {expected!r}")

    def compare_range(self, what: str, told: Mapping[str, float] | None, values: Any) -> None:
        values = np.asarray(values, np.float64)
        values = values[np.isfinite(values)]
        if not values.size or told is None:
            self.compare(what, told, None)
            return
        for name, expected in (("minimum", values.min()), ("mean", values.mean()), ("maximum", values.max())):
            self.compare(f"{what}: {name}", told[name], float(expected))


class _Cube:
    def __init__(self, directory: Path, path: Path) -> None:
        self.path, self.n_bytes = path.relative_to(directory).as_posix(), path.stat().st_size
        with netCDF4.Dataset(path) as file:
            file.set_auto_mask(False)
            self.about = {name: file.getncattr(name) for name in file.ncattrs()}
            self.lines = {name: one[:] for name, one in file.variables.items() if one.dimensions == ("y",)}
            self.kinds = list(file.groups["references"].groups) if "references" in file.groups else []
            self.channels = {
                name: {key: group.getncattr(key) for key in group.ncattrs()}
                for name, group in (file.groups["channels"].groups if "channels" in file.groups else {}).items()
            }
            self.shape = file.variables["datacube"].shape
        self.times, self.ids = self.lines["time"], self.lines["frame_id"].astype(np.int64)


def _compare_cube(found: _Differences, cube: _Cube, told: Mapping[str, Any]) -> None:
    what = cube.path
    found.compare(f"{what}: path", told["path"], what)
    found.compare(f"{what}: n_lines", told["n_lines"], len(cube.ids))
    found.compare(f"{what}: ids", [told["first_frame_id"], told["last_frame_id"]], cube.ids[[0, -1]].tolist())
    found.compare(f"{what}: n_bytes", told["n_bytes"], cube.n_bytes)
    for name in ("lines_lost", "lines_lost_within"):
        found.compare(f"{what}: {name}", told[name], int(cube.about[name]))
    found.compare(f"{what}: exposure_ms", told["exposure_ms"], float(cube.about["exposure_ms"]))
    found.compare(f"{what}: event", told["event"], int(cube.about["event"]) if "event" in cube.about else None)
    found.compare(f"{what}: size", [told["n_cross_track"], told["n_bands"]], [cube.shape[0], cube.shape[2]])
    for name in ("temperature", "saturated"):
        found.compare_range(f"{what}: {name}", told[name], cube.lines.get(name, ()))
    for name in ("latitude", "longitude", "altitude"):
        column = next((key for key in cube.lines if key.endswith(f"_{name}")), None)
        values = np.array([]) if column is None else cube.lines[column]
        expected = float(np.nanmean(values)) if np.isfinite(values).any() else None
        found.compare(f"{what}: {name}", told[name], expected)


def _compare_run(
    found: _Differences, number: int, run: Sequence[_Cube], told: Mapping[str, Any], report: Mapping[str, Any]
) -> None:
    what = f"recording {number}"
    n_lines, n_lost = sum(len(cube.ids) for cube in run), sum(int(cube.about["lines_lost"]) for cube in run)
    found.compare(f"{what}: n_lines", [told["n_lines"], told["log_n_lines"]], [n_lines, n_lines])
    found.compare(f"{what}: lost", [told["n_lines_lost"], told["log_n_lines_lost"]], [n_lost, n_lost])
    n_steps = sum(int(cube.ids[-1] - cube.ids[0]) for cube in run)
    seconds = sum(float(cube.lines["time"][-1] - cube.lines["time"][0]) for cube in run) / 1e9
    found.compare(f"{what}: rate", told["rate"], n_steps / seconds)
    ids = np.concatenate([cube.ids for cube in run])
    steps = np.diff(ids)
    gaps = [gap for gap in report["gaps"] if gap["recording"] == number]
    found.compare(f"{what}: gaps", [gap["n_frames"] for gap in gaps], (steps[steps > 1] - 1).tolist())
    pauses = [one for one in report["pauses"] if one["recording"] == number]
    expected = [
        {"recording": number, "path": cube.path, "seconds": float(cube.about["paused_before_s"])}
        | {"n_frames": int(cube.about["frames_paused"])}
        for cube in run
        if "paused_before_s" in cube.about
    ]
    found.compare(f"{what}: pauses", pauses, expected)
    of_events = Counter(int(cube.about["event"]) for cube in run if "event" in cube.about)
    events = {one["number"]: one["n_cubes"] for one in report["events"] if one["recording"] == number}
    found.compare(f"{what}: events", events, dict(of_events))
    for channel in [one for one in report["channels"] if one["recording"] == number]:
        name = channel["name"]
        states = np.concatenate([cube.lines[f"{name}_state"] for cube in run])
        found.compare(f"{what}: states of {name}", sum(channel["states"].values()), len(states))
        found.compare(f"{what}: {name} good", channel["states"].get("good", 0), int(np.count_nonzero(states == 0)))
        delivered = max(int(cube.channels[name].get("n_delivered_total", 0)) for cube in run)
        found.compare(f"{what}: samples of {name}", channel["n_delivered"], delivered)
        for field, values in channel["values"].items():
            column = name if field == "value" else f"{name}_{field}"
            found.compare_range(f"{what}: {column}", values, np.concatenate([cube.lines[column] for cube in run]))
    clocks = next(one for one in report["clocks"] if one["recording"] == number)
    offsets = [cube.lines["clock_offset"] for cube in run if "clock_offset" in cube.lines]
    found.compare_range(f"{what}: clock", clocks["offset_s"], np.concatenate(offsets) if offsets else ())


def _compare_marks(found: _Differences, cubes: Sequence[_Cube], report: Mapping[str, Any]) -> None:
    expected = [
        {"time": mark["time"], "text": mark["text"], "path": cube.path, "line": mark["line"]}
        for cube in cubes
        for mark in json.loads(cube.about.get("marks", "[]"))
    ]
    found.compare("marks", report["marks"], sorted(expected, key=lambda mark: str(mark["time"])))


def _compare_references(
    found: _Differences, directory: Path, cubes: Sequence[_Cube], told: Sequence[Mapping[str, Any]]
) -> None:
    paths = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("references/*.nc"))
    found.compare("references", sorted(one["path"] for one in told), paths)
    for one in told:
        with netCDF4.Dataset(directory / one["path"]) as file:
            for name in ("n_frames", "brightness", "saturated"):
                found.compare(f"{one['path']}: {name}", float(one[name]), float(file.getncattr(name)))
        n_embedded = sum(one["kind"] in cube.kinds for cube in cubes)
        found.compare(f"{one['path']}: cubes", [one["n_cubes"], one["n_cubes_embedded"]], [n_embedded, n_embedded])
