"""Statuses and messages of the control socket, for tests of servers and clients."""

from typing import Any

from openhsi_shared.buffers.slot_memory import SideBuffer, SlotLayout
from openhsi_shared.buffers.tap import SlotExport
from openhsi_shared.columns import COLUMNS, Column
from openhsi_shared.control.messages import About, Glance, Slots
from openhsi_shared.control.status import RecordingStatus, Status
from openhsi_shared.frames.losses import IdRange

__all__ = ["ABOUT", "RECORDING_STATUS", "SLOTS", "STATUS", "glance"]

VALUES: dict[str, Any] = {
    "lines": 12345,
    "lines_lost": 0,
    "lost_ids": (),
    "lines_overwritten": 0,
    "rate": 498.6,
    "slots": {"FREE": 1, "FILLING": 1, "HELD": 0},
    "fill": 0.5,
    "cubes_saved": 12,
    "cubes_pending": 1,
    "writer_mb_per_s": 812.4,
    "writer_restarts": 0,
    "temperature": 31.26,
    "saturated": 0.0125,
    "errors": (),
}
STATUS = Status(**VALUES | {"lines_lost": 3, "lost_ids": (IdRange(7, 9),), "errors": ("no <space>",)})
RECORDING_STATUS = RecordingStatus(**VALUES, seconds=7.25, cubes=3, disk_minutes_left=float("inf"))
ABOUT = About(
    kind="recording",
    camera="SharedXimeaCamera",
    save_dir="/data/<flight>",
    level=-1,
    wavelengths_nm=(400.0, 401.5),
    full_scale=None,
    exposure_ms=2.5,
    can_stop=True,
    prefix="sea_",
    suffix="",
    settings='{"luminance": 10000}',
)
LAYOUT = SlotLayout(
    n_slots=2,
    n_lines=8,
    line_shape=(3, 4),
    dtype="uint16",
    columns=(*COLUMNS, Column("gain", "float32", "1", "gain of the sensor")),
    side_buffers=(SideBuffer("marks", 4096, is_per_slot=True),),
)
SLOTS = Slots(SlotExport(layout=LAYOUT, starts={"lines": 0, "words": 64}), ABOUT)


def glance(n_gaps: int = 0, ended_by: str = "", disk_minutes_left: float = 61.0, **status: Any) -> Glance:
    """A `Glance` at a recording without problems; `status` overrides its values."""
    return Glance(
        status=Status(**VALUES | status),
        n_gaps=n_gaps,
        phase="running",
        ended_by=ended_by,
        camera="SharedXimeaCamera",
        joint_name="",
        save_dir="/data",
        program_id=7,
        disk_minutes_left=disk_minutes_left,
    )
