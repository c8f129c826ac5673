"""Versions of the format: which files this library can read.

`format_version` is the version of a file, `format_reads_from` the lowest version whose readers can read it: later
versions only add to that version. Files of version 1 do not have `format_reads_from`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openhsi_shared.dataset import FORMAT, FORMAT_VERSION
from openhsi_shared.errors import FileError
from openhsi_shared.files.attributes import plain
from openhsi_shared.loggers import safe_logger

__all__ = ["check_version"]

logger = safe_logger(__name__)


def check_version(path: Path, attributes: Mapping[str, Any]) -> int:
    """Return the version of a file's format, by its global attributes; 0 for a file of another program.

    Logs a warning for a newer, backward compatible version; FileError for a newer version that is not.
    """
    if plain(attributes.get("format")) != FORMAT:
        return 0
    version = plain(attributes.get("format_version", 1))
    if not isinstance(version, int) or version < 1:
        raise FileError(
            f"{path} has the format_version {version!r}, which does not exist: expected a whole number from 1 on; "
            f"another program may have changed it"
        )
    if version <= FORMAT_VERSION:
        return version
    reads_from = plain(attributes.get("format_reads_from", version))
    if not isinstance(reads_from, int) or reads_from > FORMAT_VERSION:
        raise FileError(
            f"{path} is of format_version {version}, but this openhsi_shared supports versions up to {FORMAT_VERSION}: "
            f"update it (pip install --upgrade openhsi_shared), or read the file with a program for netCDF-4 or HDF5"
        )
    logger.warning(
        "%s is of format_version %s, but this openhsi_shared supports versions up to %s: newer parts are not read",
        path,
        version,
        FORMAT_VERSION,
    )
    return version
