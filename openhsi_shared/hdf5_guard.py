"""Detection of damage in HDF5's global heaps that sends its library into an endless loop."""

from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["refuse_endless_heaps"]

SIGNATURE = b"GCOL\x01\0\0\0"
HEADER_BYTES = 16
"""Size of the header of a collection, and of each object in it."""
BLOCK_BYTES = 16 << 20


def refuse_endless_heaps(file: BinaryIO) -> None:
    """ValueError if an object of a global heap collection has length 0. Reads the whole file.

    Collections store texts and lists of axes, without a checksum. HDF5 iterates over the objects by their stored
    lengths; with a damaged length of 0 it never ends, and cannot be interrupted. So check before HDF5 opens the file.
    """
    for begin in list(_collections(file)):
        file.seek(begin + 8)
        end = begin + int.from_bytes(file.read(8), "little")
        place = begin + HEADER_BYTES
        while place + HEADER_BYTES <= end:
            file.seek(place)
            header = file.read(HEADER_BYTES)
            if len(header) < HEADER_BYTES:
                break  # the end of the file, which HDF5 detects itself
            is_free_space, length = header[:2] == b"\0\0", int.from_bytes(header[8:], "little")
            step = length if is_free_space else (HEADER_BYTES + -(-length // 8) * 8) % (1 << 64)
            if step == 0:
                raise ValueError(f"the heap at byte {begin} is damaged")
            place += step


def _collections(file: BinaryIO) -> Iterator[int]:
    """Offsets of the collections."""
    file.seek(0)
    before, base = b"", 0
    while block := file.read(BLOCK_BYTES):
        data = before + block
        place = data.find(SIGNATURE)
        while place >= 0:
            yield base + place
            place = data.find(SIGNATURE, place + 1)
        before = data[-len(SIGNATURE) + 1 :]
        base += len(data) - len(before)
