"""ENVI files: `NAME.raw` with the pixels, `NAME.hdr` by Spectral Python, `NAME_lines.csv`, and `NAME_groups.nc4`.

The header is published last: without it no program opens the pixels. What has no field in ENVI's format is in
`openhsi_shared attributes`, all attributes as percent-encoded JSON, and in the other two files.
"""

import json
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.attributes import json_value
from openhsi_shared.durable import PAGE, PartFile, save_error
from openhsi_shared.errors import ArgumentError, FileError
from openhsi_shared.files.checksums import crc32_of
from openhsi_shared.files.exporting.description import Description
from openhsi_shared.files.exporting.groups_file import GROUPS, write_groups
from openhsi_shared.files.exporting.lines_table import write_lines_table
from openhsi_shared.files.exporting.orders import by_band, by_line_and_band, room
from openhsi_shared.files.exporting.published_together import part_name, refuse_existing, remove_leftovers
from openhsi_shared.files.exporting.read_back import Samples
from openhsi_shared.packages import needed_by
from openhsi_shared.renaming import unlink_or_warn

__all__ = ["INTERLEAVES", "LINES_TABLE", "OWN_FIELD", "EnviWriter", "Interleave", "check_envi"]

Interleave = Literal["bip", "bil", "bsq"]
"""Order of the pixels: (line, x, band), (line, band, x), (band, line, x)."""
INTERLEAVES: tuple[Interleave, ...] = ("bip", "bil", "bsq")
LINES_TABLE = "_lines.csv"
ENDINGS = {"csv": LINES_TABLE, "groups": GROUPS, "hdr": ".hdr"}
OWN_FIELD = "openhsi_shared attributes"
LETTERS = {"u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "l", "u8": "L", "f4": "f", "f8": "d"}
"""Types as Spectral Python's table names them."""


def check_envi(dtype: np.dtype[Any]) -> str:
    """ENVI's number of a type. PackageMissing without Spectral Python, ArgumentError for types ENVI has not."""
    with needed_by("ENVI", "envi"):
        from spectral.io.envi import dtype_to_envi
    code = dtype_to_envi.get(LETTERS.get(dtype.str[1:], ""))
    if code is None:
        raise ArgumentError(f"ENVI has no type for {dtype}: export to netcdf or zarr")
    return str(code)


class EnviWriter:
    """The files of a cube while they are written; `target` is that of the pixels. SaveError from all methods.

    Use it as a context manager: what is not published by the end of the block is removed.
    """

    def __init__(
        self,
        target: Path,
        description: Description,
        interleave: Interleave = "bip",
        tmp_suffix: str = "",
        leftover: Path | None = None,
    ) -> None:
        """`leftover`: the pixels of an earlier run, which is continued if no process writes them."""
        self._type = check_envi(description.dtype)
        self._description, self._interleave = description, interleave
        self._target = target
        self._stack = ExitStack()
        self._suffix = tmp_suffix
        self._targets = {key: target.with_name(f"{target.stem}{end}") for key, end in ENDINGS.items()}
        self._targets["raw"] = target
        refuse_existing(self._targets.values())
        self._own = threading.local()
        self._samples = Samples(description.n_lines, description.line_bytes)
        adopted = PartFile.adopt(leftover) if leftover is not None and leftover.is_file() else None
        self._part = adopted or PartFile(target.parent, part_name(target, tmp_suffix))
        try:
            self._part.reserve(description.n_lines * description.line_bytes)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> Path:
        """The temporary name of the pixels."""
        return self._part.path

    def _open(self, key: str) -> PartFile:
        target = self._targets[key]
        remove_leftovers(target, self._suffix)  # of a run that was killed while it published: these are never resumed
        return self._stack.enter_context(PartFile(target.parent, part_name(target, self._suffix)))

    # ---- pixels ----

    def put(self, first: int, lines: NDArray[Any]) -> None:
        """Write lines (n, x, wavelength), each contiguous, from number `first` on. Several threads may call it."""
        self._samples.note(first, lines)
        x, bands = self._description.line_shape
        little = self._description.dtype.newbyteorder("<")
        if self._interleave == "bsq":
            out = self._scratch((bands, len(lines), x))
            by_band(lines, out)
            row = x * little.itemsize
            for band in range(bands):
                offset = (band * self._description.n_lines + first) * row
                self._part.write_at(offset, out[band].reshape(-1).view(np.uint8).data)
            return
        offset = first * self._description.line_bytes
        if self._interleave == "bip" and lines.flags.c_contiguous and lines.dtype == little:
            is_aligned = (lines.ctypes.data - offset) % PAGE == 0
            out = lines if is_aligned else self._copy(lines, offset)
        elif self._interleave == "bip":
            out = self._copy(lines, offset)
        else:
            out = self._scratch((len(lines), bands, x), offset)
            by_line_and_band(lines, out)
        self._part.write_at(offset, out.reshape(-1).view(np.uint8).data)

    def _copy(self, lines: NDArray[Any], offset: int) -> NDArray[Any]:
        out = self._scratch(lines.shape, offset)
        np.copyto(out, lines)
        return out

    def _scratch(self, shape: tuple[int, ...], offset: int = 0) -> NDArray[Any]:
        """Memory of this thread, aligned as `offset` is in the file, so that pages are written past the page cache."""
        dtype = self._description.dtype.newbyteorder("<")
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        memory: NDArray[np.uint8] | None = getattr(self._own, "memory", None)
        if memory is None or len(memory) < n_bytes + PAGE:
            memory = self._own.memory = room((n_bytes + PAGE,), np.dtype(np.uint8))
        begin = offset % PAGE
        return memory[begin : begin + n_bytes].view(dtype).reshape(shape)

    def restore(self, first: int, crcs: NDArray[np.uint32]) -> bool:
        """Whether these lines, which an earlier run has written, are whole. Of bip only."""
        dtype = self._description.dtype.newbyteorder("<")
        shape = (len(crcs), *self._description.line_shape)
        with self._part.path.open("rb") as file:
            pixels = np.fromfile(file, dtype, int(np.prod(shape)), offset=first * self._description.line_bytes)
        lines = pixels.reshape(shape)
        if any(crc32_of(line) != crc for line, crc in zip(lines, crcs, strict=True)):
            return False
        self._samples.note(first, lines.astype(self._description.dtype, copy=False))
        return True

    # ---- all else ----

    def finish(self, description: Description | None = None) -> Path:
        """Write header and side files, let Spectral Python read them, and publish all. Returns the path of the pixels.

        `description`: what is known now that all lines are written.
        """
        description = description or self._description
        parts = {"raw": self._part, "csv": self._open("csv")}
        write_lines_table(parts["csv"], description.columns, description.n_lines)
        if description.groups:
            parts["groups"] = self._open("groups")
            write_groups(parts["groups"], description)
        parts["hdr"] = self._open("hdr")
        try:
            self._write_header(parts["hdr"].path, description)
        except OSError as error:
            raise save_error(error, parts["hdr"].path) from error
        self._read_back(parts["hdr"].path)
        try:
            for key, part in parts.items():
                part.publish_as(self._targets[key])
        except BaseException:
            for part in parts.values():
                if part.is_published:  # pixels without their header, or not durable: no file yet
                    unlink_or_warn(part.path)
            raise
        self.close()
        return self._target

    def _write_header(self, path: Path, description: Description) -> None:
        from spectral.io.envi import write_envi_header

        x, bands = description.line_shape
        fields: dict[str, Any] = {
            "description": _ascii(str(description.attributes.get("title", "hyperspectral datacube"))),
            "samples": x,
            "lines": description.n_lines,
            "bands": bands,
            "header offset": 0,
            "file type": "ENVI Standard",
            "data type": self._type,
            "interleave": self._interleave,
            "byte order": 0,
        }
        if description.wavelengths_nm is not None:
            fields["wavelength units"] = "Nanometers"
            fields["wavelength"] = [repr(float(value)) for value in description.wavelengths_nm]
            if description.fwhm_nm is not None:
                fields["fwhm"] = [repr(description.fwhm_nm)] * bands
        if description.colour_bands is not None:
            fields["default bands"] = [band + 1 for band in description.colour_bands]  # ENVI counts from 1
        fill = description.labels.get("_FillValue")
        if fill is not None or description.dtype.kind == "f":
            fields["data ignore value"] = "nan" if fill is None else fill
        fields[OWN_FIELD] = quote(json.dumps(dict(description.attributes), default=json_value))
        write_envi_header(str(path), fields)

    def _read_back(self, header: Path) -> None:
        from spectral.io import envi

        x = self._description.line_shape[0]
        try:
            image = envi.open(str(header.absolute()), str(self._part.path.absolute()))
        except Exception as error:  # Spectral Python has no common error
            raise FileError(f"{header}: Spectral Python cannot open it: {error}") from error
        expected = (self._description.n_lines, *self._description.line_shape)
        if image.shape != expected:
            raise FileError(f"{header}: Spectral Python reads (lines, samples, bands) {image.shape}, not {expected}")

        def read(number: int) -> NDArray[Any]:
            line: NDArray[Any] = image.read_subregion((number, number + 1), (0, x), use_memmap=False)[0]
            return line

        self._samples.compare(header, "Spectral Python", read)

    def close(self, *, keep: bool = False) -> None:
        """End; what is not published is removed, except the pixels with `keep`. Idempotent."""
        self._stack.close()
        if keep:
            self._part.keep()
        else:
            self._part.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode().replace("{", "(").replace("}", ")").replace("=", ":")
