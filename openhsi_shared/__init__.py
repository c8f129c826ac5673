"""Record hyperspectral cubes without a gap.

Data flow, and the packages that implement it::

    drivers/  ──▶  levels  ──▶  buffers/  ──▶  writer/  ──▶  files/
    read a         apply the     buffer in      save to      open the
    frame          level         shared memory  disk         file

`capture` runs the acquisition half. `datacube` and `recording` combine the parts, `cameras` has one class per vendor.
Import names from this package; modules may move.
"""

from typing import TYPE_CHECKING

from openhsi_shared.lazy_names import lazy_names

if TYPE_CHECKING:
    from openhsi_shared.buffers.arrays import CircArrayBuffer, SharedCircArrayBuffer
    from openhsi_shared.buffers.ring import SharedRing
    from openhsi_shared.buffers.times import DateTimeBuffer
    from openhsi_shared.calibration import Calibration, read_calibration, write_calibration
    from openhsi_shared.cameras import (
        SharedBaslerCamera,
        SharedFlirCamera,
        SharedGenICamCamera,
        SharedHikrobotCamera,
        SharedLucidCamera,
        SharedReplayCamera,
        SharedSimulatedCamera,
        SharedWebCamera,
        SharedXimeaCamera,
    )
    from openhsi_shared.channels.matched_files import match_channels
    from openhsi_shared.channels.tracks.exporting import export_track
    from openhsi_shared.control.status import Status
    from openhsi_shared.datacube.shared_data_cube import SharedDataCube
    from openhsi_shared.datacube.shared_openhsi import SharedOpenHSI
    from openhsi_shared.errors import OpenHSIError
    from openhsi_shared.files.flight import Flight, open_flight
    from openhsi_shared.files.reading import OpenCube, open_cube
    from openhsi_shared.files.recovering import Recovery, recover
    from openhsi_shared.files.upstream import save_shared_datacube
    from openhsi_shared.files.verifying import Report, verify
    from openhsi_shared.flight.together.starting import record_all
    from openhsi_shared.recording.record import record, switched_camera
    from openhsi_shared.recording.run import Recording
    from openhsi_shared.reprocess import ProcessDatacube, ProcessRawDatacube
    from openhsi_shared.viewer.cube_viewer import CubeViewer, cube_viewer
    from openhsi_shared.viewer.ring_viewer import Viewer

__version__ = "0.1.0"

__all__ = [
    "Calibration",
    "CircArrayBuffer",
    "CubeViewer",
    "DateTimeBuffer",
    "Flight",
    "OpenCube",
    "OpenHSIError",
    "ProcessDatacube",
    "ProcessRawDatacube",
    "Recording",
    "Recovery",
    "Report",
    "SharedBaslerCamera",
    "SharedCircArrayBuffer",
    "SharedDataCube",
    "SharedFlirCamera",
    "SharedGenICamCamera",
    "SharedHikrobotCamera",
    "SharedLucidCamera",
    "SharedOpenHSI",
    "SharedReplayCamera",
    "SharedRing",
    "SharedSimulatedCamera",
    "SharedWebCamera",
    "SharedXimeaCamera",
    "Status",
    "Viewer",
    "cube_viewer",
    "export_track",
    "match_channels",
    "open_cube",
    "open_flight",
    "read_calibration",
    "record",
    "record_all",
    "recover",
    "save_shared_datacube",
    "switched_camera",
    "verify",
    "write_calibration",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "buffers.arrays": "CircArrayBuffer SharedCircArrayBuffer",
        "buffers.ring": "SharedRing",
        "buffers.times": "DateTimeBuffer",
        "calibration": "Calibration read_calibration write_calibration",
        "cameras": "SharedBaslerCamera SharedFlirCamera SharedGenICamCamera SharedHikrobotCamera SharedLucidCamera "
        "SharedReplayCamera SharedSimulatedCamera SharedWebCamera SharedXimeaCamera",
        "channels.matched_files": "match_channels",
        "channels.tracks.exporting": "export_track",
        "control.status": "Status",
        "datacube.shared_data_cube": "SharedDataCube",
        "datacube.shared_openhsi": "SharedOpenHSI",
        "errors": "OpenHSIError",
        "files.flight": "Flight open_flight",
        "files.reading": "OpenCube open_cube",
        "files.recovering": "Recovery recover",
        "files.upstream": "save_shared_datacube",
        "files.verifying": "Report verify",
        "flight.together.starting": "record_all",
        "recording.record": "record switched_camera",
        "recording.run": "Recording",
        "reprocess": "ProcessDatacube ProcessRawDatacube",
        "viewer.cube_viewer": "CubeViewer cube_viewer",
        "viewer.ring_viewer": "Viewer",
    },
)
