"""XIMEA cameras, through XIMEA's package `ximea`, which is part of their software and not on PyPI.

Notes:
- A frame's id is `acq_nframe`, 32 bits, which restarts only when the acquisition starts; `nframe` also restarts with a
  change of exposure or gain, and does not show losses.
- The camera's clock has 32 bits of microseconds, reported as seconds 0 to 4294: it is unwrapped here.
- Exposure is rounded by the sensor: it is read back. Windows are aligned to a grid. Frames are flipped horizontally.
- The API queues `buffers_queue_size` frames and would return the newest first with `recent_frame`: it is disabled. The
  numbers of frames skipped by the API and the transport are in `skipped_at_start` and `skipped_at_end`.
- With the buffer policy "unsafe", XIMEA's default, a frame may be overwritten while it is read. With "safe" the API
  copies it, here directly into `out`.
- PCIe cameras can transfer many frames in one buffer: `images_per_buffer`. Then the API does no processing, so pixels
  are not packed, and flipping depends on the camera.
- Only one process at a time may enumerate cameras or have one open. After a crash the camera may need to be replugged.
- To limit the rate: `nodes={"acq_timing_mode": "XI_ACQ_TIMING_MODE_FRAME_RATE", "framerate": 250.0}`; nodes are XIMEA's
  parameters.
"""

import ctypes
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.drivers import FrameStamp
from openhsi_shared.drivers.base_driver import ConnectedDriver, Connection, Unpack, cannot_be_opened
from openhsi_shared.drivers.features import Feature, set_window
from openhsi_shared.drivers.packed import PIXEL_FORMATS, PixelFormat
from openhsi_shared.drivers.ximea_features import Exposure, WindowNumber
from openhsi_shared.errors import ArgumentError, CameraNotFound, SettingsError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.near_names import nearest_name
from openhsi_shared.settings import CameraSettings

try:
    from ximea import xiapi
except (ImportError, OSError) as error:  # OSError: XIMEA's library is missing
    raise ImportError(
        f"{error}; it comes with XIMEA's software package (https://www.ximea.com/support): install that, and add its "
        "folder api/Python/v3/ximea to Python's path",
        name="ximea",
    ) from error

__all__ = ["XimeaDriver"]

logger = safe_logger(__name__)

XIMEA_ERRORS: tuple[type[Exception], ...] = (xiapi.Xi_error, RuntimeError)
"""RuntimeError: raised by the package for a camera that is already open, or not open."""
TIMEOUT, NO_DEVICE = 10, 56
UNSUPPORTED = {12, 26, 100, 106, 107}
"""Error codes of parameters that the camera or version does not support."""
STILL_CONNECTED = {11, 15, 36, 44, 45, 58, 101, 105, 108, 201, 202, 203, 204, 205}
"""Error codes of `get_image` with the camera connected. All others mean that it was disconnected."""
FORMATS = {"XI_RAW16": "Mono16", "XI_RAW8": "Mono8", "XI_MONO16": "Mono16", "XI_MONO8": "Mono8"}
COUNTERS = {"api": "XI_CNT_SEL_API_SKIPPED_FRAMES", "transport": "XI_CNT_SEL_TRANSPORT_SKIPPED_FRAMES"}


