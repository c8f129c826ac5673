"""What visitors at the door of a camera are told, be it in a recording or in a user's program."""

import os
import re
import shutil
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from openhsi_shared.buffers.tap import export_slots
from openhsi_shared.datacube.shared_data_cube import SharedDataCube
from openhsi_shared.datacube.status import Status
from openhsi_shared.errors import RecordingError
from openhsi_shared.processes.control_socket import Answer, ControlSocket
from openhsi_shared.processes.logs import safe_logger
from openhsi_shared.processing_levels import LEVELS
from openhsi_shared.viewer.live_page import LivePage

__all__ = ["ControlServer", "page_of"]

logger = safe_logger(__name__)

MOST_GAPS = 100
"""A glance tells so many of the newest gaps: it is asked twice a second, and must cost the recording nothing."""
LOOKS_STILL_S = 1.5
"""Who asked no longer ago than this is still there."""


class ControlServer:
    """Answers what is asked at the door of one camera, without keeping the camera alive.

    "status": everything; "glance": the same, with the newest gaps only, and with `phase`; "slots": read-only
    descriptors of its memory, and what one has to know to understand it; "stop": end in good order.
    """

    def __init__(
        self,
        camera: SharedDataCube,
        kind: Literal["recording", "camera"],
        save_dir: Callable[[SharedDataCube], str],
        status: Callable[[SharedDataCube], Status],
        stop: Callable[[], Any] | None = None,
    ) -> None:
        """`status` and `save_dir` are given the camera; `stop` must not block. None: it cannot be stopped from here."""
        self._camera = weakref.ref(camera)
        self._kind, self._save_dir, self._status, self._stop = kind, save_dir, status, stop
        self.phase = "running"
        """Or "ending", or "ended"."""
        self.ended_by = ""
        self._changed = threading.Condition()
        self._last_glance = -LOOKS_STILL_S
        self._has_heard = False

    def answer(self, ask: str) -> Answer:
        """What a visitor gets."""
        camera = self._camera()
        if camera is None or camera._engine.is_closed:
            return Answer({"error": "the camera is closed"})
        if ask == "status":
            return Answer(asdict(self._status(camera)))
        if ask == "glance":
            return Answer(self._glance(camera))
        if ask == "slots":
            return _slots(camera, self._about(camera))
        if ask == "stop":
            return self._ask_to_stop()
        return Answer({"error": f"{ask!r} is not known; ask for 'status', 'glance', 'slots' or 'stop'"})

    def _ask_to_stop(self) -> Answer:
        if self._stop is None:
            return Answer({"error": "this camera belongs to a program: stop it there"})
        self._stop()
        return Answer({"stopping": True})

    def say_goodbye(self, ended_by: str = "", patience_s: float = 1.0) -> None:
        """Let those who look hear that it has ended. Blocks until one has, `patience_s` at most, if anybody looks."""
        with self._changed:
            self.phase, self.ended_by, self._has_heard = "ended", ended_by, False
            if time.monotonic() - self._last_glance < LOOKS_STILL_S:
                self._changed.wait_for(lambda: self._has_heard, patience_s)

    def _glance(self, camera: SharedDataCube) -> dict[str, Any]:
        status = self._status(camera)
        words = dict(vars(status))  # not asdict: that copies ten thousand gaps
        gaps = words.pop("lost_ids")
        words |= {"newest_gaps": gaps[-MOST_GAPS:], "n_gaps": len(gaps), "phase": self.phase, "ended_by": self.ended_by}
        words |= {"kind": self._kind, "camera": type(camera).__name__, "save_dir": self._save_dir(camera)}
        words["program_id"] = os.getppid() if self._kind == "recording" else os.getpid()  # the one that a user knows
        if "disk_minutes_left" not in words:
            words["disk_minutes_left"] = _minutes_left(self._save_dir(camera), status.rate * _line_bytes(camera))
        with self._changed:
            self._last_glance = time.monotonic()
            if self.phase == "ended":
                self._has_heard = True
                self._changed.notify_all()
        return words

    def _about(self, camera: SharedDataCube) -> dict[str, Any]:
        anchor = camera._engine.filler.clock.anchor
        wavelengths = camera.wavelengths_nm
        return {
            "kind": self._kind,
            "process_id": os.getpid(),
            "camera": type(camera).__name__,
            "save_dir": self._save_dir(camera),
            "level": camera.processing_lvl,
            "wavelengths_nm": None if wavelengths is None else np.asarray(wavelengths, float).tolist(),
            "full_scale": _full_scale(camera),
            "settings": camera.settings.model.model_dump(),
            "anchor_wall_ns": anchor.wall_ns,
            "anchor_monotonic_ns": anchor.monotonic_ns,
            "can_stop": self._stop is not None,
        }


def page_of(camera: SharedDataCube, open_browser: bool, port: int) -> LivePage:
    """Open the live page of a camera of this program, at whose door others may look until it is closed."""
    engine = camera._engine
    engine.check_usable()
    if engine.door is None:
        visitors = ControlServer(camera, "camera", lambda seen: seen._engine.last_directory, lambda seen: seen.status())
        try:
            door = ControlSocket(f"camera-{os.getpid()}-{id(camera):x}", visitors.answer)
        except (OSError, AttributeError) as error:
            raise RecordingError(f"this camera cannot be looked at, its door did not open: {error}") from error
        engine.door = door.path
        engine.at_close.callback(door.close)
    return LivePage(engine.door, open_browser=open_browser, port=port)


def _slots(camera: SharedDataCube, about: dict[str, Any]) -> Answer:
    exported, descriptors = export_slots(camera.slot_memory)
    return Answer(asdict(exported) | {"about": about}, descriptors)


def _line_bytes(camera: SharedDataCube) -> int:
    rows, _, bands = camera.dc_shape
    return rows * bands * np.dtype(camera.dtype_out).itemsize


def _minutes_left(directory: str, bytes_per_s: float) -> float:
    """Minutes until the disk is full; NaN where nothing was saved yet."""
    try:
        free = shutil.disk_usage(directory).free if directory else None
    except OSError:  # it has vanished: that is told by the save that fails
        free = 0
    if free is None:
        return float("nan")
    return free / bytes_per_s / 60 if bytes_per_s > 0 else float("inf")


def _full_scale(camera: SharedDataCube) -> int | None:
    """The number at which a pixel is full, as far as the pixel format says so; None where lines are no numbers of it.

    Where bands are made, several pixels may have been added up.
    """
    if LEVELS[camera.processing_lvl].binning or camera.dtype_out.kind != "u" or camera.custom_tfms:
        return None
    bits = re.search(r"(8|10|12|14|16)", camera.settings.model.pixel_format or "")
    return min((1 << int(bits[1])) - 1 if bits else 65535, int(np.iinfo(camera.dtype_out).max))
