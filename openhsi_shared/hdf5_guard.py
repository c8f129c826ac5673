"""Detection of damage in HDF5's global heaps that sends its library into an endless loop."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

__all__ = ["refuse_endless_heaps"]

SIGNATURE = b"GCOL\x01\0\0\0"
HEADER_BYTES = 16
"""Size of the header of a collection, and of each object in it."""
BLOCK_BYTES = 16 << 20


def refuse_endless_heaps(file: BinaryIO, known: Sequence[tuple[int, int]] = ()) -> None:
    """ValueError if the length of an object in a global heap collection leads nowhere. Reads the whole file.

    All but the parts `known`, (offset, length) each: those that are certainly something else.

    Collections store texts and lists of axes, without a checksum. HDF5 iterates over the objects by their stored
    lengths; a damaged length that advances by 0 bytes makes an endless loop, which cannot be interrupted. So check
    before HDF5 opens the file.
    """
    for begin in list(_collections(file, known)):
        file.seek(begin + 8)
        end = begin + int.from_bytes(file.read(8), "little")
        offset = begin + HEADER_BYTES
        while offset + HEADER_BYTES <= end:
            file.seek(offset)
            header = file.read(HEADER_BYTES)
            if len(header) < HEADER_BYTES:
                break  # the end of the file, which HDF5 detects itself
            is_free_space, length = header[:2] == b"\0\0", int.from_bytes(header[8:], "little")
            step = length if is_free_space else (HEADER_BYTES + -(-length // 8) * 8) % (1 << 64)
            if step == 0:
                raise ValueError(f"the heap at byte {begin} is damaged")
            offset += step


def _collections(file: BinaryIO, known: Sequence[tuple[int, int]]) -> Iterator[int]:
    """Offsets of the collections."""
    begin = 0
    for offset, length in [*sorted(known), (None, 0)]:
        yield from _collections_between(file, begin, offset)
        begin = max(begin, (offset or 0) + length)


def _collections_between(file: BinaryIO, begin: int, end: int | None) -> Iterator[int]:
    """Those from one offset to another; None: to the end of the file."""
    file.seek(begin)
    before, base = b"", begin
    while block := file.read(BLOCK_BYTES if end is None else max(0, min(BLOCK_BYTES, end - base - len(before)))):
        data = before + block
        offset = data.find(SIGNATURE)
        while offset >= 0:
            yield base + offset
            offset = data.find(SIGNATURE, offset + 1)
        before = data[-len(SIGNATURE) + 1 :]
        base += len(data) - len(before)
