"""Lucid cameras, through Lucid's package arena_api, which is part of the Arena SDK and not on PyPI.

Notes:
- They are GigE cameras. A frame's id counts from 1 to 65535, or with 64 bits if extended ids are enabled.
- Packed pixels, "Mono12Packed" or "Mono12p", need 25 % less bandwidth: they are unpacked here.
- The frame rate, which limits the exposure, is not fixed: the camera runs as fast as exposure and network allow. To
  limit it: `nodes={"AcquisitionFrameRateEnable": true, "AcquisitionFrameRate": 100.0}`.
- Resending of lost packets is enabled, and the packet size is negotiated, when the stream starts.
- The camera's clock counts nanoseconds.
"""

from typing import Any

from numpy.typing import NDArray

from openhsi_shared.drivers import FrameStamp, FrameStatus
from openhsi_shared.drivers.base_driver import GIGE_PERIOD, ConnectedDriver, Connection, Unpack, cannot_be_opened
from openhsi_shared.drivers.features import Feature, Kind, NodeWithValue, value_of
from openhsi_shared.drivers.packed import bytes_at
from openhsi_shared.errors import CameraNotFound
from openhsi_shared.loggers import safe_logger
from openhsi_shared.near_names import nearest_name

try:
    from arena_api.system import system
except (ImportError, OSError) as error:
    raise ImportError(
        f"{error}; it comes with Lucid's Arena SDK (https://thinklucid.com/downloads-hub): install that, and then the "
        "wheel arena_api",
        name="arena_api",
    ) from error

__all__ = ["LucidDriver"]

logger = safe_logger(__name__)

ARENA_ERRORS = (RuntimeError, ValueError, OSError)
"""arena_api raises Python's own errors; a timeout is TimeoutError, which is an OSError."""


class LucidDriver(ConnectedDriver):
    """One Lucid camera; see `ConnectedDriver`."""

    kind = "Lucid camera"

    def _connect(self) -> Connection:
        found = {str(info["serial"]): info for info in system.device_infos}
        serial = next(iter(found), None) if self._serial_num is None else self._serial_num
        if serial is None or serial not in found:
            which = "" if serial is None else f" has the serial number {serial!r}{nearest_name(serial, found)}"
            raise CameraNotFound(
                f"no Lucid camera{which or ' was found'}; there are {[*found]}: check power, cable and network address "
                "(with ArenaView)"
            )
        try:
            (device,) = system.create_device(found[serial])
        except ARENA_ERRORS as error:
            raise cannot_be_opened(f"the Lucid camera {serial}", error) from error
        return LucidConnection(device, f"Lucid {found[serial].get('model', '')} {serial}".replace("  ", " "))

    def _binning(self) -> tuple[int, int]:
        x, y = self._settings.binxy
        return (x, 1) if self._is_compat else (x, y)  # openhsi bins horizontally only


class LucidConnection:
    """An open Lucid camera."""

    errors: tuple[type[Exception], ...] = ARENA_ERRORS

    def __init__(self, device: Any, name: str) -> None:
        self._device, self.name = device, name

    @property
    def frame_id_period(self) -> int | None:
        """65535 for GigE, unless 64-bit ids are enabled."""
        return None if value_of(self, "GevGVSPExtendedIDMode") == "On" else GIGE_PERIOD

    def feature(self, name: str) -> Feature | None:
        """Find a feature of the camera or its stream."""
        for nodes in (self._device.nodemap, self._device.tl_stream_nodemap):
            try:
                node = nodes.get_node(name)
            except (ValueError, KeyError):  # it does not exist
                continue
            if node is not None:
                return _ArenaFeature(node)
        return None

    def feature_names(self) -> list[str]:
        """Names of the camera's features."""
        return list(self._device.nodemap.feature_names)

    def begin(self, queue: int) -> None:
        """Start streaming, oldest frame first."""
        wanted = (
            ("AcquisitionMode", "Continuous"),
            ("StreamBufferHandlingMode", "OldestFirst"),
            ("StreamAutoNegotiatePacketSize", True),
            ("StreamPacketResendEnable", True),
        )
        for name, value in wanted:
            feature = self.feature(name)
            if feature is not None and feature.is_writable():
                feature.set(value)
        self._device.start_stream(queue)

    def read_into(self, out: NDArray[Any], unpack: Unpack, wait_ms: int) -> FrameStamp | None:
        """Read the next frame; see `Connection`."""
        try:
            buffer = self._device.get_buffer(timeout=max(1, wait_ms))
        except TimeoutError:
            return None
        try:
            frame_id = int(buffer.frame_id)
            if buffer.is_incomplete:
                return FrameStamp(frame_id, status=FrameStatus.INCOMPLETE)
            unpack(bytes_at(buffer.pdata, int(buffer.size_filled)), out)
            return FrameStamp(frame_id, camera_ns=int(buffer.timestamp_ns))
        finally:
            self._device.requeue_buffer(buffer)

    def end(self) -> None:
        """Stop streaming."""
        self._device.stop_stream()

    def close(self) -> None:
        """Release the camera."""
        system.destroy_device(self._device)

    def is_gone(self) -> bool:
        """Whether the camera was disconnected."""
        try:
            return not self._device.is_connected()
        except ARENA_ERRORS:
            return True


class _ArenaFeature(NodeWithValue):
    """A node of arena_api."""

    def __init__(self, node: Any) -> None:
        super().__init__(node, Kind(int(node.interface_type.value)))

    def is_readable(self) -> bool:
        return bool(self._node.is_readable)

    def is_writable(self) -> bool:
        return bool(self._node.is_writable)

    def choices(self) -> list[str]:
        entries = self._node.enumentry_nodes
        return [name for name in self._node.enumentry_names if entries[name].is_readable]
