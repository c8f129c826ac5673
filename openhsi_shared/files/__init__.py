"""How cubes become files, and are opened again.

Saved by the writer process: `writing` saves cubes one after the other, `saving` one of them; `image` is the HDF5 file
without its lines, built in a `memory_file` by `variables`; `encoding` and `deflate` make chunks, `pieces` and
`blocks` write them. `preview` and `png` are the picture, `dumping` the last resort. `streamed` is a file that is
written block by block, with a `journal`; `table_file` one without lines.

Read by any process: `reading` opens a cube, `opening` its file; `lines` and `line_columns` are its lines, `contents`
all else, by `objects`, `axes`, `packing`, `columns` and `open_group`; `lazy` gives them to xarray; `linked` follows
the link to a source, `recorded` and `source_cube` have what is known of it. `verifying`, `rewritten` and `additions`
find what has changed, `published` and `recovering` what is on the disk.

A flight: `flight`, with `flight_part`, `flight_pairs`, `flight_dataset`, `flight_log` and `gaps`. `exporting` writes
other formats, `references` and `reflectance` are of cameras. Names are imported lazily: the writer imports nothing of
readers.
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
        "files.reading": "OpenCube open_cube",
        "files.saving": "Written",
        "files.upstream": "save_shared_datacube",
        "files.verifying": "Report verify",
        "files.writing": "CubeWriter",
    },
)
