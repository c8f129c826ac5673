"""GigE and USB3 cameras of any vendor through Aravis, without vendor software: `GenICamDriver(producer="aravis")`.

Notes:
- Aravis is a system package, not on PyPI: Debian's `gir1.2-aravis-0.8` and `python3-gi`. A virtual environment needs
  `--system-site-packages` to import them.
- Ids of GigE cameras count from 1 to 65535. An incomplete frame keeps its id, unless the packet with the id was lost:
  then it is 0. The remaining packets of a frame may arrive again, hundreds of frames later.
- The socket buffer has 8 MB, else most frames of a fast camera are lost. The packet socket, which needs root, receives
  nothing on the loopback interface (simulators), and is not used there.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.drivers import FrameStamp, FrameStatus
from openhsi_shared.drivers.base_driver import GIGE_PERIOD, Unpack, cannot_be_opened
from openhsi_shared.drivers.features import Feature, Kind
from openhsi_shared.errors import CameraError, CameraNotFound
from openhsi_shared.near_names import nearest_name

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of PyGObject's importer
    try:
        import gi

        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis, GLib
    except (ImportError, ValueError) as error:  # ValueError: Aravis is missing
        raise ImportError(
            f"{error}; producer='aravis' needs Aravis: apt install gir1.2-aravis-0.8 python3-gi, and an environment "
            "made with --system-site-packages",
            name="gi",
        ) from error

__all__ = ["AravisConnection", "connect"]

SOCKET_BYTES = 8 << 20
NO_FRAME = (Aravis.BufferStatus.CLEARED, Aravis.BufferStatus.ABORTED)


def connect(serial_num: str | None) -> "AravisConnection":
    """Open the camera with this serial number, or the first. CameraNotFound, or CameraError if it is in use."""
    Aravis.update_device_list()
    found = {Aravis.get_device_serial_nbr(index): index for index in range(Aravis.get_n_devices())}
    serial = next(iter(found), None) if serial_num is None else serial_num
    if serial is None or serial not in found:
        which = "" if serial is None else f" has the serial number {serial!r}{nearest_name(serial, found)}"
        raise CameraNotFound(
            f"no GenICam camera{which or ' was found'} by Aravis; there are {[*found]}: check power, cable and network "
            "address"
        )
    index = found[serial]
    name = f"{Aravis.get_device_vendor(index)} {Aravis.get_device_model(index)} {serial}"
    try:
        camera = Aravis.Camera.new(Aravis.get_device_id(index))
    except GLib.Error as error:
        raise cannot_be_opened(f"the camera {name}", error) from error
    is_local = str(Aravis.get_device_address(index)).startswith("127.")
    return AravisConnection(camera, name, is_local=is_local)


class AravisConnection:
    """An open camera of Aravis."""

    errors: tuple[type[Exception], ...] = (GLib.Error,)

    def __init__(self, camera: Any, name: str, *, is_local: bool) -> None:
        self._camera, self._device, self.name = camera, camera.get_device(), name
        self._stream: Any = None
        self._is_gone = False
        if camera.is_gv_device():
            if is_local:
                camera.gv_set_stream_options(Aravis.GvStreamOption.PACKET_SOCKET_DISABLED)
            else:
                camera.gv_auto_packet_size()
        self._device.connect("control-lost", self._lose)

    def _lose(self, *_: Any) -> None:
        self._is_gone = True

    @property
    def frame_id_period(self) -> int | None:
        """GigE counts to 65535."""
        return GIGE_PERIOD if self._camera.is_gv_device() else None

    def feature(self, name: str) -> Feature | None:
        """Find a feature of the camera."""
        node = self._device.get_feature(name)
        return (
            None if node is None or not self._device.is_feature_available(name) else _AravisFeature(self._device, name)
        )

    def feature_names(self) -> list[str]:
        """Empty: not available."""
        return []

    def begin(self, queue: int) -> None:
        """Start streaming, oldest frame first."""
        self._stream = self._camera.create_stream(None, None)
        if self._stream is None:
            raise CameraError(f"{self.name} cannot stream: is another program receiving its frames?")
        if self._camera.is_gv_device():
            self._stream.set_property("socket-buffer", Aravis.GvStreamSocketBuffer.FIXED)
            self._stream.set_property("socket-buffer-size", SOCKET_BYTES)
        for _ in range(queue):
            self._stream.push_buffer(Aravis.Buffer.new_allocate(self._camera.get_payload()))
        self._camera.start_acquisition()

    def read_into(self, out: NDArray[Any], unpack: Unpack, wait_ms: int) -> FrameStamp | None:
        """Read the next frame; see `Connection`."""
        buffer = self._stream.timeout_pop_buffer(max(1, wait_ms) * 1000)
        if buffer is None:
            return None
        try:
            status, frame_id = buffer.get_status(), int(buffer.get_frame_id())
            if status in NO_FRAME:
                return None
            if status != Aravis.BufferStatus.SUCCESS:
                is_known = frame_id or self.frame_id_period is None
                return FrameStamp(frame_id if is_known else None, status=FrameStatus.INCOMPLETE)
            unpack(np.frombuffer(buffer.get_data(), np.uint8), out)
            return FrameStamp(frame_id, camera_ns=int(buffer.get_timestamp()) or None)
        finally:
            self._stream.push_buffer(buffer)

    def end(self) -> None:
        """Stop streaming."""
        self._stream = None  # also if the camera no longer responds
        self._camera.stop_acquisition()

    def close(self) -> None:
        """Release the camera."""
        self._stream = self._device = self._camera = None

    def is_gone(self) -> bool:
        """Whether the camera was disconnected."""
        return self._is_gone


class _AravisFeature:
    """A feature of the camera, by Aravis' calls for its type."""

    def __init__(self, device: Any, name: str) -> None:
        self._device, self._name = device, name
        node = device.get_feature(name)
        kinds = (
            (Kind.ENUMERATION, Aravis.GcEnumeration),
            (Kind.COMMAND, Aravis.GcCommand),
            (Kind.BOOLEAN, Aravis.GcBoolean),
            (Kind.INTEGER, Aravis.GcInteger),
            (Kind.FLOAT, Aravis.GcFloat),
            (Kind.STRING, Aravis.GcString),
        )
        self.kind = next((kind for kind, interface in kinds if isinstance(node, interface)), Kind.OTHER)
        self._access = node.get_actual_access_mode()

    def is_readable(self) -> bool:
        return bool(self._access in (Aravis.GcAccessMode.RO, Aravis.GcAccessMode.RW))

    def is_writable(self) -> bool:
        return bool(self._access in (Aravis.GcAccessMode.WO, Aravis.GcAccessMode.RW))

    def get(self) -> Any:
        readers = {
            Kind.BOOLEAN: self._device.get_boolean_feature_value,
            Kind.INTEGER: self._device.get_integer_feature_value,
            Kind.FLOAT: self._device.get_float_feature_value,
        }
        return readers.get(self.kind, self._device.get_string_feature_value)(self._name)

    def set(self, value: Any) -> None:
        if self.kind is Kind.COMMAND:
            self._device.execute_command(self._name)
            return
        writers = {
            Kind.BOOLEAN: self._device.set_boolean_feature_value,
            Kind.INTEGER: self._device.set_integer_feature_value,
            Kind.FLOAT: self._device.set_float_feature_value,
        }
        writers.get(self.kind, self._device.set_string_feature_value)(self._name, value)

    def limits(self) -> tuple[float, float, float]:
        if self.kind is Kind.INTEGER:
            bounds = self._device.get_integer_feature_bounds(self._name)
            return bounds.min, bounds.max, self._device.get_integer_feature_increment(self._name)
        bounds = self._device.get_float_feature_bounds(self._name)
        return bounds.min, bounds.max, 0

    def choices(self) -> list[str]:
        return list(self._device.dup_available_enumeration_feature_values_as_strings(self._name))
