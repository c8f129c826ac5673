"""XIMEA cameras, through XIMEA's own package `ximea`, which comes with their software and is on no index.

What is particular about them:

- A frame's id is `acq_nframe`, 32 bits, which begins anew only when the acquisition starts; `nframe` begins anew with a
  change of exposure or gain, too, and says nothing about loss.
- Their clock has 32 bits of microseconds, shown as seconds 0 to 4294: it is unwrapped here.
- Exposure is rounded by the sensor: it is read back. Windows lie on a grid. The picture is flipped horizontally.
- The API keeps `buffers_queue_size` frames and would give the newest first with `recent_frame` on: it is switched off.
  How many frames the API and the transport skipped is in `skipped_at_start` and `skipped_at_end`.
- With the buffer policy "unsafe", XIMEA's default, a frame may be overwritten while it is read. With "safe" the API
  copies it, here straight into the place where it is to go.
- Cameras on PCIe can put many frames into one buffer: `images_per_buffer`. Then the API does no processing, so pixels
  are not packed, and whether they are flipped depends on the camera.
- Only one process at a time may look for cameras or have one open. One whose owner crashed may have to be replugged.
- To pace it: `nodes={"acq_timing_mode": "XI_ACQ_TIMING_MODE_FRAME_RATE", "framerate": 250.0}`; nodes are XIMEA's
  parameters here.
"""

import ctypes
import logging
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
from openhsi_shared.settings import CameraSettings, nearest_name

try:
    from ximea import xiapi
except (ImportError, OSError) as error:  # OSError: the package is there, XIMEA's library is not
    raise ImportError(
        f"{error}; it comes with XIMEA's software package (https://www.ximea.com/support): install that, and put its "
        "folder api/Python/v3/ximea where Python finds it",
        name="ximea",
    ) from error

__all__ = ["XimeaDriver"]

logger = logging.getLogger(__name__)

XIMEA_ERRORS: tuple[type[Exception], ...] = (xiapi.Xi_error, RuntimeError)
"""RuntimeError: what the package itself says of a camera that is open already, or not open."""
TIMEOUT, NO_DEVICE = 10, 56
NOT_THERE = {12, 26, 100, 106, 107}
"""A parameter that this camera or this version does not know."""
OWN_FAULT = {11, 15, 36, 44, 45, 58, 101, 105, 108, 201, 202, 203, 204, 205}
"""What `get_image` may say although the camera is there. All else says that it has gone."""
FORMATS = {"XI_RAW16": "Mono16", "XI_RAW8": "Mono8", "XI_MONO16": "Mono16", "XI_MONO8": "Mono8"}
COUNTERS = {"api": "XI_CNT_SEL_API_SKIPPED_FRAMES", "transport": "XI_CNT_SEL_TRANSPORT_SKIPPED_FRAMES"}


