"""Attributes of a saved cube that go into what is computed from it: those of its recording, and the user's metadata."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["RECORDING_ATTRIBUTES", "REPLACED_ATTRIBUTES", "kept_attributes", "source_attributes"]

RECORDING_ATTRIBUTES = (
    "uuid",
    "level",
    "level_arithmetic",
    "run_id",
    "camera",
    "cube_number",
    "lines_lost",
    "lines_lost_before",
    "lines_lost_within",
    "lost_frame_ids",
    "lines_overwritten",
    "average",
    "marks",
    "marks_pushed_out",
    "paused_before_s",
    "frames_paused",
    "frames_not_wanted",
    "event",
    "clock_anchor_wall_ns",
    "clock_anchor_monotonic_ns",
    "clock_step_before_ns",
    "clock_suspended_before_ns",
    "clock_step_ns",
    "clock_suspended_ns",
    "time_overlap_ns",
    "unchecked_directories",
    "host_clock",
    "host_clock_max_error_s",
    "clock_source",
    "calibration_sha256",
    "reference_files",
    "references_failed",
    "recovered",
    "ended_by",
    "date_created",
    "pipeline_id",
    "pipeline_hash",
)
"""Attributes of the source that the result contains with the prefix `source_`."""
REPLACED_ATTRIBUTES = {
    *RECORDING_ATTRIBUTES,
    *("Conventions", "format", "format_version", "format_reads_from", "id", "n_lines", "processing_level", "history"),
    *("time_coverage_start", "time_coverage_end", "durability", "complete", "settings", "exposure_ms", "camera_id"),
}
"""Attributes of a source file that are not copied: the result has its own values."""


def source_attributes(path: Path, attributes: Mapping[str, Any], is_ours: bool) -> dict[str, Any]:
    """What identifies the source of a result; `is_ours`: this library wrote it."""
    found = attributes if is_ours else {}
    return {f"source_{name}": found[name] for name in RECORDING_ATTRIBUTES if name in found} | {
        "source_file": path.name
    }


def kept_attributes(attributes: Mapping[str, Any], is_ours: bool) -> dict[str, Any]:
    """The user's metadata in a source, which the result keeps, as all attributes of a file of another program."""
    dropped = REPLACED_ATTRIBUTES if is_ours else set()
    return {
        name: value
        for name, value in attributes.items()
        if name not in dropped and not name.startswith(("source_", "pipeline_"))
    }
