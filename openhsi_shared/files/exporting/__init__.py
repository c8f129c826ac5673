"""Cubes as files of other formats, for the tools that read these: ENVI, bands-first NetCDF, and Zarr.

The writers take blocks of lines, and know nothing of where these come from: `exporting` copies saved cubes with them,
jobs write their results with them. None has a cube in memory.
"""
