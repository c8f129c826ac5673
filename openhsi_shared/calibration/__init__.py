"""What a calibration says of its camera: read from openhsi's files, never changed, written whole.

`values` is what one holds, `netcdf` the layout of its file, `pickles` how an old pickle is read without running it.
"""

from openhsi_shared.calibration.netcdf import read_calibration, write_calibration
from openhsi_shared.calibration.values import Calibration, wavelengths_of_columns

__all__ = ["Calibration", "read_calibration", "wavelengths_of_columns", "write_calibration"]
