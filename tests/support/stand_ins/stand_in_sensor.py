"""Cameras for the stand-ins of vendors' packages: a sensor that runs by itself, its queue, and its features.

The stand-ins beside this file have the names and the behaviour of the real packages, as far as they are public, and
none of their code. Their frames are made here. There is no thread: on each call a sensor computes which frames were
taken since the last one, and which of them were lost because the queue was full.

In another process a camera is configured by the environment: STAND_IN_PERIOD_MS (time between frames) and
STAND_IN_UNPLUG_AFTER (a frame number).
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

READOUT_S = 0.0005


class Unplugged(Exception):
    """The cable was pulled."""


def scene(number: int, rows: int, columns: int) -> np.ndarray:
    """The full frame `number` of the sensor, 12 bits: every pixel identifies the frame and its position."""
    return ((number * 101 + 13 * np.arange(rows)[:, None] + np.arange(columns)) % 4096).astype(np.uint16)


@dataclass
class Shot:
    number: int
    time_us: int
    image: np.ndarray
    is_whole: bool = True


class Sensor:
    """A sensor of 12 bits, with its window, its queue and its clock."""

    def __init__(self, serial: str, model: str, rows: int = 48, columns: int = 80) -> None:
        self.serial, self.model, self.rows, self.columns = serial, model, rows, columns
        self.render: Callable[[int, int, int], np.ndarray] = scene
        self.first_number, self.period_of_numbers = 0, 2**64
        self.time_us_at_start = 0
        self.is_plugged = True
        self.is_on_call = False
        self.period_s: float | None = None
        self.broken: set[int] = set()
        self.lost_on_the_way: set[int] = set()
        self.unplug_after: int | None = None
        self.is_open = self.is_streaming = False
        self.calls: list[Any] = []
        self._changed = threading.Condition()
        self.power_on()
        if period := os.environ.get("STAND_IN_PERIOD_MS"):
            self.period_s = float(period) / 1000
        if last := os.environ.get("STAND_IN_UNPLUG_AFTER"):
            self.unplug_after = int(last)

    def power_on(self) -> None:
        self.bin_x = self.bin_y = 1
        self.width, self.height, self.offset_x, self.offset_y = self.columns, self.rows, 0, 0
        self.exposure_us, self.gain_db, self.is_flipped = 1000.0, 6.0, False
        self.is_auto = True
        self.n_shot = self.n_skipped = self.n_lost_on_the_way = 0
        self._queue: deque[Shot] = deque()

    # ---- streaming ----

    def start(self, queue: int) -> None:
        self.n_queue = queue
        self._queue.clear()
        self.n_shot = self.n_skipped = self.n_lost_on_the_way = 0
        self._began = self._due = time.monotonic()
        self._due += self._period()
        self.is_streaming = True

    def stop(self) -> None:
        self.is_streaming = False

    def expose(self, n: int = 1) -> None:
        """Take frames, of a triggered camera."""
        with self._changed:
            for _ in range(n):
                self._shoot(time.monotonic())
            self._changed.notify_all()

    def unplug(self) -> None:
        with self._changed:
            self.is_plugged = False
            self._changed.notify_all()

    def take(self, timeout_s: float) -> Shot | None:
        """Wait for the oldest frame in the queue."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                now = time.monotonic()
                while not self.is_on_call and self._due <= now:
                    self._shoot(self._due)
                    self._due += self._period()
                if not self.is_plugged:
                    raise Unplugged
                if self._queue:
                    return self._queue.popleft()
                if now >= deadline:
                    return None
                until = deadline if self.is_on_call else min(deadline, self._due)
                self._changed.wait(max(0.0, until - now))

    @property
    def n_waiting(self) -> int:
        return len(self._queue)

    def _period(self) -> float:
        return self.period_s or self.exposure_us * 1e-6 + READOUT_S

    def _shoot(self, when: float) -> None:
        count = self.n_shot
        self.n_shot += 1
        if self.unplug_after is not None and count >= self.unplug_after:
            self.is_plugged = False
        elif count in self.lost_on_the_way:
            self.n_lost_on_the_way += 1
        elif len(self._queue) >= self.n_queue:
            self.n_skipped += 1
        else:
            number = self.first_number + count
            if self.period_of_numbers < 2**32:  # GigE Vision: 1 to 65535
                number = (number - 1) % self.period_of_numbers + 1
            else:
                number %= self.period_of_numbers
            time_us = self.time_us_at_start + round((when - self._began) * 1e6)
            self._queue.append(Shot(number, time_us, self.image(count), count not in self.broken))

    def image(self, count: int) -> np.ndarray:
        """The image that the sensor sends: binned, cropped, flipped."""
        full = self.render(count, self.rows, self.columns).astype(np.uint32)
        rows, columns = self.rows // self.bin_y, self.columns // self.bin_x
        full = full[: rows * self.bin_y, : columns * self.bin_x]
        full = full.reshape(rows, self.bin_y, columns, self.bin_x).sum((1, 3))
        image = np.minimum(full, 4095).astype(np.uint16)
        image = image[self.offset_y : self.offset_y + self.height, self.offset_x : self.offset_x + self.width]
        return np.ascontiguousarray(image[:, ::-1] if self.is_flipped else image)


