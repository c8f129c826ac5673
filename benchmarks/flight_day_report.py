"""The report of a flight of many cubes: how long it takes, and how large it is."""

import json
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np

from benchmarks.flight_day_saturation import lines_in_slots
from benchmarks.frames import frames_of_scene
from benchmarks.measuring import Plan, Row
from openhsi_shared.buffers.times import Anchor
from openhsi_shared.channels.gps_fields import FIELDS
from openhsi_shared.columns import COLUMNS
from openhsi_shared.dataset import Cube
from openhsi_shared.files.preview import preview_path, write_preview
from openhsi_shared.files.writing import CubeWriter
from openhsi_shared.writer.cube_channels import CubeChannels
from tests.support.channels import BEGIN, deliver, every, kind_of, properties

__all__ = ["report_of_a_flight"]

LINE_NS = 2 * 10**6


def report_of_a_flight(plan: Plan) -> Row:
    """The report of many cubes with a GPS and pictures beside them: as a command, from its start to its end."""
    n_cubes, n_lines = plan.pick((100, 32), (40, 16), (3, 4))
    with plan.folder("flight-day") as folder:
        _fly(plan, folder, n_cubes, n_lines)
        command = [sys.executable, "-m", "openhsi_shared", "report", str(folder), "--json"]
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - begun
        found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        megabytes = (folder / "report.html").stat().st_size / 1e6
        n_bytes = sum(path.stat().st_size for path in folder.rglob("*.nc"))
    counted = (found["n_cubes"], found["n_lines"], found["n_intact"], found["problems"])
    if counted != (n_cubes, n_cubes * n_lines, n_cubes, []):
        raise AssertionError(f"the report of {n_cubes} cubes of {n_lines} lines has {counted}")
    return Row(
        benchmark="flight_day",
        what=f"report of {n_cubes} cubes, {n_bytes / 1e9:.1f} GB, every byte verified",
        ours=f"{seconds:.1f} s, {megabytes:.1f} MB",
        target="100 cubes: <= 20 s, <= 15 MB",
        is_reached=seconds <= 20 and megabytes <= 15,
        verified="all cubes and lines are counted, and intact",
        figures={"seconds": seconds, "megabytes": megabytes, "bytes": n_bytes},
    )


def _fly(plan: Plan, folder: Path, n_cubes: int, n_lines: int) -> None:
    """Cubes of one recording, one after the other, at 500 lines/s."""
    frames = frames_of_scene(plan.frame_shape, 8)
    lines = lines_in_slots(plan, n_lines, frames)
    positions = kind_of(properties("gps", list(FIELDS), clock="fit"))
    object.__setattr__(positions.memory, "anchor", Anchor(BEGIN, 0))
    end_ns = BEGIN + (n_cubes * n_lines + 1000) * LINE_NS
    deliver(positions.memory, "gps", every(100, BEGIN - 10**9, end_ns), _fix)
    channels = CubeChannels(positions)
    with CubeWriter(n_lines, plan.frame_shape, np.uint16) as writer:
        for number in range(n_cubes):
            times_ns = BEGIN + (number * n_lines + np.arange(n_lines)) * LINE_NS
            of_cube = channels.of_cube(number, times_ns, Anchor(BEGIN, 0), 1.0)
            columns = {"time_ns": times_ns, "frame_id": number * n_lines + np.arange(n_lines), **of_cube.columns}
            attributes = {"run_id": "flight", "lines_lost": 0, "clock_anchor_wall_ns": BEGIN}
            cube = Cube(
                memory=lines,
                n_lines=n_lines,
                columns=columns,
                column_descriptions=(*COLUMNS, *of_cube.descriptions),
                groups=of_cube.groups,
                attributes=attributes | {"clock_anchor_monotonic_ns": 0},
                uuid=str(uuid.uuid4()),
            )
            written = writer.write(cube, [folder])
            channels.note_saved(number, written.path)
            if written.picture is not None:
                write_preview(written.picture, preview_path(written.path))


def _fix(time_ns: int) -> list[float]:
    """A straight track to the east."""
    seconds = (time_ns - BEGIN) / 1e9
    return [-33.8, 151.2 + 2e-4 * seconds, 120.0, 20.0, 90.0, 90.0, 0.0, 0.0, 1.0, 12.0, 0.8, 3.0]
