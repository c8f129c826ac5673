"""How cubes become files, and are opened again.

`writing` is for the writer process, `reading` and `verifying` for any process. Names are imported lazily, so that the
writer process does not import what only readers need.
"""

from typing import TYPE_CHECKING

from openhsi_shared.lazy_names import lazy_names

if TYPE_CHECKING:
    from openhsi_shared.files.reading import OpenCube, open_cube
    from openhsi_shared.files.saving import Written
    from openhsi_shared.files.upstream import save_shared_datacube
    from openhsi_shared.files.verifying import Report, verify
    from openhsi_shared.files.writing import CubeWriter

__all__ = ["CubeWriter", "OpenCube", "Report", "Written", "open_cube", "save_shared_datacube", "verify"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CubeWriter": "files.writing",
        "OpenCube": "files.reading",
        "Report": "files.verifying",
        "Written": "files.saving",
        "open_cube": "files.reading",
        "save_shared_datacube": "files.upstream",
        "verify": "files.verifying",
    },
)
