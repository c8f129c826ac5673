"""Files of other formats that are taken for cubes: what they are, and what to do with them."""

from pathlib import Path

__all__ = ["format_of"]

HEAD_BYTES = 4096
SIGNATURES = (
    (b"version https://git-lfs.github.com/", "a pointer of Git LFS, not the file itself: get it with `git lfs pull`"),
    (b"/annex/objects/", "a pointer of git-annex, not the file itself: get it with `git annex get`"),
    (b"ENVI", "a header of ENVI, expected a NetCDF-4 file; the Python package spectral reads ENVI"),
    (b"\x1f\x8b", "compressed by gzip: decompress it first (`gunzip`)"),
    (b"BZh", "compressed by bzip2: decompress it first (`bunzip2`)"),
    (b"\xfd7zXZ\0", "compressed by xz: decompress it first (`unxz`)"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: decompress it first (`unzstd`)"),
    (b"7z\xbc\xaf\x27\x1c", "an archive of 7-Zip: unpack it first"),
    (b"PK\x03\x04", "a zip archive (or .npz, .xlsx): unpack it first"),
    (b"CDF\x01", "a NetCDF-3 file, expected NetCDF-4: convert it with `nccopy -k nc4`"),
    (b"CDF\x02", "a NetCDF-3 file (64-bit offset), expected NetCDF-4: convert it with `nccopy -k nc4`"),
    (b"CDF\x05", "a NetCDF file of the format CDF-5, expected NetCDF-4: convert it with `nccopy -k nc4`"),
    (b"\x0e\x03\x13\x01", "an HDF4 file, expected NetCDF-4: convert it with `h4toh5`"),
    (b"MATLAB 5.0 MAT-file", "a MAT-file of MATLAB, expected a NetCDF-4 file"),
    (b"\x93NUMPY", "an array of numpy (.npy), expected a NetCDF-4 file"),
    (b"\x89PNG\r\n", "a PNG picture: give the .nc file beside it"),
    (b"\xff\xd8\xff", "a JPEG picture, expected a NetCDF-4 file"),
    (b"II*\0", "a TIFF picture, expected a NetCDF-4 file"),
    (b"MM\0*", "a TIFF picture, expected a NetCDF-4 file"),
    (b"%PDF", "a PDF document, expected a NetCDF-4 file"),
)
"""How a file begins, and what it is."""
TAR = (257, b"ustar", "a tar archive: unpack it first")


def format_of(path: Path) -> str:
    """What a file is that HDF5 cannot open, in words; "" if unknown, or if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if path.with_name(f"{path.name}.json").is_file() and path.suffix == ".raw":
            return f"the dump of a cube, not a file yet: openhsi-shared recover {path.parent}"
        header = next((one for one in _headers_of(path) if one.is_file()), None)
        if header is not None and not head.startswith(b"ENVI"):
            with header.open("rb") as file:
                if file.read(4) == b"ENVI":
                    return f"the data of an ENVI file (its header is {header.name}), expected a NetCDF-4 file"
    except OSError:
        return ""
    return _format_of_head(head)


def _headers_of(path: Path) -> list[Path]:
    """Where the ENVI header of a data file may be: cube.hdr, or cube.img.hdr."""
    return [path.with_suffix(".hdr"), path.with_name(f"{path.name}.hdr")]


def _format_of_head(head: bytes) -> str:
    if not head:
        return "empty (0 bytes), a damaged or unfinished copy: look for another one"
    if not head.strip(b"\0"):
        return "damaged: it begins with zeros, as after a power cut or an unfinished copy; look for another copy"
    offset, mark, archive = TAR
    found = next((words for signature, words in SIGNATURES if head.startswith(signature)), "")
    return found or (archive if head[offset:].startswith(mark) else _format_of_text(head))


def _format_of_text(head: bytes) -> str:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page or XML, not the file itself: was a login or an error page downloaded in its place?"
    if text.startswith((b"{", b"[")) and b"\0" not in head:
        return "a text file, JSON by its beginning; expected a NetCDF-4 file"
    return ""