class XimeaDriver(ConnectedDriver):
    """One XIMEA camera; see `ConnectedDriver`. `images_per_buffer` frames share one buffer on PCIe cameras."""

    kind = "XIMEA camera"

    def __init__(
        self,
        settings: CameraSettings,
        *,
        serial_num: str | int | None = None,
        queue: int = 30,
        images_per_buffer: int = 1,
        compat: Literal["openhsi"] | None = None,
    ) -> None:
        super().__init__(settings, serial_num=serial_num, queue=queue, compat=compat)
        if images_per_buffer < 1:
            raise ArgumentError(f"images_per_buffer must be at least 1, got {images_per_buffer}")
        self._images_per_buffer = images_per_buffer
        self.skipped_at_start: Mapping[str, int] = MappingProxyType({})
        """Frames skipped before the start, by "api" and "transport"."""
        self.skipped_at_end: Mapping[str, int] = MappingProxyType({})
        """The same a second ago, or at the stop: the difference is also in the gaps of the frame ids."""

    def _connect(self) -> Connection:
        camera = xiapi.Camera()
        try:
            if self._serial_num is None:
                camera.open_device()
            else:
                camera.open_device_by_SN(self._serial_num)
        except XIMEA_ERRORS as error:
            which = "" if self._serial_num is None else f" with the serial number {self._serial_num!r}"
            if getattr(error, "status", None) == NO_DEVICE:
                raise CameraNotFound(
                    f"no XIMEA camera{which} was found: check power and cable, and look for it in XIMEA's "
                    "xiCamTool; after a crash the camera may need to be replugged"
                ) from error
            raise cannot_be_opened(f"the XIMEA camera{which}", error) from error
        return XimeaConnection(camera, self._images_per_buffer)

    def _prepare(self, connection: Any) -> PixelFormat:
        camera, settings = connection.camera, self._settings
        wanted = settings.pixel_format or "XI_RAW16"
        if wanted not in FORMATS:
            raise SettingsError(
                f"pixel_format {wanted!r} cannot be recorded from {connection.name}{nearest_name(wanted, FORMATS)}; "
                f"set pixel_format to one of {[*FORMATS]}"
            )
        pixel_format = PIXEL_FORMATS[FORMATS[wanted]]
        camera.disable_aeag()
        camera.enable_horizontal_flip()
        self._set_binning(connection)
        camera.set_imgdataformat(wanted)
        if pixel_format.n_bits > 8:
            connection.try_call("set_output_bit_depth", "XI_BPP_12", otherwise="XI_BPP_10")
            connection.try_call(
                "enable_output_bit_packing" if self._images_per_buffer == 1 else "disable_output_bit_packing"
            )
        camera.set_gain_direct(0)
        connection.try_call("disable_recent_frame")
        self._set_window(connection)
        if self._images_per_buffer > 1:
            camera.set_imgdataformat("XI_FRM_TRANSPORT_DATA")
            camera.set_param("concat_img_count", self._images_per_buffer)
            camera.set_param("concat_img_mode", 1)
        return pixel_format

    def _set_binning(self, connection: Any) -> None:
        x, y = self._settings.binxy
        if self._is_compat:
            x, y = 1, x  # openhsi bins vertically by the first number
        for axis, factor in (("vertical", y), ("horizontal", x)):
            if factor == 1:
                continue
            try:
                connection.try_call(f"set_binning_{axis}_mode", "XI_BIN_MODE_SUM")
                getattr(connection.camera, f"set_binning_{axis}")(factor)
            except xiapi.Xi_error as error:
                raise SettingsError(
                    f"binxy: {connection.name} cannot bin {factor} pixels {axis}ly: {error}; omit binxy"
                ) from error

    def _set_window(self, connection: Any) -> None:
        size = self._settings.win_resolution or self._settings.resolution or (0, 0)
        set_window(connection, size, self._settings.win_offset, is_compat=self._is_compat)

    def _set_node(self, connection: Any, name: str, value: bool | int | float | str) -> None:
        try:
            connection.camera.set_param(name, value)
        except (xiapi.Xi_error, RuntimeError, KeyError, TypeError) as error:
            raise SettingsError(f"nodes: {connection.name} rejected {name} = {value!r}: {error}") from error

    def _exposure(self, connection: Any) -> Feature:
        return Exposure(connection)

    def _full_scale(self, connection: Any) -> int:
        depth = connection.bit_depth if self._pixel_format.n_bits > 8 else None
        return super()._full_scale(connection) if depth is None else (1 << depth) - 1

    def _temperature(self, connection: Any) -> float:
        if self._is_streaming:  # called once a second, in a separate thread
            self.skipped_at_end = connection.skipped()
        return float(connection.camera.get_temp())

    def _read_format(self, connection: Any) -> None:
        self.frame_shape = (int(connection.camera.get_height()), int(connection.camera.get_width()))
        self.frame_dtype = self._pixel_format.dtype
        self.frame_id_period = connection.frame_id_period
        connection.set_format(self.frame_shape, self.frame_dtype)

    def start(self) -> None:
        """Start streaming. Idempotent. The queue is cleared: old frames are never delivered."""
        was_streaming = self._is_streaming
        super().start()
        if not was_streaming and isinstance(self._connection, XimeaConnection):
            self.skipped_at_start = self.skipped_at_end = self._connection.skipped()

    def provenance(self) -> dict[str, Any]:
        """See `HasProvenance`; includes the frames skipped by the API and the transport since power-on."""
        at_start = {f"skipped_by_{name}_at_start": n for name, n in self.skipped_at_start.items()}
        return super().provenance() | at_start | {f"skipped_by_{name}": n for name, n in self.skipped_at_end.items()}

    def stop(self) -> None:
        """Stop streaming; queued frames are discarded."""
        if self._is_streaming and isinstance(self._connection, XimeaConnection):
            self.skipped_at_end = self._connection.skipped()
            logger.info("%s skipped: %s when started, %s now", self._name, self.skipped_at_start, self.skipped_at_end)
        super().stop()


