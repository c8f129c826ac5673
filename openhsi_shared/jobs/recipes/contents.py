"""What identifies the content of files: of cubes, calibrations and others."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.calibration import Calibration, read_calibration
from openhsi_shared.errors import ArgumentError, FileError
from openhsi_shared.files.checksums import crc32_of, end_vector_code
from openhsi_shared.files.linked import lines_hash
from openhsi_shared.files.reading import OpenCube, open_cube
from openhsi_shared.paths import file_version, given_path

__all__ = ["Content", "calibration_hash", "calibration_of", "content_of_cube", "content_of_file"]

BLOCK_BYTES = 16 << 20


class Content(NamedTuple):
    """A file, known by its content."""

    text: str


_cache: dict[tuple[str | int, ...], Any] = {}
_cache_lock = threading.Lock()


def _once(what: str, path: Path, compute: Callable[[Path], Any]) -> Any:
    """`compute(path)`, once in this process while the file stays as it is."""
    key = (what, *file_version(path))
    with _cache_lock:
        if key in _cache:
            return _cache[key]
    value = compute(path)
    with _cache_lock:
        return _cache.setdefault(key, value)


def content_of_cube(path: Path) -> tuple[str, dict[str, Any]]:
    """("cube", uuid and CRC-32 of all checksums of lines) of a cube of this library; with checksums no pixel is read.

    ("foreign", CRC-32 of all pixels, shape, type and bands) of another program's, read once. FileError.
    """
    kind, values = _once("cube", path, _content_of_cube)
    return kind, dict(values)


def _content_of_cube(path: Path) -> tuple[str, dict[str, Any]]:
    with open_cube(path) as cube:
        if cube.is_ours:
            uuid = cube.attributes.get("uuid")
            has_checksums = cube.contents.has("line_crc32")  # else its lines are those of the cube that it refers to
            lines = f"{crc32_of(cube.column('line_crc32')):08x}" if has_checksums else lines_hash(cube)
            return "cube", {"uuid": None if uuid is None else str(uuid), "lines_crc32": lines}
        bands = cube.column("wavelength") if cube.contents.has("wavelength") else np.zeros(0)
        about = hashlib.sha256(_bytes_of(np.asarray(bands))).hexdigest()[:16]
        shape, dtype = tuple(map(int, cube.lines.shape)), np.dtype(cube.lines.dtype).newbyteorder("=").name
        return "foreign", {
            "pixels_crc32": f"{_crc32_of_pixels(cube):08x}",
            "shape": shape,
            "dtype": dtype,
            "bands": about,
        }


def _crc32_of_pixels(cube: OpenCube) -> int:
    """CRC-32 of all pixels, as (along-track, cross-track, wavelength), little-endian."""
    from isal import isal_zlib

    lines, crc = cube.lines, 0
    n = max(1, BLOCK_BYTES // max(1, lines.shape[1] * lines.shape[2] * lines.dtype.itemsize))
    for first in range(0, len(lines), n):
        block = lines[first : first + n]
        block = np.ascontiguousarray(block, block.dtype.newbyteorder("<"))
        crc = isal_zlib.crc32(block.reshape(-1).view(np.uint8), crc)
        end_vector_code()
    return crc


def content_of_file(path: str | Path) -> Content:
    """The content of a file that a stage reads: of a cube as `content_of_cube`, of others their SHA-256."""
    path = given_path(path)
    try:
        return Content(_once("file", path, _content_of_file))
    except OSError as error:
        raise ArgumentError(f"the file {path}, which a stage of the job uses, cannot be read: {error}") from error


def _content_of_file(path: Path) -> str:
    try:
        kind, values = content_of_cube(path)
    except FileError:
        with path.open("rb") as file:
            return f"sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
    return " ".join([kind, *map(str, values.values())])


_calibrations: WeakValueDictionary[tuple[str | int, ...], Calibration] = WeakValueDictionary()
_hashes: dict[str, str] = {}


def calibration_of(path: Path | None) -> Calibration:
    """A calibration, read once for all cubes of a job: it has tens of MB. CalibrationError."""
    if path is None:
        return Calibration()
    try:
        key = file_version(path)
    except OSError:
        return read_calibration(path)  # raises
    with _cache_lock:
        calibration = _calibrations.get(key)
    if calibration is None:
        calibration = read_calibration(path)
        with _cache_lock:
            _calibrations[key] = calibration
    return calibration


def calibration_hash(calibration: Calibration) -> str | None:
    """Hash of the values of a calibration, the same for a pickle and the file made of it; None if it is empty."""
    if not calibration:
        return None
    if calibration.sha256 in _hashes:
        return _hashes[calibration.sha256]
    found = _hash_of_values(calibration)
    if calibration.sha256:
        _hashes[calibration.sha256] = found
    return found


def _hash_of_values(calibration: Calibration) -> str:
    digest = hashlib.sha256()
    for key in sorted(calibration):
        digest.update(f"{key}\0".encode())
        digest.update(_bytes_of_value(calibration[key]))
    if "rad_ref" in calibration:
        from openhsi_shared.calibration.references import REFERENCE_AXES

        axes = calibration.dims.get("rad_ref") or REFERENCE_AXES
        digest.update(repr(tuple(axes)).encode())
        for axis in axes:
            if axis in calibration.coordinates:
                digest.update(axis.encode())
                digest.update(_bytes_of(np.asarray(calibration.coordinates[axis])))
    return digest.hexdigest()[:16]


def _bytes_of_value(value: Any) -> bytes:
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if isinstance(value, list | tuple | np.ndarray):
        return _bytes_of(np.asarray(value))
    if isinstance(value, int | float):  # of a file, 1 and 1.0 are the same number
        return _bytes_of(np.asarray(float(value)))
    return repr(value).encode()


def _bytes_of(array: NDArray[Any]) -> bytes:
    """Shape, type and values of an array, in a form that does not depend on how a file stores it."""
    if array.dtype.kind in "OUS":
        return repr(
            [array.shape, [one.decode() if isinstance(one, bytes) else str(one) for one in array.flat]]
        ).encode()
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return f"{array.dtype.str} {array.shape} ".encode() + array.tobytes()
