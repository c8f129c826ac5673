"""The process that writes a capture of a recording while it runs.

It holds slots until others need them, so the recording loses nothing; lines that come too fast are skipped.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from openhsi_shared.analysis.live.hosting import SlotReader
from openhsi_shared.analysis.live.messages import ReaderEnded, Ready, Released
from openhsi_shared.analysis.streams.capture_options import LinesToCapture
from openhsi_shared.analysis.streams.capturing import Capturing
from openhsi_shared.analysis.streams.lines_of_slots import SlotSource
from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.errors import AnalysisError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.liveness import Parent
from openhsi_shared.processes.logs import forward_logs
from openhsi_shared.processes.spawning import become_service

__all__ = ["capture_reader"]

logger = safe_logger(__name__)

NICENESS = 5
LOOK_INTERVAL_S = 0.005
STATUS_INTERVAL = 50
"""Looks without a line, or ranges, between two messages of its status."""
PATIENCE_S = 60.0
"""A disk that does not respond for so long ends the capture."""


def capture_reader(source: SlotSource, path: Path, every: int) -> SlotReader:
    """What reads the slots for a capture of each `every`-th line."""
    return SlotReader(
        name=str(path),
        kind="capture",
        mode="best_effort",
        target=_run,
        args=(source, path, every),
        patience_s=PATIENCE_S,
    )


def _run(parent: Parent, source: SlotSource, path: Path, every: int) -> None:
    """Main function of the child: until a message of the parent, or its death."""
    become_service(NICENESS, in_background=True)
    forward_logs(parent)
    status: dict[str, Any] = {"name": str(path), "mode": source.mode}
    with ExitStack() as stack:
        try:
            capturing = stack.enter_context(Capturing(source, path, LinesToCapture(every=every)))
            parent.tell(Ready())
            _follow(parent, capturing, status)
            capturing.close()
            if capturing.skipped.n:
                logger.warning("%s: %s", path, capturing.skipped)
            status |= _counts(capturing) | {"state": "ended", "saved_to": str(path)}
            ended = ReaderEnded(status=AnalysisStatus(**status))
        except Exception as error:  # noqa: BLE001 - not swallowed: the parent logs it
            why = f"no capture: {error}"
            ended = ReaderEnded(status=AnalysisStatus(**status, state="failed", why=why), error=AnalysisError(why))
        parent.tell(ended)


def _follow(parent: Parent, capturing: Capturing, status: dict[str, Any]) -> None:
    """Write all lines until the parent says that no more come, or has died."""
    n_looks = 0
    while not capturing.ranges.is_ended:
        is_written = capturing.step()
        for slot, cube in capturing.released():
            parent.tell(Released(slot, cube))
        if parent.receive(0 if is_written else LOOK_INTERVAL_S) is not None:  # no more lines, or it is gone
            capturing.end()
        if n_looks % STATUS_INTERVAL == 0:
            parent.tell(AnalysisStatus(**status, **_counts(capturing), state="running"))
        n_looks += 1


def _counts(capturing: Capturing) -> dict[str, Any]:
    return {"events": capturing.n_lines, "skipped": capturing.skipped.n, "skipped_ids": capturing.skipped.ids[-100:]}
