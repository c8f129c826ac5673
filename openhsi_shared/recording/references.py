"""References within a recording: requested by the user's process, taken by the recording between two cubes."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from openhsi_shared.capture.referencing import check_number
from openhsi_shared.datacube.shared_openhsi import SharedOpenHSI
from openhsi_shared.errors import RecordingError, ReferenceRefused, SaveError
from openhsi_shared.files.references import Kind, Reference, check_kind
from openhsi_shared.recording.messages import ReferenceTaken, TakeReference
from openhsi_shared.recording.plan import RecordingPlan

__all__ = ["ReferenceRequests", "take_reference"]


# ---- in the recording ----------------------------------------------------------------


def take_reference(
    camera: SharedOpenHSI, request: TakeReference, plan: RecordingPlan, goes_on: Callable[[], bool]
) -> ReferenceTaken:
    """Take it, when the cube before is closed. What the camera raises ends the recording.

    The camera is started again before and after it: so none of its frames is older than the request, and lines that
    come meanwhile, and may overflow its queue, are not called lost.
    """
    try:
        reference = camera.take_reference_between_cubes(request.kind, request.n, plan.reference_dir, goes_on)
        answer = ReferenceTaken(reference.path)
    except (ReferenceRefused, SaveError) as error:
        answer = ReferenceTaken(None, error)
    camera.stop_cam()  # type: ignore[attr-defined]
    camera.start_streaming()
    return answer


# ---- in the user's process -----------------------------------------------------------


class ReferenceRequests:
    """Requests of one recording, one at a time."""

    def __init__(self, changed: threading.Condition) -> None:
        """`changed` is held while an answer is appended to `answers`, and notified."""
        self.answers: deque[ReferenceTaken] = deque()
        self._changed, self._taking = changed, threading.Lock()

    def take(self, kind: Kind, n: int, send: Callable[[Any], bool], has_ended: Callable[[], bool]) -> Reference:
        """Request a reference and wait for it; see `Recording.take_reference`."""
        request = TakeReference(check_kind(kind), check_number(n))
        with self._taking, self._changed:
            if not has_ended():
                send(request)
            self._changed.wait_for(lambda: self.answers or has_ended())
            if not self.answers:
                raise RecordingError(f"the {kind} reference was not taken: the recording has ended")
            answer = self.answers.popleft()
        if answer.error is not None or answer.path is None:
            raise answer.error or RecordingError(f"the {kind} reference was not taken")
        return Reference.read(answer.path)
