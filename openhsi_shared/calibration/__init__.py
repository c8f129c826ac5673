"""Calibrations of cameras: read from openhsi's files, immutable, written atomically.

`values` is the mapping of values, `netcdf` the layout of the file, `pickles` reads old pickles without executing them.
"""

from openhsi_shared.calibration.netcdf import read_calibration, write_calibration
from openhsi_shared.calibration.values import Calibration, wavelengths_of_columns

__all__ = ["Calibration", "read_calibration", "wavelengths_of_columns", "write_calibration"]
