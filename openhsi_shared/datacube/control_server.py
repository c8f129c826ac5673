"""Answers requests on a camera's control socket, in a recording or in a user's program."""

import math
import os
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
from openhsi_shared.control.status import RecordingStatus, Status
from openhsi_shared.datacube.engine import CubeEngine
from openhsi_shared.errors import ClosedError, RecordingError
from openhsi_shared.processes.disk_watch import DiskWatch
from openhsi_shared.processing_levels import LEVELS
from openhsi_shared.settings import SettingsMapping

__all__ = ["ControlServer", "ServedCamera", "ServedRecording", "socket_of"]

MAX_GAPS = 100
"""Newest gaps in a glance, which is requested twice a second and must not slow down the recording."""
CLIENT_TIMEOUT_S = 1.5
"""A client counts as connected for this time after its last request for a glance."""


class ServedCamera(Protocol):
    """Interface of a camera, besides its engine, that a control server uses."""

    settings: SettingsMapping
    custom_tfms: Any

    def status(self) -> Status:
        """Status now."""


class ServedRecording(Protocol):
    """The recording that owns the camera."""

    def status(self) -> RecordingStatus:
        """Status now."""

    @property
    def save_dir(self) -> str:
        """Directory of its cubes, also before the first one."""
        ...

    def ask_to_stop(self) -> None:
        """Request a clean stop. Does not block."""


class ControlServer:
    """Answers requests about one camera, without keeping the camera alive."""

    def __init__(self, engine: CubeEngine, camera: ServedCamera, recording: ServedRecording | None = None) -> None:
        """Serve `camera`, which has this engine. Only a recording can be stopped by a request."""
        self._engine, self._camera, self._recording = engine, weakref.ref(camera), recording
        self.phase: Phase = "running"
        self._ended_by = ""
        self._changed = threading.Condition()
        self._disks = DiskWatch()
        self._last_glance = -CLIENT_TIMEOUT_S
        self._end_was_read = False

    def answer(self, message: Request[Any]) -> Reply[Any]:
        """Answer a request. ClosedError after the camera was closed, RecordingError if it is refused."""
        match message:
            case AskStatus():
                return Reply(StatusNow(self._read_status()))
            case AskGlance():
                return Reply(self._glance())
            case AskSlots():
                return self.slots()
            case Stop():
                return self._ask_to_stop()
        raise RecordingError(f"unsupported request {type(message).__name__}")

    def slots(self) -> Reply[Slots]:
        """Open descriptors of the slots. RecordingError where the system does not support them."""
        about = self._about(self._open_camera())
        try:
            exported, descriptors = export_slots(self._engine.slots.memory)
        except RecordingError as error:
            raise RecordingError(f"live view of this camera unavailable: {error}; use show() instead") from error
        return Reply(Slots(exported, about), descriptors)

    def announce_end(self, ended_by: str = "", timeout_s: float = 1.0) -> None:
        """Report the end to clients. Blocks until one has read it, at most `timeout_s`, and only if there are any."""
        with self._changed:
            self.phase, self._ended_by, self._end_was_read = "ended", ended_by, False
            if time.monotonic() - self._last_glance < CLIENT_TIMEOUT_S:
                self._changed.wait_for(lambda: self._end_was_read, timeout_s)

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
            save_dir=self._directory,
            program_id=os.getpid() if self._recording is None else os.getppid(),
            disk_minutes_left=self._minutes_left(status),
        )

    @property
    def _directory(self) -> str:
        return self._engine.last_directory or ("" if self._recording is None else self._recording.save_dir)

    def _minutes_left(self, status: Status) -> float:
        if isinstance(status, RecordingStatus):
            return status.disk_minutes_left
        directory, line_bytes = self._engine.last_directory, self._engine.slots.layout.line_bytes
        if not directory:
            return math.nan
        return self._disks.space(directory).minutes_left(status.rate * line_bytes)

    def _about(self, camera: ServedCamera) -> About:
        kind = self._engine.kind
        wavelengths = kind.wavelengths_nm
        return About(
            kind="camera" if self._recording is None else "recording",
            camera=kind.camera,
            save_dir=self._directory,
            level=kind.level,
            wavelengths_nm=None if wavelengths is None else tuple(np.asarray(wavelengths, float).tolist()),
            full_scale=self._full_scale(camera),
            exposure_ms=camera.settings.model.exposure_ms,
            can_stop=self._recording is not None,
        )

    def _full_scale(self, camera: ServedCamera) -> int | None:
        """Value of a saturated pixel; None where lines have other values.

        Binning to bands may sum several pixels.
        """
        dtype = np.dtype(self._engine.slots.layout.dtype)
        if LEVELS[self._engine.kind.level].binning or dtype.kind != "u" or camera.custom_tfms:
            return None
        full_scale = camera.settings.model.full_scale
        return None if full_scale is None else min(full_scale, int(np.iinfo(dtype).max))

    def _ask_to_stop(self) -> Reply[Stopping]:
        self._open_camera()
        if self._recording is None:
            raise RecordingError("a camera of a user's program cannot be stopped by a request: stop it in the program")
        self._recording.ask_to_stop()
        return Reply(Stopping())


def socket_of(engine: CubeEngine, server: ControlServer) -> Path:
    """Return the path of a camera's control socket, which is opened at the first call and closed with the camera.

    RecordingError if it cannot be opened.
    """
    if engine.control_socket is None:
        try:
            opened = ControlSocket(f"camera-{os.getpid()}-{id(engine):x}", server.answer)
        except (OSError, AttributeError) as error:
            raise RecordingError(f"live view of this camera unavailable: no control socket: {error}") from error
        engine.control_socket = opened.path
        engine.at_close.callback(opened.close)
    return engine.control_socket
