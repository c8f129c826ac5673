"""Damage in HDF5's global heaps for which its library would search for ever."""

from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["refuse_endless_heaps"]

SIGNATURE = b"GCOL\x01\0\0\0"
HEADER_BYTES = 16
"""Of a collection, and of each thing in it."""
BLOCK_BYTES = 16 << 20


def refuse_endless_heaps(file: BinaryIO) -> None:
    """ValueError if a collection in this file, which is read from end to end, does not lead on from a thing in it.

    A collection, where texts and lists of axes lie, has no checksum. HDF5 walks through it by the lengths that stand in
    it; where one is damaged to nothing, it never arrives, and cannot be interrupted. So look before it does.
    """
    for begin in list(_collections(file)):
        file.seek(begin + 8)
        end = begin + int.from_bytes(file.read(8), "little")
        place = begin + HEADER_BYTES
        while place + HEADER_BYTES <= end:
            file.seek(place)
            header = file.read(HEADER_BYTES)
            if len(header) < HEADER_BYTES:
                break  # the end of the file, as HDF5 will notice, too
            is_free_space, length = header[:2] == b"\0\0", int.from_bytes(header[8:], "little")
            step = length if is_free_space else (HEADER_BYTES + -(-length // 8) * 8) % (1 << 64)
            if step == 0:
                raise ValueError(f"the heap at byte {begin} is damaged")
            place += step


def _collections(file: BinaryIO) -> Iterator[int]:
    """Where they begin."""
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