class Bench:
    """The connected cameras."""

    def __init__(self) -> None:
        self.sensors = [Sensor("10000001", "Model A"), Sensor("10000002", "Model B")]

    def found(self) -> list[Sensor]:
        return [sensor for sensor in self.sensors if sensor.is_plugged]


BENCH = Bench()


def reset() -> Bench:
    """Connect two new cameras."""
    BENCH.__init__()
    return BENCH


# ---- pixels on the wire ----


def on_the_wire(image: np.ndarray, pixel_format: str) -> bytes:
    """The bytes of an image of 12 bits in a GenICam pixel format; bit by bit, for clarity, not speed."""
    bits = int("".join(c for c in pixel_format if c.isdigit()))
    pixels = (image >> (12 - bits)).astype(np.uint16) if bits < 12 else image
    if bits == 8:
        return pixels.astype(np.uint8).tobytes()
    if pixel_format.endswith("p"):
        stream = (pixels.reshape(-1, 1) >> np.arange(bits)) & 1
        return np.packbits(stream.reshape(-1).astype(np.uint8), bitorder="little").tobytes()
    if pixel_format.endswith("Packed"):
        low = bits - 8
        flat = [int(value) for value in pixels.reshape(-1)] + [0] * (pixels.size % 2)
        packed = bytearray()
        for first, second in zip(flat[::2], flat[1::2], strict=True):
            mask = (1 << low) - 1
            packed += bytes([first >> low, (first & mask) | (second & mask) << 4, second >> low])
        return bytes(packed)
    return pixels.astype("<u2").tobytes()


# ---- features of GenICam ----


@dataclass
class Node:
    """A feature. Kinds are the numbers of GenICam's interface types."""

    name: str
    kind: int
    get: Callable[[], Any]
    set: Callable[[Any], None] | None = None
    low: Callable[[], float] = lambda: 0
    high: Callable[[], float] = lambda: 0
    step: float = 0
    entries: list[str] = field(default_factory=list)
    is_locked: Callable[[], bool] = lambda: False

    @property
    def is_writable(self) -> bool:
        return self.set is not None and not self.is_locked()

    def put(self, value: Any) -> None:
        """Set it. ValueError for a value that a camera would reject."""
        if not self.is_writable:
            raise ValueError(f"Node is not writable. Node '{self.name}'")
        if self.kind in (2, 5) and not self.low() <= value <= self.high():
            raise ValueError(f"Value {value} must be in {self.low()} to {self.high()}. Node '{self.name}'")
        if self.kind == 2 and self.step and (value - self.low()) % self.step:
            raise ValueError(f"Value {value} must be a multiple of {self.step}. Node '{self.name}'")
        if self.kind == 9 and value not in self.entries:
            raise ValueError(f"Entry {value} does not exist. Node '{self.name}'")
        self.set(value)


