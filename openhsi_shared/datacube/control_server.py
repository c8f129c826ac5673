"""What a camera answers to the requests on its control socket, in a recording or in a user's program."""

import math
import os
import re
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from openhsi_shared.buffers.tap import export_slots
from openhsi_shared.control.control_socket import ControlSocket, Reply
from openhsi_shared.control.messages import (
    About,
    AskGlance,
    AskSlots,
    AskStatus,
    Glance,
    Phase,
    Request,
    Slots,
    StatusNow,
    Stop,
    Stopping,
)
from openhsi_shared.control.status import RecordingStatus, Status, disk_minutes_left
from openhsi_shared.datacube.engine import CubeEngine
from openhsi_shared.errors import ClosedError, RecordingError
from openhsi_shared.processing_levels import LEVELS
from openhsi_shared.settings import SettingsMapping

__all__ = ["ControlServer", "ServedCamera", "ServedRecording", "socket_of"]

MAX_GAPS = 100
"""A glance has so many of the newest gaps: it is requested twice a second, and must cost the recording nothing."""
CLIENT_GONE_S = 1.5
"""A client that requested a glance no longer ago than this is still there."""


class ServedCamera(Protocol):
    """What a control server needs of a camera beside its engine."""

    settings: SettingsMapping
    custom_tfms: Any

    def status(self) -> Status:
        """Status now."""


class ServedRecording(Protocol):
    """A recording that has the camera."""

    def status(self) -> RecordingStatus:
        """Status now."""

    def ask_to_stop(self) -> None:
        """Let it end in good order. Does not block."""


class ControlServer:
    """Answers requests about one camera, without keeping the camera alive."""

    def __init__(self, engine: CubeEngine, camera: ServedCamera, recording: ServedRecording | None = None) -> None:
        """Serve `camera`, which has this engine. Only a recording can be stopped by a request."""
        self._engine, self._camera, self._recording = engine, weakref.ref(camera), recording
        self.phase: Phase = "running"
        self._ended_by = ""
        self._changed = threading.Condition()
        self._last_glance = -CLIENT_GONE_S
        self._end_was_read = False

    def answer(self, asked: Request[Any]) -> Reply[Any]:
        """Answer a request. ClosedError after the camera was closed, RecordingError for what is refused."""
        match asked:
            case AskStatus():
                return Reply(StatusNow(self._read_status()))
            case AskGlance():
                return Reply(self._glance())
            case AskSlots():
                return self.slots()
            case Stop():
                return self._ask_to_stop()
        raise RecordingError(f"a camera does not answer {type(asked).__name__}")

    def slots(self) -> Reply[Slots]:
        """Open descriptors of the slots. RecordingError where the system has none."""
        about = self._about(self._open_camera())
        try:
            exported, descriptors = export_slots(self._engine.slots.memory)
        except RecordingError as error:
            raise RecordingError(f"this camera cannot be looked at: {error}; use show() instead") from error
        return Reply(Slots(exported, about), descriptors)

    def announce_end(self, ended_by: str = "", patience_s: float = 1.0) -> None:
        """Let clients read that it has ended. Blocks until one has, `patience_s` at most, and only if there are any."""
        with self._changed:
            self.phase, self._ended_by, self._end_was_read = "ended", ended_by, False
            if time.monotonic() - self._last_glance < CLIENT_GONE_S:
                self._changed.wait_for(lambda: self._end_was_read, patience_s)

    def _open_camera(self) -> ServedCamera:
        camera = self._camera()
        if camera is None or self._engine.is_closed:
            raise ClosedError("the camera is closed")
        return camera

    def _read_status(self) -> Status:
        camera = self._open_camera()
        return camera.status() if self._recording is None else self._recording.status()

    def _glance(self) -> Glance:
        status, engine = self._read_status(), self._engine
        with self._changed:
            self._last_glance = time.monotonic()
            if self.phase == "ended":
                self._end_was_read = True
                self._changed.notify_all()
            phase, ended_by = self.phase, self._ended_by
        return Glance(
            status=replace(status, lost_ids=status.lost_ids[-MAX_GAPS:]),
            n_gaps=len(status.lost_ids),
            phase=phase,
            ended_by=ended_by,
            camera=engine.kind.camera,
            save_dir=engine.last_directory,
            program_id=os.getpid() if self._recording is None else os.getppid(),
            disk_minutes_left=self._minutes_left(status),
        )

    def _minutes_left(self, status: Status) -> float:
        if isinstance(status, RecordingStatus):
            return status.disk_minutes_left
        directory, line_bytes = self._engine.last_directory, self._engine.slots.layout.line_bytes
        return disk_minutes_left(directory, status.rate * line_bytes) if directory else math.nan

    def _about(self, camera: ServedCamera) -> About:
        kind = self._engine.kind
        wavelengths = kind.wavelengths_nm
        return About(
            kind="camera" if self._recording is None else "recording",
            camera=kind.camera,
            save_dir=self._engine.last_directory,
            level=kind.level,
            wavelengths_nm=None if wavelengths is None else tuple(np.asarray(wavelengths, float).tolist()),
            full_scale=self._full_scale(camera),
            exposure_ms=camera.settings.model.exposure_ms,
            anchor=kind.clock_anchor,
            can_stop=self._recording is not None,
        )

    def _full_scale(self, camera: ServedCamera) -> int | None:
        """Value of a saturated pixel, as far as the pixel format tells; None where lines are not such values.

        Where bands are made, several pixels may be summed.
        """
        dtype = np.dtype(self._engine.slots.layout.dtype)
        if LEVELS[self._engine.kind.level].binning or dtype.kind != "u" or camera.custom_tfms:
            return None
        bits = re.search(r"(8|10|12|14|16)", camera.settings.model.pixel_format or "")
        return min((1 << int(bits[1])) - 1 if bits else 65535, int(np.iinfo(dtype).max))

    def _ask_to_stop(self) -> Reply[Stopping]:
        self._open_camera()
        if self._recording is None:
            raise RecordingError("this camera belongs to a program: stop it there")
        self._recording.ask_to_stop()
        return Reply(Stopping())


def socket_of(engine: CubeEngine, server: ControlServer) -> Path:
    """Path of the control socket of a camera of this program, which is opened if it is not, and closed with the camera.

    RecordingError where it cannot be opened.
    """
    if engine.control_socket is None:
        try:
            opened = ControlSocket(f"camera-{os.getpid()}-{id(engine):x}", server.answer)
        except (OSError, AttributeError) as error:
            raise RecordingError(f"this camera cannot be looked at: no control socket: {error}") from error
        engine.control_socket = opened.path
        engine.at_close.callback(opened.close)
    return engine.control_socket
