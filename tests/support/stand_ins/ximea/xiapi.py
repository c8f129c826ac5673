"""A stand-in for `ximea.xiapi`: the calls that a recording needs, with XIMEA's names, units and error codes.

Written from XIMEA's public documents. What it does not imitate: colours, triggers, the many other parameters.
"""

import ctypes
from typing import Any

import numpy as np
from stand_in_sensor import BENCH, Sensor, Unplugged, on_the_wire

ERROR_CODES = {
    1: "Invalid handle",
    10: "Timeout",
    11: "Invalid arguments supplied",
    12: "Not supported",
    41: "Acquisition already started",
    45: "Acquisition is stopped. It needs to be started to perform operation.",
    46: "Acquisition has been stopped with an error.",
    56: "No Devices Found",
    57: "Resource (device) or function locked by mutex",
    100: "Unknown parameter",
    101: "Wrong parameter value",
    106: "Parameter is not supported",
    114: "Parameter value cannot be set (might be out of range or invalid).",
}
RAW8, RAW16, TRANSPORT = 5, 6, 7
FORMATS = {"XI_MONO8": 0, "XI_MONO16": 1, "XI_RAW8": RAW8, "XI_RAW16": RAW16, "XI_FRM_TRANSPORT_DATA": TRANSPORT}
LINE_PADDING = 0
"""Bytes behind each line of the API's own buffers."""


class Xi_error(Exception):
    def __init__(self, status: int) -> None:
        self.status, self.descr = status, ERROR_CODES[status]

    def __str__(self) -> str:
        return f"ERROR {self.status}: {self.descr}"


