"""Processes saved cubes again: as if their lines came from a camera, with the recorded times.

::

    with ProcessRawDatacube("2026_11_20/2026_11_20-10_00_00_000000.nc", processing_lvl=4, cal_path="cal.nc") as cube:
        cube.collect()                                   # every line of the file, through the level
        cube.save("radiance").result()
"""

from openhsi_shared.reprocess.any_level import ProcessDatacube
from openhsi_shared.reprocess.raw import ProcessRawDatacube

__all__ = ["ProcessDatacube", "ProcessRawDatacube"]
