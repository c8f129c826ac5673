"""A small flight with everything that a report shows: a real recording, with its log, in one directory."""

import math
import threading
import time
from pathlib import Path
from typing import Any

from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.channels.callback import CallbackChannel
from openhsi_shared.channels.gps_fields import FIELDS
from openhsi_shared.channels.simulated import SimulatedChannel
from openhsi_shared.files.flight_log import FlightLog
from tests.support.helpers import wait_for

FRAMES: dict[str, Any] = {"resolution": (32, 40), "cal_path": "", "light": 1200.0, "dark": (60, 1), "noise": 3.0}
FRAMES |= {"exposure_ms": 2.0, "rate": 300.0, "queue": 3000, "celsius": (31.0, 20.0), "pixel_format": "Mono12"}
MARKS = ("start of line 1", "<script>document.title = 'marked'</script>")
GPS_PERIOD_S, GPS_AHEAD_S = 0.05, 1.25


def position(seconds: float) -> tuple[float, ...]:
    """A circle of 100 m, once in 20 s, that climbs."""
    angle = 2 * math.pi * seconds / 20
    north, east = 100 * math.sin(angle), 100 * (1 - math.cos(angle))
    course = math.degrees(math.atan2(math.sin(angle), math.cos(angle))) % 360
    place = (-33.86 + north / 111_320, 151.21 + east / 92_500, 120.0 + seconds)
    return (*place, 200 * math.pi / 20, course, *(math.nan,) * 3, 1.0, 11.0, 0.9, 3.0)


class _Receiver:
    """A GPS that is played into a channel; its clock is ahead."""

    def __init__(self) -> None:
        self.channel = CallbackChannel("gps", fields=FIELDS, clock="fit", speaks_on_change=False, rate=1 / GPS_PERIOD_S)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play)

    def _play(self) -> None:
        begin = time.time()
        while not self._stop.wait(GPS_PERIOD_S):
            now = time.time()
            self.channel.push(position(now - begin), now + GPS_AHEAD_S)

    def __enter__(self) -> "_Receiver":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()


def fly(directory: Path, *, seconds: float = 1.5, n_lines: int = 100, **more: Any) -> None:
    """A plan (as an entry of the log), references, marks, a pause, channels, and a camera that loses frames."""
    directory.mkdir(parents=True, exist_ok=True)
    FlightLog(directory).note(
        "plan", holds=True, problems=[], rate=300.0, queue=30, n_lines=n_lines, n_buffers=4, compression=None,
        margin=3.0, stall_s=2.0, minutes=500.0, lines_lost_per_minute=0.0,
    )  # fmt: skip
    keywords = FRAMES | {"n_lines": n_lines} | more
    covered = keywords | {"light": 0.001}
    with SharedSimulatedCamera(**covered) as camera:
        camera.take_reference("dark", 20, directory)
    with SharedSimulatedCamera(**keywords | {"mode": "flat"}) as camera:
        camera.take_reference("white", 20, directory)
    lamp = SimulatedChannel("lamp", "sine", 50.0, {0.6: "silence", 1.8: "good"}, unit="W")
    script = {60: "gap", 61: "gap", 150: "incomplete"}
    with _Receiver() as receiver:
        channels = {"gps": receiver.channel, "lamp": lamp}
        with record(
            SharedSimulatedCamera, directory, n_buffers=4, when_full="block", channels=channels, script=script,
            progress=False, **keywords,
        ) as run:  # fmt: skip
            wait_for(lambda: run.status().lines > 300 * seconds / 2)
            run.mark(MARKS[0])
            run.pause()
            wait_for(lambda: run.status().is_paused)
            time.sleep(0.2)
            run.resume()
            lines = run.status().lines
            wait_for(lambda: run.status().lines > lines + 300 * seconds / 2)
            run.mark(MARKS[1])