class Image(ctypes.Structure):
    """XI_IMG; `bp` may be a buffer of the caller, with the buffer policy XI_BP_SAFE."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("bp", ctypes.c_void_p),
        ("bp_size", ctypes.c_uint32),
        ("frm", ctypes.c_uint32),
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("nframe", ctypes.c_uint32),
        ("tsSec", ctypes.c_uint32),
        ("tsUSec", ctypes.c_uint32),
        ("GPI_level", ctypes.c_uint32),
        ("black_level", ctypes.c_uint32),
        ("padding_x", ctypes.c_uint32),
        ("exposure_time_us", ctypes.c_uint32),
        ("gain_db", ctypes.c_float),
        ("acq_nframe", ctypes.c_uint32),
    ]

    def __init__(self) -> None:
        self.size = ctypes.sizeof(self)

    def get_bytes_per_pixel(self) -> int:
        return 1 if self.frm in (0, RAW8) else 2

    def get_image_data_numpy(self, invert_rgb_order: bool = False) -> np.ndarray:
        """A copy, without the padding of lines."""
        dtype = np.uint8 if self.get_bytes_per_pixel() == 1 else np.uint16
        pitch = self.width * dtype().itemsize + self.padding_x
        lines = np.frombuffer(ctypes.string_at(self.bp, pitch * self.height), np.uint8).reshape(self.height, pitch)
        return np.ascontiguousarray(lines[:, : pitch - self.padding_x]).view(dtype)


class Camera:
    def __init__(self, dev_id: int = 0) -> None:
        self.dev_id, self.CAM_OPEN = dev_id, False
        self._sensor: Sensor | None = None
        self._kept = b""

    # ---- opening ----

    def open_device(self) -> None:
        self._open(BENCH.found()[self.dev_id : self.dev_id + 1])

    def open_device_by_SN(self, serial_number: str) -> None:
        if type(serial_number) is not str:
            raise TypeError("serial_number must be a string")
        self._open([sensor for sensor in BENCH.found() if sensor.serial == serial_number])

    def _open(self, found: list[Sensor]) -> None:
        if self.CAM_OPEN:
            raise RuntimeError("Camera already open. Create new instance to open next camera")
        if not found:
            raise Xi_error(56)
        if found[0].is_open:
            raise Xi_error(57)
        self._sensor, self.CAM_OPEN = found[0], True
        found[0].power_on()
        found[0].is_open = True
        self._is_padded = self._is_concatenated = False
        self._format, self._policy, self._queue_size, self._bits = "XI_MONO8", "XI_BP_UNSAFE", 4, 10
        self._has_recent_frame, self._counter, self._n_concatenated = True, "XI_CNT_SEL_API_SKIPPED_FRAMES", 1
        self._nframe = 0

    def close_device(self) -> None:
        sensor = self._gripped()
        sensor.is_open, self.CAM_OPEN, self._sensor = False, False, None
        sensor.stop()

    def get_number_devices(self) -> int:
        return len(BENCH.found())

    def get_device_sn(self) -> bytes:
        return self._alive().serial.encode()

    def get_device_name(self) -> bytes:
        return self._alive().model.encode()

    def _gripped(self) -> Sensor:
        if self._sensor is None:
            raise Xi_error(1)
        return self._sensor

    def _alive(self, *call: Any) -> Sensor:
        sensor = self._gripped()
        if call:
            sensor.calls.append(call)
        if not sensor.is_plugged:
            raise Xi_error(1)
        return sensor

    # ---- parameters ----

    def enable_horizontal_flip(self) -> None:
        self._alive("horizontal_flip").is_flipped = True

    def disable_aeag(self) -> None:
        self._alive("aeag").is_auto = False

    def enable_output_bit_packing(self) -> None:
        self._alive("output_bit_packing", 1)

    def disable_output_bit_packing(self) -> None:
        self._alive("output_bit_packing", 0)

    def set_output_bit_depth(self, depth: str) -> None:
        self._alive("output_bit_depth", depth)
        self._bits = int(depth.removeprefix("XI_BPP_"))
        if self._bits > 12:
            raise Xi_error(101)

    def get_output_bit_depth(self) -> str:
        self._gripped()
        return f"XI_BPP_{self._bits}"

    def set_imgdataformat(self, name: str) -> None:
        self._alive("imgdataformat", name)
        if name not in FORMATS:
            raise Xi_error(101)
        self._format = name

    def enable_recent_frame(self) -> None:
        self._has_recent_frame = True

    def disable_recent_frame(self) -> None:
        self._has_recent_frame = False

    def set_buffers_queue_size(self, size: int) -> None:
        self._alive("buffers_queue_size", size)
        self._queue_size = size

    def set_buffer_policy(self, policy: str) -> None:
        self._alive("buffer_policy", policy)
        self._policy = policy

    def get_imgpayloadsize(self) -> int:
        return self._pitch() * self._alive().height * self._n_concatenated

    def set_gain_direct(self, decibel: float) -> None:
        self._alive("gain", decibel).gain_db = decibel

    def get_exposure(self) -> int:
        return int(self._alive().exposure_us)

    def get_exposure_minimum(self) -> int:
        return 20

    def get_exposure_maximum(self) -> int:
        return 1_000_000

    def set_exposure_direct(self, microseconds: int) -> None:
        sensor = self._alive("exposure", microseconds)
        if not 20 <= microseconds <= 1_000_000 or sensor.is_auto:
            raise Xi_error(114)
        sensor.exposure_us = round(microseconds / 7) * 7
        self._nframe = 0  # restarts, unlike acq_nframe

    def set_binning_vertical_mode(self, mode: str) -> None:
        self._alive("binning_vertical_mode", mode)

    def set_binning_horizontal_mode(self, mode: str) -> None:
        self._alive("binning_horizontal_mode", mode)

    def set_binning_vertical(self, factor: int) -> None:
        self._bin("bin_y", factor)

    def set_binning_horizontal(self, factor: int) -> None:
        self._bin("bin_x", factor)

    def _bin(self, which: str, factor: int) -> None:
        sensor = self._alive(which, factor)
        if not 1 <= factor <= 4:
            raise Xi_error(114)
        setattr(sensor, which, factor)
        sensor.width, sensor.height = sensor.columns // sensor.bin_x, sensor.rows // sensor.bin_y
        sensor.offset_x = sensor.offset_y = 0

    def _set_window(self, name: str, value: int, step: int, most: int) -> None:
        sensor = self._alive(name, value)
        if value % step or value > most or value < 0 or sensor.is_streaming:
            raise Xi_error(114)
        setattr(sensor, name, value)

    def get_width(self) -> int:
        return self._alive().width

    def get_width_increment(self) -> int:
        return 4

    def get_width_maximum(self) -> int:
        sensor = self._alive()
        return sensor.columns // sensor.bin_x

    def set_width(self, value: int) -> None:
        self._set_window("width", value, 4, self.get_width_maximum() - self._alive().offset_x)

    def get_height(self) -> int:
        return self._alive().height

    def get_height_increment(self) -> int:
        return 2

    def get_height_maximum(self) -> int:
        sensor = self._alive()
        return sensor.rows // sensor.bin_y

    def set_height(self, value: int) -> None:
        self._set_window("height", value, 2, self.get_height_maximum() - self._alive().offset_y)

    def get_offsetX(self) -> int:
        return self._alive().offset_x

    def get_offsetX_increment(self) -> int:
        return 4

    def get_offsetX_maximum(self) -> int:
        return self.get_width_maximum() - self._alive().width

    def set_offsetX(self, value: int) -> None:
        self._set_window("offset_x", value, 4, self.get_offsetX_maximum())

    def get_offsetY(self) -> int:
        return self._alive().offset_y

    def get_offsetY_increment(self) -> int:
        return 2

    def get_offsetY_maximum(self) -> int:
        return self.get_height_maximum() - self._alive().height

    def set_offsetY(self, value: int) -> None:
        self._set_window("offset_y", value, 2, self.get_offsetY_maximum())

    def get_temp(self) -> float:
        self._alive()
        return 33.25

    def get_framerate(self) -> float:
        return 1.0 / self._alive()._period()

    def set_counter_selector(self, name: str) -> None:
        self._alive()
        self._counter = name

    def get_counter_value(self) -> int:
        sensor = self._alive()
        counters = {
            "XI_CNT_SEL_API_SKIPPED_FRAMES": sensor.n_skipped,
            "XI_CNT_SEL_TRANSPORT_SKIPPED_FRAMES": sensor.n_lost_on_the_way,
        }
        return counters[self._counter]

    def get_param(self, name: str, buffer_size: int = 256) -> Any:
        if name == "isexist":
            return self._gripped().is_plugged
        if name == "concat_img_transport_img_offset":
            return self._pitch() * self._alive().height
        raise Xi_error(100)

    def set_param(self, name: str, value: Any) -> None:
        sensor = self._alive(name, value)
        if name == "concat_img_count":
            self._n_concatenated = value
        elif name == "concat_img_mode":
            self._is_concatenated = bool(value)
        elif name == "framerate":
            sensor.period_s = 1.0 / value
        elif name not in ("acq_timing_mode", "trigger_source"):
            raise Xi_error(100)

    # ---- acquisition ----

    def _pitch(self) -> int:
        sensor = self._alive()
        return sensor.width * (1 if self._format.endswith("8") else 2) + LINE_PADDING

    def start_acquisition(self) -> None:
        sensor = self._alive("start")
        if sensor.is_streaming:
            raise Xi_error(41)
        sensor.start(self._queue_size)
        self._nframe = 0

    def stop_acquisition(self) -> None:
        sensor = self._alive("stop")
        if not sensor.is_streaming:
            raise Xi_error(45)
        sensor.stop()

    def get_image(self, image: Image, timeout: int = 5000) -> None:
        """Wait `timeout` milliseconds."""
        sensor = self._gripped()
        if not sensor.is_streaming:
            raise Xi_error(45)
        shots = []
        for _ in range(self._n_concatenated if self._is_concatenated else 1):
            try:
                shot = sensor.take(timeout / 1000)
            except Unplugged:
                raise Xi_error(46) from None
            if shot is None:
                raise Xi_error(10)
            shots.append(shot)
        self._fill(image, sensor, shots)

    def _fill(self, image: Image, sensor: Sensor, shots: list[Any]) -> None:
        is_8 = self._format.endswith("8")
        padding = bytes(LINE_PADDING)
        lines = [on_the_wire(line, "Mono8" if is_8 else "Mono12") + padding for shot in shots for line in shot.image]
        data = b"".join(lines)
        if self._policy == "XI_BP_SAFE" and image.bp and image.bp_size:
            if image.bp_size < len(data):
                raise Xi_error(11)
            ctypes.memmove(image.bp, data, len(data))
        else:
            self._kept = data
            image.bp = ctypes.cast(ctypes.c_char_p(self._kept), ctypes.c_void_p).value
        clock = shots[0].time_us % 2**32
        self._nframe += len(shots)
        image.frm, image.width, image.height = FORMATS[self._format], sensor.width, sensor.height
        image.nframe, image.acq_nframe, image.padding_x = self._nframe, shots[0].number % 2**32, LINE_PADDING
        image.tsSec, image.tsUSec = divmod(clock, 1_000_000)
        image.exposure_time_us, image.gain_db = int(sensor.exposure_us), sensor.gain_db
