"""What is reported of a recording: its status and summary, its errors, and the names of cubes."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.control.status import RecordingStatus
from openhsi_shared.datacube.shared_openhsi import SharedOpenHSI
from openhsi_shared.errors import OpenHSIError, RecordingError, SaveError
from openhsi_shared.processes.disk_watch import Space
from openhsi_shared.recording.messages import Ended, RecordingSummary
from openhsi_shared.writer.final_rescue import Rescued
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.pending import KEPT

__all__ = [
    "died_in_words",
    "error_of",
    "number_of",
    "picklable",
    "show_progress",
    "status_of",
    "summary_of",
    "without_handle_hint",
]


def number_of(name: str) -> int:
    """Number of a cube that was given to the writer, by the name of its handle: "cube 5"."""
    return int(name.rsplit(maxsplit=1)[-1])


def without_handle_hint(error: OpenHSIError) -> OpenHSIError:
    """The same error without the hint at `retry`: the user's process has no handle for that."""
    if not isinstance(error, SaveError):
        return error
    stripped = SaveError(error.errno, str(error.strerror).replace(f"; {KEPT}", ""), error.filename)
    for note in getattr(error, "__notes__", []):
        stripped.add_note(note)
    return stripped


def picklable(error: BaseException) -> BaseException:
    """The error itself, if it can be pickled, else a RecordingError with its text.

    Also instead of what would end, or interrupt, the program of the user: a camera may call `sys.exit`.
    """
    import pickle

    if not isinstance(error, Exception):
        return RecordingError(f"the recording was ended by {type(error).__name__}: {error}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever a user's exception does when pickled
        return RecordingError(f"{type(error).__name__}: {error}")
    return error


def died_in_words(exit_code: int | None) -> str:
    """Error text for a recording process that has ended without a result."""
    hint = ", or the pipe to it was closed by other code of this or that program" if exit_code == 0 else ""
    return f"the recording's process died, exit code {exit_code}{hint}"


def error_of(ended: Ended) -> BaseException:
    """The error of a recording that has ended early, with the traceback of its process."""
    error = ended.error or RecordingError("the recording ended without a result")
    if ended.traceback:
        error.add_note(f"in the recording's process:\n{ended.traceback}")
    return error


def status_of(
    camera: SharedOpenHSI,
    directory: str,
    space: Space,
    analyses: Mapping[str, AnalysisStatus],
    *,
    begun: float,
    n_cubes: int,
    is_paused: bool,
    of_events: Mapping[str, Any],
) -> RecordingStatus:
    """The status of its camera, with what concerns the recording; it began at `begun` by `time.monotonic()`."""
    status = camera.status()
    rows, _, bands = camera.dc_shape
    rate = status.rate * rows * bands * np.dtype(camera.dtype_out).itemsize
    event, doubt = {**of_events}, of_events.get("doubt")
    event.pop("doubt", None)
    errors = (*status.errors, *space.complaint(directory), *([f"event in doubt: {doubt}"] if doubt else ()))
    more = {"errors": errors, "analyses": analyses, **event}
    return RecordingStatus(
        **status.__dict__ | more,
        is_paused=is_paused,
        seconds=time.monotonic() - begun,
        cubes=n_cubes,
        disk_minutes_left=space.minutes_left(rate),
    )


def summary_of(
    cubes: Sequence[SaveHandle],
    rescued: Rescued,
    errors: Sequence[str],
    status: RecordingStatus,
    n_offered: int,
    seconds: float,
    n_unfinished: int,
    *,
    has_events: bool,
) -> RecordingSummary:
    """`status` is that after the rescue; `n_unfinished` are the lines of a cube that was never saved."""
    done = {cube.name: cube.result().path for cube in cubes if not cube.is_alive() and not cube.error}
    n_lines = {cube.name: cube.n_lines for cube in cubes}
    files = [(name, path) for name in {**n_lines, **rescued.files} if (path := (done | rescued.files).get(name))]
    return RecordingSummary(
        paths=tuple(path for _, path in files),
        lines=sum(n_lines.get(name, n_unfinished) for name, _ in files),
        lines_lost=status.lines_lost,
        lost_ids=status.lost_ids,
        seconds=seconds,
        rate=n_offered / seconds if seconds else 0.0,
        errors=tuple(errors),
        events=status.event if has_events else None,
        lines_not_wanted=status.lines_not_wanted,
    )


def show_progress(bar: Any, status: RecordingStatus) -> None:
    """Show the status in a progress bar of lines."""
    speed = f"{status.writer_mb_per_s:.0f} MB/s, " if status.cubes_saved else ""
    event = f"{status.event_in_words}, " if status.event_in_words else ""
    bar.set_postfix_str(
        f"{event}{status.rate:.0f} lines/s, {status.lines_lost} lost, {status.slots['FREE']} slots free, "
        f"{speed}{status.disk_minutes_left:.0f} min of disk left",
        refresh=False,
    )
    bar.update(status.lines + status.lines_lost - status.lines_not_wanted - bar.n)
