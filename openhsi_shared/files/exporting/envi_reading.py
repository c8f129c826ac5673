"""What ENVI files of this library say of themselves, and whether their pixels are whole."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from openhsi_shared.errors import FileError
from openhsi_shared.files.checksums import crc32_of
from openhsi_shared.files.exporting.envi import LINES_TABLE, OWN_FIELD
from openhsi_shared.packages import needed_by

__all__ = ["attributes_of_envi", "damaged_lines_of_envi"]


def attributes_of_envi(path: Path) -> dict[str, Any]:
    """The attributes of a cube whose pixels, or header, this is. FileError if it has none. Needs no other package."""
    header = path.with_suffix(".hdr")
    try:
        with header.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith(f"{OWN_FIELD} ="):
                    found: Mapping[str, Any] = json.loads(unquote(line.partition("=")[2].strip()))
                    return dict(found)
    except FileNotFoundError as error:
        raise FileError(
            f"{path} has no header {header.name}: its writer was interrupted; `recover` publishes it if all is there, "
            f"else remove {path.name}"
        ) from error
    except OSError as error:
        raise FileError(error.errno, error.strerror, str(header)) from error
    except ValueError as error:
        raise FileError(f"{header}: the field {OWN_FIELD!r} is damaged: {error}") from error
    raise FileError(f"{header} has no field {OWN_FIELD!r}: another program wrote it")


def damaged_lines_of_envi(path: Path, *, header: Path | None = None, table: Path | None = None) -> list[int]:
    """Numbers of the lines that differ from their checksums, which `NAME_lines.csv` has. FileError if it has none.

    `header`, `table`: files in place of those beside the pixels.
    """
    with needed_by("ENVI", "envi"):
        from spectral.io import envi
    header, table = header or path.with_suffix(".hdr"), table or path.with_name(f"{path.stem}{LINES_TABLE}")
    try:
        with table.open(newline="", encoding="utf-8") as file:
            crcs = [int(row["line_crc32"]) for row in csv.DictReader(file)]
        image = envi.open(str(header.absolute()), str(path.with_suffix(".raw").absolute()))
        n_lines, x, _ = image.shape
        if len(crcs) != n_lines:
            raise FileError(f"{table} has {len(crcs)} lines, expected {n_lines}")
        read = image.read_subregion
        return [
            n for n in range(n_lines) if crc32_of(np.asarray(read((n, n + 1), (0, x), use_memmap=False)[0])) != crcs[n]
        ]
    except FileError:
        raise
    except (KeyError, TypeError) as error:
        raise FileError(f"{table} has no checksums of lines: another program wrote it, or it was changed") from error
    except Exception as error:  # Spectral Python has no common error
        raise FileError(f"{path} cannot be read: {error}") from error
