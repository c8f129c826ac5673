"""Channels, clocks and references of a report, computed from the notes of files."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from openhsi_shared.errors import FileError
from openhsi_shared.files.reading import open_cube
from openhsi_shared.files.references import FOLDER, KINDS, Kind, Reference
from openhsi_shared.flight.report.cubes import CubeNotes
from openhsi_shared.flight.report.facts import ChannelFacts, ClockFacts, ReferenceFacts, range_of
from openhsi_shared.flight.report.recordings import Run, number_in, whole_in
from openhsi_shared.line_times import iso_time
from openhsi_shared.matching import State
from openhsi_shared.paths import REFERENCE

__all__ = ["FoundReference", "channel_facts", "clock_facts", "find_references", "reference_facts"]

STEP_NS = 10**6
"""Smaller steps of the clock are those of its discipline."""


def channel_facts(run: Run) -> list[ChannelFacts]:
    """The channels of a recording."""
    found = []
    for name in [] if run.channels is None else run.channels.names:
        properties = run.channels.properties(name)  # type: ignore[union-attr]
        groups = [cube.channels[name] for cube in run.cubes if name in cube.channels]
        *variables, _, state = properties.variables
        states: Counter[str] = Counter()
        for cube in run.cubes:
            values, counts = np.unique(cube.columns.get(state, ()), return_counts=True)
            states.update({_state(value): int(n) for value, n in zip(values, counts, strict=True)})
        lines = {
            field.name: np.concatenate(
                [cube.columns.get(variable, np.full(cube.shape[0], np.nan)) for cube in run.cubes]
            )
            for field, variable in zip(properties.fields, variables, strict=True)
        }
        found.append(
            ChannelFacts(
                recording=run.number,
                name=name,
                source=str(properties.source),
                n_delivered=max((whole_in(group, "n_delivered_total") for group in groups), default=0),
                n_refused=max((whole_in(group, "n_refused_total") for group in groups), default=0),
                n_overwritten=max((whole_in(group, "n_overwritten_total") for group in groups), default=0),
                states=dict(states),
                n_without_value=int(np.logical_and.reduce([np.isnan(values) for values in lines.values()]).sum()),
                units={field.name: field.unit or field.unit_as_given or "" for field in properties.fields},
                values={field: range_of(values) for field, values in lines.items()},
            )
        )
    return found


def _state(value: Any) -> str:
    try:
        return State(int(value)).words
    except ValueError:
        return f"state {value}"


def clock_facts(run: Run, directory: Path) -> ClockFacts:
    """The clocks of a recording."""
    offsets = [cube.columns["clock_offset"] for cube in run.cubes if "clock_offset" in cube.columns]
    labels = [cube.clock for cube in run.cubes if cube.clock]
    uncertainties = [value for one in labels if (value := number_in(one, "uncertainty")) is not None]
    host = Counter(str(cube.attributes["host_clock"]) for cube in run.cubes if "host_clock" in cube.attributes)
    errors = [number_in(cube.attributes, "host_clock_max_error_s") for cube in run.cubes]
    steps: dict[str, float] = {}
    for cube in run.cubes:
        before_ns = number_in(cube.attributes, "clock_step_before_ns") or 0
        if abs(before_ns) >= STEP_NS:
            steps[cube.path.relative_to(directory).as_posix()] = before_ns / 1e9
    last_ns = number_in(run.cubes[-1].attributes, "clock_step_ns") or 0
    if abs(last_ns) >= STEP_NS:  # the steps after other cubes are in the files of the next ones
        steps[run.cubes[-1].path.relative_to(directory).as_posix()] = last_ns / 1e9
    return ClockFacts(
        recording=run.number,
        channel=str(labels[-1]["channel"]) if labels and "channel" in labels[-1] else None,
        method=str(labels[-1]["method"]) if labels and "method" in labels[-1] else None,
        offset_s=range_of(np.concatenate(offsets)) if offsets else None,
        uncertainty_s=max(uncertainties, default=None),
        source=dict(
            Counter(str(one) for cube in run.cubes if (one := cube.attributes.get("clock_source")) is not None)
        ),
        host_clock=dict(host),
        host_clock_max_error_s=max((one for one in errors if one is not None), default=None),
        steps_s=steps,
    )


# ---- references ------------------------------------------------------------------------------


class FoundReference(NamedTuple):
    """A reference, and what the files of cubes contain about it."""

    reference: Reference
    path: str
    sha256: str
    uses: tuple[Mapping[str, Any], ...]
    """Of each cube that names it: its entry in `reference_files`, and the attributes of its group."""
    n_embedded: int


def find_references(directory: Path, cubes: Sequence[CubeNotes], problems: list[str]) -> list[FoundReference]:
    """Those beside the flight, and those that are only in cubes; in the order of time."""
    found: dict[str, tuple[Reference, str]] = {}
    for path in sorted(directory.rglob(f"{FOLDER}/*{REFERENCE}*.nc")):
        try:
            reference = Reference.read(path)
            found[reference.sha256] = reference, path.relative_to(directory).as_posix()
        except (FileError, OSError) as error:
            problems.append(str(error))
    uses: dict[str, list[Mapping[str, Any]]] = {}
    embedded: Counter[str] = Counter()
    for cube in cubes:
        for kind, about in _uses(cube).items():
            sha256 = str(about.get("sha256", ""))
            uses.setdefault(sha256, []).append(about)
            embedded[sha256] += kind in cube.references
            if sha256 not in found and kind in cube.references:
                try:
                    found[sha256] = _embedded(cube, kind), str(about.get("path", ""))
                except (FileError, KeyError) as error:
                    problems.append(f"{cube.path}: its {kind} reference cannot be read: {error}")
    ordered = sorted(found.items(), key=lambda one: one[1][0].time_ns)
    return [
        FoundReference(reference, path, sha256, tuple(uses.get(sha256, ())), embedded[sha256])
        for sha256, (reference, path) in ordered
    ]


def _uses(cube: CubeNotes) -> dict[Kind, Mapping[str, Any]]:
    try:
        named = json.loads(cube.attributes.get("reference_files", "{}"))
    except (TypeError, ValueError):
        named = {}
    named = named if isinstance(named, dict) else {}
    return {
        kind: {**(named.get(kind) or {}), **cube.references.get(kind, {})}
        for kind in KINDS
        if kind in cube.references or isinstance(named.get(kind), dict)
    }


def _embedded(cube: CubeNotes, kind: Kind) -> Reference:
    with open_cube(cube.path) as opened:
        return Reference.of_group(opened.groups[FOLDER].groups[kind], f"{cube.path}: ")


def reference_facts(found: FoundReference) -> ReferenceFacts:
    """All numbers of a reference."""
    reference = found.reference
    ages = [age for use in found.uses if (age := number_in(use, "age_s")) is not None]
    changes = [kelvin for use in found.uses if (kelvin := number_in(use, "temperature_change_k")) is not None]
    return ReferenceFacts(
        kind=reference.kind,
        path=found.path,
        sha256=found.sha256,
        time=iso_time(reference.time_ns),
        n_frames=reference.n_frames,
        exposure_ms=number_in(reference.attributes, "exposure_ms"),
        temperature=reference.temperature if np.isfinite(reference.temperature) else None,
        saturated=reference.saturated,
        brightness=reference.brightness,
        n_cubes=len(found.uses),
        n_cubes_embedded=found.n_embedded,
        age_s=range_of(ages),
        temperature_change_k=range_of(changes),
    )
