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
    Mark,
    Marked,
    Pause,
    PauseNow,
    Phase,
    Request,
    Resume,
    Slots,
    StatusNow,
    Stop,
    Stopping,
)
from openhsi_shared.control.status import RecordingStatus, Status
from openhsi_shared.datacube.engine import CubeEngine
from openhsi_shared.errors import ClosedError, RecordingError
from openhsi_shared.processes.disk_watch import DiskWatch
from openhsi_shared.processing_levels import full_scale
from openhsi_shared.settings import SettingsMapping
from openhsi_shared.writer.messages import Label

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

    def mark_at(self, text: str, monotonic_ns: int) -> int:
        """Put a mark."""
        ...


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

    def mark(self, text: str, monotonic_ns: int) -> None:
        """Put a mark. Does not block."""

    def want_pause(self, is_paused: bool) -> None:
        """Pause or resume. Does not block."""


class ControlServer:
    """Answers requests about one camera, without keeping the camera alive."""

    def __init__(self, engine: CubeEngine, camera: ServedCamera, recording: ServedRecording | None = None) -> None:
        """Serve `camera`, which has this engine. Only a recording can be stopped by a request."""
        self._engine, self._camera, self._recording = engine, weakref.ref(camera), recording
        self.phase: Phase = "running"
        self.joint_name = ""
        """If the camera is one of several of a flight."""
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
                self._open_recording("stop").ask_to_stop()
                return Reply(Stopping())
            case Mark(text, monotonic_ns):
                return self._mark(text, monotonic_ns)
            case Pause() | Resume():
                is_paused = isinstance(message, Pause)
                self._open_recording("pause").want_pause(is_paused)
                return Reply(PauseNow(is_paused))
        raise RecordingError(f"unsupported request {type(message).__name__}")

    def slots(self) -> Reply[Slots]:
        """Open descriptors of the slots. RecordingError where the system does not support them."""
        about = self.about()
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
            joint_name=self.joint_name,
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

    def about(self) -> About:
        """What a reader of the slots needs. ClosedError after the camera was closed."""
        camera, kind = self._open_camera(), self._engine.kind
        label = Label.from_bytes(self._engine.filler.label)
        wavelengths = kind.wavelengths_nm
        dtype, settings = str(np.dtype(self._engine.slots.layout.dtype)), camera.settings.model
        return About(
            kind="camera" if self._recording is None else "recording",
            camera=kind.camera,
            save_dir=self._directory,
            level=kind.level,
            wavelengths_nm=None if wavelengths is None else tuple(np.asarray(wavelengths, float).tolist()),
            full_scale=None if camera.custom_tfms else full_scale(kind.level, dtype, settings.full_scale),
            exposure_ms=settings.exposure_ms,
            can_stop=self._recording is not None,
            prefix=label.prefix,
            suffix=label.suffix,
            settings=str(label.attributes.get("settings", "{}")),
        )

    def _mark(self, text: str, monotonic_ns: int) -> Reply[Marked]:
        camera = self._open_camera()
        if self._recording is None:
            camera.mark_at(text, monotonic_ns)
        else:
            self._recording.mark(text, monotonic_ns)
        return Reply(Marked())

    def _open_recording(self, verb: str) -> ServedRecording:
        self._open_camera()
        if self._recording is None:
            raise RecordingError(f"no request can {verb} a camera of a user's program: {verb} it in the program")
        return self._recording


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
