"""Gathers a report: all files of a directory, each read once, by several processes."""

import os
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openhsi_shared
from openhsi_shared.errors import ArgumentError, FileError
from openhsi_shared.files.flight_log import FlightLog
from openhsi_shared.files.journal import JOURNAL, journal_of, unfinished
from openhsi_shared.files.recovering import leftovers
from openhsi_shared.flight.report import channels, log, recordings
from openhsi_shared.flight.report.cubes import CubeNotes, Task, read_notes, size_of
from openhsi_shared.flight.report.facts import FlightFacts
from openhsi_shared.flight.report.remarks import remarks_of
from openhsi_shared.line_times import iso_time
from openhsi_shared.paths import cubes_below, given_path
from openhsi_shared.processes.pool import Died, in_processes

__all__ = ["Gathered", "gather"]

MAX_PROBLEMS = 5
"""Of one file."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Gathered:
    """A report: its numbers, and what its figures are drawn of."""

    facts: FlightFacts
    runs: tuple[recordings.Run, ...]
    references: tuple[channels.FoundReference, ...]


def gather(directory: str | os.PathLike[str]) -> Gathered:
    """Read all cubes in a directory and below, with all their bytes, and the log of the flight.

    Files that cannot be used are problems of the report. ArgumentError if it is no directory, FileError if it contains
    no cube that can be read, with the first problem.
    """
    folder = given_path(directory, "directory", "the path of a directory of cubes")
    if not folder.is_dir():
        raise ArgumentError(f"{folder} is no directory: give the one that a flight was recorded in")
    notes = _read(cubes_below(folder))
    problems = [problem for cube in notes for problem in _condensed(cube)] + _leftovers(folder)
    cubes, results, copies = _sorted_out([cube for cube in notes if cube.is_readable], folder)
    if not cubes:
        why = f"; {problems[0]}" if problems else ""
        raise FileError(f"{folder} contains no recorded cube that can be read (*.nc){why}")
    runs = recordings.grouped(cubes, problems)
    entries = _log(folder, problems)
    references = channels.find_references(folder, cubes, problems)
    stops = {str(entry.get("run_id")): entry for entry in entries if entry["kind"] == "stop"}
    of_runs = [recordings.recording_facts(run, stops.get(run.run_id)) for run in runs]
    of_cubes = [recordings.cube_facts(run, cube, folder) for run in runs for cube in run.cubes]
    begin = min((one.begin for one in of_runs if one.begin), default=None)
    facts = FlightFacts(
        directory=folder.resolve().name,
        made=iso_time(time.time_ns()),
        version=openhsi_shared.__version__,
        begin=begin,
        end=max((one.end for one in of_runs if one.end), default=None),
        n_cubes=len(of_cubes),
        n_lines=sum(one.n_lines for one in of_cubes),
        n_frames=sum(one.n_frames for one in of_cubes),
        n_lines_lost=sum(one.n_lines_lost for one in of_runs),
        n_intact=sum(one.is_intact for one in of_cubes),
        n_bytes=sum(one.n_bytes for one in of_cubes),
        problems=tuple(_relative(text, folder) for text in dict.fromkeys(problems)),
        remarks=(),
        results=tuple(results),
        recordings=tuple(of_runs),
        cubes=tuple(of_cubes),
        gaps=tuple(gap for run in runs if run.run_id for gap in recordings.gap_facts(run, folder)),
        channels=tuple(one for run in runs for one in channels.channel_facts(run)),
        clocks=tuple(channels.clock_facts(run, folder) for run in runs),
        references=tuple(map(channels.reference_facts, references)),
        marks=tuple(log.mark_facts(runs, entries, folder)),
        pauses=tuple(log.pause_facts(runs, folder)),
        events=tuple(log.event_facts(runs)),
        settings_changed=tuple(log.setting_facts(runs, folder)),
        plan=log.plan_facts(entries, runs, of_runs, begin),
        log=dict(Counter(str(entry["kind"]) for entry in entries)),
        log_errors=tuple(str(entry.get("text", "")) for entry in entries if entry["kind"] == "error"),
    )
    facts = replace(facts, remarks=tuple(remarks_of(facts, runs, copies)))
    return Gathered(facts=facts, runs=tuple(runs), references=tuple(references))


def _read(paths: list[Path]) -> list[CubeNotes]:
    tasks = [Task(path, size_of(len(paths))) for path in paths]
    with closing(in_processes(read_notes, tasks)) as results:
        return [
            _died(task, one.exit_code) if isinstance(one, Died) else one
            for task, one in zip(tasks, results, strict=True)
        ]


def _died(task: Task, exit_code: int | None) -> CubeNotes:
    return CubeNotes(
        path=task.path, problems=(f"{task.path}: the process that read it died with exit code {exit_code}",)
    )


def _condensed(cube: CubeNotes) -> list[str]:
    """Its first problems: a file that lost a block of the disk may have thousands."""
    found = [text if str(cube.path) in text else f"{cube.path}: {text}" for text in cube.problems[:MAX_PROBLEMS]]
    if n_more := len(cube.problems) - len(found):
        found.append(f"{cube.path}: {n_more:,} more problems, which `openhsi-shared verify` lists")
    return found


def _leftovers(folder: Path) -> list[str]:
    """Unfinished files, which a writer may still be writing."""
    found = []
    for path in leftovers(folder):
        if JOURNAL.fullmatch(path.name):
            found.append(str(unfinished(path)))
        elif journal_of(path) is None:
            found.append(
                f"{path} is unfinished: wait for its writer, or, if that is dead, run `openhsi-shared recover {folder}`"
            )
    return found


def _sorted_out(cubes: list[CubeNotes], folder: Path) -> tuple[list[CubeNotes], list[str], dict[str, list[str]]]:
    """Recorded cubes, each once; the names of results that were computed from others; copies by uuid."""
    recorded: dict[str, CubeNotes] = {}
    results: list[str] = []
    copies: dict[str, list[str]] = {}
    for cube in sorted(cubes, key=lambda cube: (bool(cube.problems), cube.path)):  # of copies an intact one
        name = cube.path.relative_to(folder).as_posix()
        uuid = str(cube.attributes.get("uuid", name))
        if "source_file" in cube.attributes or "source_link" in cube.attributes:
            results.append(name)
        elif uuid in recorded:
            copies.setdefault(uuid, [recorded[uuid].path.relative_to(folder).as_posix()]).append(name)
        else:
            recorded[uuid] = cube
    return list(recorded.values()), results, copies


def _log(folder: Path, problems: list[str]) -> list[dict[str, Any]]:
    flight_log = FlightLog(folder)
    try:
        entries, damaged = flight_log.entries()
    except OSError as error:
        problems.append(f"{flight_log.path} cannot be read: {error.strerror}")
        return []
    if damaged:
        numbers = ", ".join(map(str, damaged[:9])) + (f" and {len(damaged) - 9} more" if len(damaged) > 9 else "")
        problems.append(f"{flight_log.path} is damaged: lines {numbers} are no entries")
    return entries


def _relative(text: str, folder: Path) -> str:
    return text.replace(f"{folder}{os.sep}", "")
