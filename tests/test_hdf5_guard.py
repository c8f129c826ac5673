"""The search for damaged heaps, which would send HDF5 into an endless loop."""

import io

import pytest

from openhsi_shared.hdf5_guard import BLOCK_BYTES, SIGNATURE, refuse_endless_heaps

DAMAGED = SIGNATURE + (64).to_bytes(8, "little") + bytes(48)
"""A collection of 64 bytes, whose first object is free space of 0 bytes."""


@pytest.mark.parametrize("place", [0, 100, 200, 300, BLOCK_BYTES - 4])
def test_a_damaged_heap_is_found_between_known_parts_and_not_in_them(place):
    content = bytearray(BLOCK_BYTES + 100)
    content[place : place + len(DAMAGED)] = DAMAGED
    known = [(264, 36), (164, 36), (64, 36)]  # those at 100, 200 and 300 begin where one ends, or end where one begins
    for parts in ([], known):
        with pytest.raises(ValueError, match=f"the heap at byte {place} is damaged"):
            refuse_endless_heaps(io.BytesIO(content), parts)
    refuse_endless_heaps(io.BytesIO(content), [*known, (place, 64)])