class XimeaConnection:
    """An open XIMEA camera."""

    errors = XIMEA_ERRORS

    def __init__(self, camera: Any, images_per_buffer: int) -> None:
        self.camera = camera
        self.name = f"XIMEA {self._text('get_device_name')} {self._text('get_device_sn')}".replace("  ", " ")
        self.frame_id_period: int | None = 2**32
        self._image = xiapi.Image()
        self._n_concatenated = images_per_buffer
        self._pending: list[tuple[NDArray[Any], FrameStamp]] = []
        self._clock_us = 0
        self._is_lost = False

    def try_call(self, method: str, *values: Any, otherwise: Any = None) -> Any:
        """Call a method that not every camera and version has; if missing, None, or retried with `otherwise`."""
        call = getattr(self.camera, method, None)
        try:
            return None if call is None else call(*values)
        except xiapi.Xi_error as error:
            if otherwise is not None:
                return self.try_call(method, otherwise)
            if error.status not in UNSUPPORTED:
                raise
            logger.info("%s has no %s", self.name, method)
            return None

    @property
    def bit_depth(self) -> int | None:
        """Bits of a pixel, which are the lowest ones of 16; None if the version of the API does not report them."""
        found = re.search(r"\d+$", self._text("get_output_bit_depth"))
        return None if found is None else int(found[0])

    def _text(self, method: str) -> str:
        value = self.try_call(method)
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")

    def feature(self, name: str) -> Feature | None:
        """Window only; all other features have XIMEA's names."""
        own = {"Width": "width", "Height": "height", "OffsetX": "offsetX", "OffsetY": "offsetY"}.get(name)
        return None if own is None else WindowNumber(self, own)

    def feature_names(self) -> list[str]:
        """Empty: not available."""
        return []

    def set_format(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        """Set the format of frames."""
        self._shape, self._dtype = shape, dtype

    # ---- streaming ----

    def begin(self, queue: int) -> None:
        """Start streaming, oldest frame first."""
        self.try_call("set_buffers_queue_size", queue)
        self.try_call("set_buffer_policy", "XI_BP_SAFE")
        self._pending.clear()
        self._image = xiapi.Image()
        n_bytes = int(np.prod(self._shape)) * self._dtype.itemsize
        is_struct = isinstance(self._image, ctypes.Structure)
        self._is_direct = is_struct and self._n_concatenated == 1 and self.try_call("get_imgpayloadsize") == n_bytes
        self._is_direct_checked = False
        self.camera.start_acquisition()
        if self._n_concatenated > 1:
            self._pitch = int(self.camera.get_param("concat_img_transport_img_offset"))
            self._buffer = np.empty(self._n_concatenated * self._pitch, np.uint8)

    def read_into(self, out: NDArray[Any], unpack: Unpack, wait_ms: int) -> FrameStamp | None:
        """Read the next frame; see `Connection`."""
        if self._pending:
            frame, stamp = self._pending.pop(0)
            np.copyto(out, frame)
            return stamp
        buffer = self._buffer if self._n_concatenated > 1 else out if self._is_direct else None
        image = self._image
        if buffer is not None:
            image.bp, image.bp_size = buffer.ctypes.data, buffer.nbytes
        try:
            self.camera.get_image(image, timeout=max(1, wait_ms))
            if self._n_concatenated > 1:
                return self._split(out, unpack)
            if not self._is_direct:
                np.copyto(out, image.get_image_data_numpy())
            elif not self._is_direct_checked:
                self._check_direct_read(out)
            return FrameStamp(image.acq_nframe, camera_ns=self._unwrapped_ns())
        except xiapi.Xi_error as error:
            if error.status == TIMEOUT:
                return None
            self._is_lost = error.status not in STILL_CONNECTED
            raise
        finally:
            if buffer is not None:
                image.bp, image.bp_size = None, 0  # `out` belongs to the caller again

    def _check_direct_read(self, out: NDArray[Any]) -> None:
        """Check, at the first frame, whether the API has used the buffer that was passed."""
        frame = self._image.get_image_data_numpy()
        self._is_direct_checked = True
        if self._image.bp != out.ctypes.data or not np.array_equal(frame, out):
            logger.info("%s: this version of XIMEA's API does not fill a passed buffer: frames are copied", self.name)
            self._is_direct = False
            np.copyto(out, frame)

    def _split(self, out: NDArray[Any], unpack: Unpack) -> FrameStamp:
        """Return the first frame of a buffer, keep the others; their times are one frame period apart."""
        first_ns = self._unwrapped_ns()
        period_ns = int(1e9 / float(self.try_call("get_framerate") or 1e9))
        first_id = self._image.acq_nframe
        for number in range(self._n_concatenated):
            frame = out if number == 0 else np.empty_like(out)
            unpack(self._buffer[number * self._pitch : (number + 1) * self._pitch], frame)
            stamp = FrameStamp((first_id + number) % 2**32, camera_ns=first_ns + number * period_ns)
            self._pending.append((frame, stamp))
        return self._pending.pop(0)[1]

    def _unwrapped_ns(self) -> int:
        """The camera's clock, which wraps around every 2**32 microseconds, unwrapped."""
        now = self._image.tsSec * 1_000_000 + self._image.tsUSec
        behind = self._clock_us - now
        if behind > 0:
            now += -(-behind // 2**32) * 2**32
        self._clock_us = now
        return int(now) * 1000

    def skipped(self) -> Mapping[str, int]:
        """Numbers of frames skipped by the API and the transport, as far as the camera reports them."""
        found = {}
        try:
            for name, selector in COUNTERS.items():
                self.camera.set_counter_selector(selector)
                found[name] = int(self.camera.get_counter_value())
        except (xiapi.Xi_error, RuntimeError, AttributeError) as error:
            logger.info("%s does not count skipped frames: %s", self.name, error)
        return MappingProxyType(found)

    def end(self) -> None:
        """Stop streaming."""
        self.camera.stop_acquisition()

    def close(self) -> None:
        """Release the camera."""
        self.camera.close_device()

    def is_gone(self) -> bool:
        """Whether the camera was disconnected."""
        try:
            return self._is_lost or self.try_call("get_param", "isexist") is False
        except xiapi.Xi_error:
            return True
