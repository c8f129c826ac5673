"""Files that jobs write, one module for each format."""

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openhsi_shared.errors import FileError, SaveError
from openhsi_shared.files.exporting.envi_reading import attributes_of_envi, damaged_lines_of_envi
from openhsi_shared.files.exporting.zarr import attributes_of_zarr, damaged_lines_of_zarr
from openhsi_shared.files.journal import Journal
from openhsi_shared.files.preview import preview_path
from openhsi_shared.files.reading import open_cube
from openhsi_shared.files.table_file import OpenTable, is_table
from openhsi_shared.files.verifying import verify
from openhsi_shared.jobs.line_flag import LineFlag
from openhsi_shared.jobs.outputs.output import Done, Output, Published

if TYPE_CHECKING:
    from openhsi_shared.jobs.plan import CubePlan

__all__ = [
    "Done",
    "LineFlag",
    "Output",
    "Published",
    "attributes_of",
    "open_output",
    "preview_of_result",
    "problems_of",
]

ENVI, ZARR = (".raw", ".hdr"), (".zarr",)
"""Endings of results that are no NetCDF."""


def open_output(
    plan: "CubePlan", *, tmp_suffix: str = "", resume: bool = False, journal: Journal | None = None
) -> Output:
    """The output of the job's format, under a temporary name beside `plan.target`, whose folder must exist.

    With `resume`, `journal` says what an earlier run has written. SaveError: the target exists (EEXIST), the disk is
    full, ...; ArgumentError for what the format cannot store.
    """
    if os.path.lexists(plan.target):
        text = "it exists, and nothing is overwritten: choose another name"
        raise SaveError(errno.EEXIST, text, str(plan.target))
    journal = journal if resume else None
    if not plan.makes_lines:
        from openhsi_shared.jobs.outputs.table import TableOutput

        return TableOutput(plan, tmp_suffix=tmp_suffix, journal=journal)
    if plan.job.output in ("envi", "zarr"):
        from openhsi_shared.jobs.outputs.exported import ExportedOutput

        return ExportedOutput(plan, tmp_suffix=tmp_suffix, journal=journal)
    from openhsi_shared.jobs.outputs.netcdf import NetCDFOutput

    return NetCDFOutput(plan, tmp_suffix=tmp_suffix, journal=journal)


def attributes_of(path: Path) -> dict[str, Any]:
    """Attributes of a result of any format. FileError if it cannot be read, or is no result."""
    if path.suffix in ZARR:
        return attributes_of_zarr(path)
    if path.suffix in ENVI:
        return attributes_of_envi(path)
    if is_table(path):
        with OpenTable(path) as table:
            return table.attributes
    with open_cube(path) as cube:
        return dict(cube.attributes)


def problems_of(path: Path) -> tuple[str, ...]:
    """What is damaged of a result of any format: all is read and compared with its checksums; () if it is whole."""
    if path.suffix not in ZARR + ENVI:
        return verify(path).problems
    try:
        damaged = damaged_lines_of_zarr(path) if path.suffix in ZARR else damaged_lines_of_envi(path)
    except FileError as error:
        return (str(error),)
    return tuple(f"{path}: line {number} is damaged: its checksum is not that which was written" for number in damaged)


def preview_of_result(path: Path) -> Path | None:
    """The preview beside a published result, if there is one."""
    preview = preview_path(path)
    return preview if preview.is_file() else None
