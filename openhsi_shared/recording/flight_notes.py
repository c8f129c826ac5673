"""What a recording writes into the log of the flight, in a thread of its own: a disk may be full, or hang."""

import os
import queue
import time
from collections.abc import Mapping
from typing import Any

from openhsi_shared.datacube.shared_openhsi import SharedOpenHSI
from openhsi_shared.files.flight_log import FlightLog, entry_of
from openhsi_shared.frames.losses import ranges_in_words
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.recording.joint import name_of
from openhsi_shared.recording.messages import RecordingSummary
from openhsi_shared.recording.plan import RecordingPlan
from openhsi_shared.settings import CameraSettings
from openhsi_shared.writer.handle import SaveHandle

__all__ = ["FlightNotes"]

logger = safe_logger(__name__)

MAX_WAITING = 20_000
"""Entries that wait for the disk; further ones are left out."""
POLL_INTERVAL_S = 1.0
"""How often it is looked whether a save has failed."""
STOP_TIMEOUT_S = 5.0
MAX_TOGETHER = 20
"""Entries of one write: encoding them must not keep the interpreter from the thread that captures."""
MAX_GAPS = 20
"""The newest lost frame ids, in an entry about a loss."""


class FlightNotes:
    """Entries of one recording. Its methods do not block, except `stop`."""

    def __init__(self, camera: SharedOpenHSI, plan: RecordingPlan) -> None:
        self._camera, self._settings = camera, camera.settings.model
        self._log = FlightLog(plan.save_dir)
        self._who = {"run_id": camera.run_id, **name_of(plan.joint)}
        self._waiting: queue.SimpleQueue[dict[str, Any] | SaveHandle | None] = queue.SimpleQueue()
        self._n_left_out, self._is_stopped = 0, False
        self._unsaved: list[SaveHandle] = []
        self._thread = GuardedThread(
            self._write, name="flight log", failure="nothing more is written into the log of the flight"
        )
        self._thread.start()
        self._note_start(plan)

    def note(self, kind: str, *, time_ns: int | None = None, **fields: Any) -> None:
        """Note an entry of now, or of a time in UTC."""
        if self._waiting.qsize() < MAX_WAITING:
            self._waiting.put(entry_of(kind, {**self._who, **fields}, time_ns or time.time_ns()))
        else:
            self._n_left_out += 1

    def _note_start(self, plan: RecordingPlan) -> None:
        rows, n_lines, bands = self._camera.dc_shape
        self.note(
            "start",
            camera=type(self._camera).__name__,
            process_id=os.getpid(),
            n_lines=n_lines,
            n_cross_track=rows,
            n_bands=bands,
            dtype=str(self._camera.dtype_out),
            n_cubes=plan.n_cubes,
            seconds=plan.seconds,
            options={name: str(value) for name, value in plan.camera_keywords.items() if name != "n_lines"},
            settings=_settings(self._settings),
        )

    def saved(self, cube: SaveHandle) -> None:
        """Note what was lost before and in a cube that is handed to the writer, and settings that have changed."""
        self._waiting.put(cube)
        if cube.lines_lost:
            ids = ranges_in_words(self._camera.status().lost_ids[-MAX_GAPS:])
            self.note("loss", cube=cube.name, lines_lost=cube.lines_lost, newest_frame_ids=ids)
        settings = self._camera.settings.model
        if settings is not self._settings:
            before, after = _settings(self._settings), _settings(settings)
            self._settings = settings
            changed = {key: value for key, value in after.items() if before.get(key) != value}
            if changed:
                self.note("settings", changed=changed)

    def stop(self, summary: RecordingSummary | None, ended_by: str) -> None:
        """Note the end, and wait until all is written; not longer than 5 s, if the disk hangs. Idempotent."""
        if self._is_stopped:
            return
        self._is_stopped = True
        found: Mapping[str, Any] = {}
        if summary is not None:
            events = {"events": summary.events, "lines_not_wanted": summary.lines_not_wanted}
            found = {
                "n_cubes": len(summary.paths),
                "lines": summary.lines,
                "lines_lost": summary.lines_lost,
                **(events if summary.events is not None else {}),
                "seconds": summary.seconds,
                "errors": summary.errors,
            }
        if ended_by:
            self.note("error", text=ended_by)
        self.note("stop", **found, ended_by=ended_by)
        self._waiting.put(None)
        self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            logger.warning("%s is not complete: its disk does not respond", self._log.path)
        elif self._n_left_out:
            logger.warning("%s is not complete: %d entries are left out", self._log.path, self._n_left_out)

    # ---- the thread ----

    def _write(self) -> None:
        is_open = True
        while is_open:
            entries = []
            for one in self._take():
                if isinstance(one, SaveHandle):
                    self._unsaved.append(one)
                elif one is None:
                    is_open = False
                else:
                    entries.append(one)
            entries += self._failed_saves()
            if entries:
                self._log.append(entries)

    def _take(self) -> list[dict[str, Any] | SaveHandle | None]:
        """What has come, after at most a second."""
        found = []
        try:
            found.append(self._waiting.get(timeout=POLL_INTERVAL_S))
            while len(found) < MAX_TOGETHER:
                found.append(self._waiting.get_nowait())
        except queue.Empty:
            pass
        return found

    def _failed_saves(self) -> list[dict[str, Any]]:
        done = [cube for cube in self._unsaved if not cube.is_alive()]
        self._unsaved = [cube for cube in self._unsaved if cube.is_alive()]
        failed = [(cube.name, str(cube.error)) for cube in done if cube.error is not None]
        return [entry_of("error", {**self._who, "cube": name, "text": text}, time.time_ns()) for name, text in failed]


def _settings(settings: CameraSettings) -> dict[str, Any]:
    return {key: value for key, value in settings.model_dump().items() if value is not None}
