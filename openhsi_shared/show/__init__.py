"""Displays: plots of lines, and small tables for notebooks.

`plots` draws with holoviews or matplotlib, `tables` writes the HTML by which notebooks show cameras and cubes.
"""

from openhsi_shared.show.plots import PLOT_LIBRARIES, show_array, show_lines
from openhsi_shared.show.tables import table, table_of_camera, table_of_cube, thumbnail

__all__ = ["PLOT_LIBRARIES", "show_array", "show_lines", "table", "table_of_camera", "table_of_cube", "thumbnail"]
