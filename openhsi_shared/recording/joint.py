"""A recording that is one of several: they start together, and what another program requests of one, all do."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from openhsi_shared.buffers.times import Anchor
from openhsi_shared.control.status import RecordingStatus
from openhsi_shared.datacube.control_server import ControlServer, ServedRecording
from openhsi_shared.datacube.shared_openhsi import SharedOpenHSI
from openhsi_shared.errors import RecordingError, SourceEnded
from openhsi_shared.processes.liveness import Parent
from openhsi_shared.recording.messages import ForAll, MarkRequest, PauseRequest, StopRequest

__all__ = ["Joint", "JointStart", "control_server_of", "name_of"]

NEVER_NS = 1 << 63


class Joint(NamedTuple):
    """What makes a recording one of several."""

    name: str
    """Of the camera, in its files and in the log."""
    anchor: Anchor
    """Of all of them: so the times of their lines can be compared."""
    joint_id: str
    """Of all of them, in their files."""


def name_of(joint: Joint | None) -> dict[str, str]:
    """Fields of an entry of the flight's log that name the camera; none if it is the only one."""
    return {} if joint is None else {"joint_name": joint.name}


class JointStart:
    """Frames are passed over until the moment at which all cameras start; for one camera alone that is at once."""

    def __init__(self, camera: SharedOpenHSI, joint: Joint | None) -> None:
        """`camera` gets name and anchor of `joint`."""
        self._camera = camera
        self.at_ns = 0 if joint is None else NEVER_NS
        """By `time.monotonic_ns()`; set by another thread, once all cameras are streaming."""
        if joint is not None:
            camera.join(*joint)

    def wait(self, ends: Callable[[], bool]) -> None:
        """Take frames, which become no lines and do not count as lost, until the start, or `ends()`.

        Raises what the camera raises, and RecordingError if it has no more frames.
        """
        try:
            while time.monotonic_ns() < self.at_ns and not ends():
                self._camera.pass_over_frame()
        except SourceEnded as error:
            raise RecordingError(
                f"{error}: before all cameras were started; give it a rate, and as many frames as that takes"
            ) from error


class _ForwardedRequests:
    """A recording for its control socket: requests are sent to the program, which sends them to all recordings."""

    def __init__(self, recording: ServedRecording, tell: Callable[[Any], object]) -> None:
        self._tell, self.save_dir = tell, recording.save_dir
        self.status: Callable[[], RecordingStatus] = recording.status

    def ask_to_stop(self) -> None:
        self._tell(ForAll(StopRequest()))

    def mark(self, text: str, monotonic_ns: int) -> None:
        self._tell(ForAll(MarkRequest(text, monotonic_ns)))

    def want_pause(self, is_paused: bool) -> None:
        self._tell(ForAll(PauseRequest(is_paused)))


def control_server_of(
    camera: SharedOpenHSI, recording: ServedRecording, joint: Joint | None, parent: Parent
) -> ControlServer:
    """What answers requests of other programs about `recording`, which has this camera."""
    if joint is None:
        return camera.control_server(recording)
    server = camera.control_server(_ForwardedRequests(recording, parent.tell))
    server.joint_name = joint.name
    return server