class XimeaDriver(ConnectedDriver):
    """One XIMEA camera; see `ConnectedDriver`. `images_per_buffer` frames come in one, from cameras on PCIe."""

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
        """What the camera had skipped when it was started, by "api" and "transport"."""
        self.skipped_at_end: Mapping[str, int] = MappingProxyType({})
        """The same a second ago, or when it was stopped: what was added is in the gaps of the frame ids as well."""

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
                    f"no XIMEA camera{which} was found: check power and cable, and see in XIMEA's xiCamTool which "
                    "there are; a camera whose program crashed may have to be replugged"
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
            connection.ask("set_output_bit_depth", "XI_BPP_12", otherwise="XI_BPP_10")
            connection.ask(
                "enable_output_bit_packing" if self._images_per_buffer == 1 else "disable_output_bit_packing"
            )
        camera.set_gain_direct(0)
        connection.ask("disable_recent_frame")
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
                connection.ask(f"set_binning_{axis}_mode", "XI_BIN_MODE_SUM")
                getattr(connection.camera, f"set_binning_{axis}")(factor)
            except xiapi.Xi_error as error:
                raise SettingsError(
                    f"binxy: {connection.name} cannot bin {factor} pixels {axis}ly: {error}; leave binxy out"
                ) from error

    def _set_window(self, connection: Any) -> None:
        size = self._settings.win_resolution or self._settings.resolution or (0, 0)
        set_window(connection, size, self._settings.win_offset, is_compat=self._is_compat)

    def _set_node(self, connection: Any, name: str, value: bool | int | float | str) -> None:
        try:
            connection.camera.set_param(name, value)
        except (xiapi.Xi_error, RuntimeError, KeyError, TypeError) as error:
            raise SettingsError(f"nodes: {connection.name} does not take {name} = {value!r}: {error}") from error

    def _exposure(self, connection: Any) -> Feature:
        return Exposure(connection)

    def _temperature(self, connection: Any) -> float:
        if self._is_streaming:  # asked once a second, in a thread of its own: just the place for it
            self.skipped_at_end = connection.skipped()
        return float(connection.camera.get_temp())

    def _learn(self, connection: Any) -> None:
        self.frame_shape = (int(connection.camera.get_height()), int(connection.camera.get_width()))
        self.frame_dtype = self._pixel_format.dtype
        self.frame_id_period = connection.frame_id_period
        connection.expect(self.frame_shape, self.frame_dtype)

    def start(self) -> None:
        """Begin to stream frames; calling it twice is once. A queue is emptied: old frames never come."""
        was_streaming = self._is_streaming
        super().start()
        if not was_streaming and isinstance(self._connection, XimeaConnection):
            self.skipped_at_start = self.skipped_at_end = self._connection.skipped()

    def provenance(self) -> dict[str, Any]:
        """See `HasProvenance`: with what the API and the transport have skipped since the camera was switched on."""
        at_start = {f"skipped_by_{name}_at_start": n for name, n in self.skipped_at_start.items()}
        return super().provenance() | at_start | {f"skipped_by_{name}": n for name, n in self.skipped_at_end.items()}

    def stop(self) -> None:
        """Stop streaming; what waits in the queue is gone."""
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
        self._rest: list[tuple[NDArray[Any], FrameStamp]] = []
        self._clock_us = 0
        self._has_broken = False

    def ask(self, method: str, *values: Any, otherwise: Any = None) -> Any:
        """Call what not every camera and version has; None, or once more with `otherwise`, where it is not there."""
        call = getattr(self.camera, method, None)
        try:
            return None if call is None else call(*values)
        except xiapi.Xi_error as error:
            if otherwise is not None:
                return self.ask(method, otherwise)
            if error.status not in NOT_THERE:
                raise
            logger.info("%s has no %s", self.name, method)
            return None

    def _text(self, method: str) -> str:
        value = self.ask(method)
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")

    def feature(self, name: str) -> Feature | None:
        """Window only; all else is XIMEA's own names."""
        own = {"Width": "width", "Height": "height", "OffsetX": "offsetX", "OffsetY": "offsetY"}.get(name)
        return None if own is None else WindowNumber(self, own)

    def feature_names(self) -> list[str]:
        """None that could be listed."""
        return []

    def expect(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        """Be told what frames are like."""
        self._shape, self._dtype = shape, dtype

    # ---- streaming ----

    def begin(self, queue: int) -> None:
        """Begin to stream, oldest frame first."""
        self.ask("set_buffers_queue_size", queue)
        self.ask("set_buffer_policy", "XI_BP_SAFE")
        self._rest.clear()
        self._image = xiapi.Image()
        n_bytes = int(np.prod(self._shape)) * self._dtype.itemsize
        is_struct = isinstance(self._image, ctypes.Structure)
        self._is_direct = is_struct and self._n_concatenated == 1 and self.ask("get_imgpayloadsize") == n_bytes
        self._is_tried = False
        self.camera.start_acquisition()
        if self._n_concatenated > 1:
            self._pitch = int(self.camera.get_param("concat_img_transport_img_offset"))
            self._room = np.empty(self._n_concatenated * self._pitch, np.uint8)

    def read_into(self, out: NDArray[Any], unpack: Unpack, wait_ms: int) -> FrameStamp | None:
        """Take the next frame; see `Connection`."""
        if self._rest:
            frame, stamp = self._rest.pop(0)
            np.copyto(out, frame)
            return stamp
        room = self._room if self._n_concatenated > 1 else out if self._is_direct else None
        image = self._image
        if room is not None:
            image.bp, image.bp_size = room.ctypes.data, room.nbytes
        try:
            self.camera.get_image(image, timeout=max(1, wait_ms))
            if self._n_concatenated > 1:
                return self._split(out, unpack)
            if not self._is_direct:
                np.copyto(out, image.get_image_data_numpy())
            elif not self._is_tried:
                self._try_whether_it_came(out)
            return FrameStamp(image.acq_nframe, camera_ns=self._unwrapped_ns())
        except xiapi.Xi_error as error:
            if error.status == TIMEOUT:
                return None
            self._has_broken = error.status not in OWN_FAULT
            raise
        finally:
            if room is not None:
                image.bp, image.bp_size = None, 0  # `out` is not ours any more

    def _try_whether_it_came(self, out: NDArray[Any]) -> None:
        """Look, at the first frame, whether the API has used the room that it was given."""
        frame = self._image.get_image_data_numpy()
        self._is_tried = True
        if self._image.bp != out.ctypes.data or not np.array_equal(frame, out):
            logger.info("%s: this version of XIMEA's API does not fill a given buffer: frames are copied", self.name)
            self._is_direct = False
            np.copyto(out, frame)

    def _split(self, out: NDArray[Any], unpack: Unpack) -> FrameStamp:
        """Hand out the first frame of a buffer, keep the others; their times lie a frame's time apart."""
        first_ns = self._unwrapped_ns()
        period_ns = int(1e9 / float(self.ask("get_framerate") or 1e9))
        first_id = self._image.acq_nframe
        for number in range(self._n_concatenated):
            frame = out if number == 0 else np.empty_like(out)
            unpack(self._room[number * self._pitch : (number + 1) * self._pitch], frame)
            stamp = FrameStamp((first_id + number) % 2**32, camera_ns=first_ns + number * period_ns)
            self._rest.append((frame, stamp))
        return self._rest.pop(0)[1]

    def _unwrapped_ns(self) -> int:
        """The camera's clock, which begins anew every 2**32 microseconds."""
        now = self._image.tsSec * 1_000_000 + self._image.tsUSec
        behind = self._clock_us - now
        if behind > 0:
            now += -(-behind // 2**32) * 2**32
        self._clock_us = now
        return int(now) * 1000

    def skipped(self) -> Mapping[str, int]:
        """How many frames the API and the transport have skipped, as far as the camera says so."""
        found = {}
        try:
            for name, selector in COUNTERS.items():
                self.camera.set_counter_selector(selector)
                found[name] = int(self.camera.get_counter_value())
        except (xiapi.Xi_error, RuntimeError, AttributeError) as error:
            logger.info("%s does not count what it skips: %s", self.name, error)
        return MappingProxyType(found)

    def end(self) -> None:
        """Stop streaming."""
        self.camera.stop_acquisition()

    def close(self) -> None:
        """Give the camera back."""
        self.camera.close_device()

    def is_gone(self) -> bool:
        """Whether the camera can no longer be reached."""
        try:
            return self._has_broken or self.ask("get_param", "isexist") is False
        except xiapi.Xi_error:
            return True
