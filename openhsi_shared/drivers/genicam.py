"""Any GenICam camera, through harvesters and a GenTL producer: the `.cti` file of a vendor's software.

Notes:
- The producer is the option `producer`, a file, else all `.cti` files of the folders in the environment variable
  GENICAM_GENTL64_PATH, which vendors' installers set. `producer="aravis"` uses Aravis instead, see `aravis.py`.
- A frame's id is the producer's; GigE counts from 1 to 65535. harvesters discards incomplete frames, which shows as a
  gap. A full queue drops the newest.
- Some producers have no clock, some cameras no exposure or no temperature; these values are then missing.
- Not all vendors' producers can be loaded twice by a process: use one camera per process.
- Many packages include parts of GenICam's library; if DeprecationWarning is an error, importing one crashes the
  interpreter, so it is ignored here.
"""

import os
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.drivers import FrameStamp
from openhsi_shared.drivers.base_driver import GIGE_PERIOD, ConnectedDriver, Connection, Unpack
from openhsi_shared.drivers.features import Feature, Kind, NodeWithValue, reason, value_of
from openhsi_shared.errors import CameraError, CameraNotFound, DriverMissing, SettingsError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.near_names import nearest_name
from openhsi_shared.paths import given_path
from openhsi_shared.processes.spawning import interrupt_deferred
from openhsi_shared.settings import CameraSettings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from genicam import genapi, gentl
    from harvesters.core import Harvester

__all__ = ["GenICamDriver"]

logger = safe_logger(__name__)

GENTL_PATH = "GENICAM_GENTL64_PATH"
DISCONNECTED = (
    gentl.IoException,
    gentl.InvalidHandleException,
    gentl.AbortException,
    gentl.ClosedException,
    gentl.ErrorException,
)
"""Exceptions of producers for a disconnected camera; a timeout is not among them."""
GENICAM_ERRORS: tuple[type[Exception], ...] = (gentl.GenericException, genapi.GenericException)
CANNOT_OPEN: tuple[type[Exception], ...] = (*GENICAM_ERRORS, OSError)
"""OSError: the producer's file is not a library, or lacks a dependency."""


class GenICamDriver(ConnectedDriver):
    """One camera of any vendor; see `ConnectedDriver`. `producer` is the path of a GenTL producer, or "aravis"."""

    kind = "GenICam camera"

    def __init__(
        self,
        settings: CameraSettings,
        *,
        producer: str | Path | None = None,
        serial_num: str | int | None = None,
        queue: int = 30,
        compat: Literal["openhsi"] | None = None,
    ) -> None:
        super().__init__(settings, serial_num=serial_num, queue=queue, compat=compat)
        self._producer = producer

    def _connect(self) -> Connection:
        if self._producer == "aravis":
            return _by_aravis(self._serial_num)
        producers = _producers(self._producer)
        harvester = Harvester()
        try:
            for producer in producers:
                harvester.add_file(str(producer), check_existence=True, check_validity=True)
            harvester.update()
            infos = {_serial_of(info): info for info in harvester.device_info_list}
            serial = next(iter(infos), None) if self._serial_num is None else self._serial_num
            if serial is None or serial not in infos:
                which = "" if serial is None else f" has the serial number {serial!r}{nearest_name(serial, infos)}"
                raise CameraNotFound(
                    f"no GenICam camera{which or ' was found'} by {[str(path) for path in producers]}; there are "
                    f"{[*infos]}: check power, cable and network address"
                )
            info = infos[serial]
            with interrupt_deferred():  # harvesters replaces the handler of SIGINT and never restores it
                camera = harvester.create(list(harvester.device_info_list).index(info))
            return GenICamConnection(harvester, camera, f"{info.vendor} {info.model} {serial}", str(info.tl_type))
        except CANNOT_OPEN as error:
            harvester.reset()
            raise CameraError(
                f"the GenICam camera cannot be opened: {reason(error)}; "
                "is it open already, here or in another program, or is its .cti file damaged?"
            ) from error
        except BaseException:
            harvester.reset()
            raise


