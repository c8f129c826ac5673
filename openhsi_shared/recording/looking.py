"""What a notebook shows of a recording that runs in its own process: a live cell."""

import weakref
from typing import TYPE_CHECKING

from openhsi_shared.datacube.looking import glance_of
from openhsi_shared.errors import RecordingError
from openhsi_shared.processes.control_socket import request, runtime_directory
from openhsi_shared.viewer.notebook import Glance, LiveCell

if TYPE_CHECKING:
    from openhsi_shared.recording.run import Recording

__all__ = ["live_cell_of_recording"]


def live_cell_of_recording(run: "Recording") -> LiveCell:
    """Make the live cell of a recording; it ends with it, and does not keep it alive.

    RecordingError if it has ended, or nobody may look.
    """
    door = runtime_directory() / f"recording-{run.process_id}.sock"
    try:
        words, descriptors = request(door, "slots")
    except (OSError, ValueError) as error:
        why = "its door did not open" if run.is_running else "it has ended"
        raise RecordingError(f"this recording cannot be looked at: {why} ({error})") from error
    reference = weakref.ref(run)

    def glance() -> Glance:
        recording = reference()
        if recording is None:
            raise RecordingError("nobody watches the recording any more")
        return glance_of(recording.status(), is_over=not recording.is_running)

    return LiveCell(words, descriptors, glance).show()
