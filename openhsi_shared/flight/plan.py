"""The plan of a flight as a `flight.toml`, which `record --config` takes."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from openhsi_shared.capture.planning.plan import Plan
from openhsi_shared.errors import RecordingError
from openhsi_shared.files.flight_log import FlightLog
from openhsi_shared.flight.config import FlightConfig, read_config, write_config
from openhsi_shared.paths import given_path

__all__ = ["note_plan", "write_plan"]


def note_plan(plan: Plan) -> None:
    """Note the plan in the log of the flight, beside the cubes that come: kind "plan"."""
    measured, last = plan.measured, (plan.minutes, plan.stall_s, plan.margin)
    minutes, stall_s, margin = (value if math.isfinite(value) else None for value in last)
    FlightLog(measured.save_dir).note(
        "plan",
        holds=plan.holds,
        problems=list(plan.problems),
        rate=measured.rate,
        queue=measured.queue,
        n_lines=plan.n_lines,
        n_buffers=plan.n_buffers,
        compression=plan.compression,
        margin=margin,
        stall_s=stall_s,
        minutes=minutes,
        lines_lost_per_minute=plan.lines_lost_per_minute,
    )


def write_plan(plan: Plan, path: str | Path, record: Mapping[str, Any], camera: Mapping[str, Any]) -> Path:
    """Write `flight.toml` with what the plan says; `record` and `camera` are more keys of these tables.

    Of a file that exists, all other keys and tables stay, and the file is kept as `flight.toml~`. RecordingError for a
    plan that does not hold; what `read_config` and `write_config` raise.
    """
    if not plan.holds:
        raise RecordingError(f"this plan does not hold: {'; '.join(plan.problems)}")
    path = given_path(path)
    config = read_config(path) if path.exists() else FlightConfig()
    sizes = {"lines": plan.n_lines, "buffers": plan.n_buffers, "compression": plan.compression or "none"}
    of_record = {**config.record, **record, **sizes}
    if plan.compression is None:
        of_record.pop("compression_level", None)
    of_camera = {**config.camera, **camera}
    for key in ("rate", "average", "compat"):  # keywords of the camera that [record] may have, too
        if key in camera:
            of_record.pop(key, None)
    return write_config(replace(config, record=of_record, camera=of_camera), path)