INTEGER, BOOLEAN, COMMAND, FLOAT, STRING, ENUMERATION = 2, 3, 4, 5, 6, 9
FORMATS = ["Mono8", "Mono10", "Mono10p", "Mono10Packed", "Mono12", "Mono12p", "Mono12Packed", "Mono16", "BayerRG8"]


def nodes_of(sensor: Sensor, formats: list[str] = FORMATS) -> dict[str, Node]:
    """Features of a camera with this sensor; windows are aligned to a grid, and locked while it streams."""
    extra: dict[str, Any] = {"PixelFormat": formats[0], "ExposureAuto": "Continuous", "GainAuto": "Continuous"}
    extra |= {"AcquisitionFrameRateEnable": True, "TriggerMode": "On", "GammaEnable": True}

    def streams() -> bool:
        return sensor.is_streaming

    def pick(name: str) -> dict[str, Callable[..., Any]]:
        return {"get": lambda: extra[name], "set": lambda value: extra.__setitem__(name, value)}

    def field_of(name: str) -> dict[str, Callable[..., Any]]:
        return {"get": lambda: getattr(sensor, name), "set": lambda value: setattr(sensor, name, value)}

    def bin_to(name: str, value: int) -> None:
        setattr(sensor, name, value)
        sensor.width, sensor.height = sensor.columns // sensor.bin_x, sensor.rows // sensor.bin_y
        sensor.offset_x = sensor.offset_y = 0

    def expose_for(value: float) -> None:
        if extra["ExposureAuto"] != "Off":
            raise ValueError("Node is not writable. Node 'ExposureTime'")
        sensor.exposure_us = round(value / 10) * 10.0

    def window(name: str, attribute: str, most: Callable[[], float], low: int, step: int) -> Node:
        return Node(name, INTEGER, **field_of(attribute), low=lambda: low, high=most, step=step, is_locked=streams)

    def columns() -> int:
        return sensor.columns // sensor.bin_x

    def rows() -> int:
        return sensor.rows // sensor.bin_y

    nodes = [
        window("Width", "width", lambda: columns() - sensor.offset_x, 8, 4),
        window("Height", "height", lambda: rows() - sensor.offset_y, 2, 2),
        window("OffsetX", "offset_x", lambda: columns() - sensor.width, 0, 4),
        window("OffsetY", "offset_y", lambda: rows() - sensor.height, 0, 2),
        Node("PixelFormat", ENUMERATION, **pick("PixelFormat"), entries=formats, is_locked=streams),
        Node(
            "ExposureTime",
            FLOAT,
            lambda: sensor.exposure_us,
            expose_for,
            lambda: 20.0,
            lambda: 1e6,
        ),
        Node("Gain", FLOAT, **field_of("gain_db"), high=lambda: 24.0),
        Node("AcquisitionFrameRateEnable", BOOLEAN, **pick("AcquisitionFrameRateEnable")),
        Node("GammaEnable", BOOLEAN, **pick("GammaEnable")),
        Node("DeviceTemperature", FLOAT, lambda: 31.5),
        Node("DeviceUserID", STRING, lambda: "the one at the window"),
    ]
    for name, attribute in (("BinningHorizontal", "bin_x"), ("BinningVertical", "bin_y")):
        nodes.append(
            Node(
                name,
                INTEGER,
                lambda attribute=attribute: getattr(sensor, attribute),
                lambda value, attribute=attribute: bin_to(attribute, value),
                lambda: 1,
                lambda: 4,
                1,
                is_locked=streams,
            )
        )
    for name, entries in (
        ("ExposureAuto", ["Off", "Once", "Continuous"]),
        ("GainAuto", ["Off", "Once", "Continuous"]),
        ("TriggerMode", ["Off", "On"]),
    ):
        nodes.append(Node(name, ENUMERATION, **pick(name), entries=entries))
    return {node.name: node for node in nodes}