def _by_aravis(serial_num: str | None) -> Connection:
    try:
        from openhsi_shared.drivers import aravis
    except ImportError as error:
        raise DriverMissing(f"camera 'genicam' needs the package 'gi': {error}") from error
    return aravis.connect(serial_num)


def _producers(producer: str | Path | None) -> list[Path]:
    """Files of GenTL producers. SettingsError if the producer file is missing, CameraNotFound if none is found."""
    if producer is not None:
        path = given_path(producer, "producer")
        if not path.is_file():
            raise SettingsError(
                f"producer {str(producer)!r} is not a file: expected the path of a GenTL producer (.cti)"
            )
        return [path]
    folders = [Path(folder) for folder in os.environ.get(GENTL_PATH, "").split(os.pathsep) if folder]
    found = [path for folder in folders for path in sorted(folder.glob("*.cti"))]
    if not found:
        raise CameraNotFound(
            f"no GenTL producer was found: pass producer='.../something.cti', or set {GENTL_PATH} to the folder of the "
            f"vendor's .cti files; it is {[str(folder) for folder in folders]} now"
        )
    return found


def _serial_of(info: Any) -> str:
    try:
        return str(info.serial_number)
    except gentl.GenericException:  # some producers need an open camera for it
        return str(info.id_)


class GenICamConnection:
    """An open camera of a GenTL producer."""

    errors = GENICAM_ERRORS

    def __init__(self, harvester: Any, camera: Any, name: str, transport: str) -> None:
        self._harvester, self._camera, self.name = harvester, camera, name
        self._nodes = camera.remote_device.node_map
        self._is_gige = transport == "GEV"
        self._is_lost = False

    @property
    def frame_id_period(self) -> int | None:
        """65535 for GigE, unless 64-bit ids are enabled."""
        return GIGE_PERIOD if self._is_gige and value_of(self, "GevGVSPExtendedIDMode") != "On" else None

    def feature(self, name: str) -> Feature | None:
        """Find a feature of the camera."""
        try:
            node = getattr(self._nodes, name)
        except AttributeError:
            return None
        return _GenApiFeature(node) if genapi.is_implemented(node) else None

    def feature_names(self) -> list[str]:
        """Names of the camera's features."""
        return [name for name in dir(self._nodes) if name[:1].isupper()]

    def begin(self, queue: int) -> None:
        """Start streaming, oldest frame first."""
        self._camera.num_buffers = queue
        self._camera.start()

    def read_into(self, out: NDArray[Any], unpack: Unpack, wait_ms: int) -> FrameStamp | None:
        """Read the next frame; see `Connection`."""
        try:
            buffer = self._camera.try_fetch(timeout=max(0.001, wait_ms / 1000))  # 0 would wait indefinitely
        except DISCONNECTED:
            self._is_lost = True
            raise
        if buffer is None:
            return None
        with buffer:  # releases the producer's buffer at the end of the block
            component = buffer.payload.components[0]
            unpack(np.asarray(component.data).reshape(-1).view(np.uint8), out)
            return FrameStamp(int(buffer.module.frame_id), camera_ns=_clock_of(buffer))

    def end(self) -> None:
        """Stop streaming."""
        self._camera.stop()

    def close(self) -> None:
        """Release camera and producer."""
        try:
            self._camera.destroy()
        finally:
            self._harvester.reset()

    def is_gone(self) -> bool:
        """Whether the camera was disconnected."""
        return self._is_lost or not self._camera.is_valid()


def _clock_of(buffer: Any) -> int | None:
    try:
        return int(buffer.timestamp_ns)
    except (gentl.GenericException, TypeError):
        return None


class _GenApiFeature(NodeWithValue):
    """A node of GenApi."""

    def __init__(self, node: Any) -> None:
        super().__init__(node, Kind(int(node.node.principal_interface_type)))

    def is_readable(self) -> bool:
        return bool(genapi.is_readable(self._node))

    def is_writable(self) -> bool:
        return bool(genapi.is_writable(self._node))

    def choices(self) -> list[str]:
        return [entry.symbolic for entry in self._node.entries if genapi.is_available(entry)]
