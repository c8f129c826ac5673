"""Huge pages change how fast shared memory is, and nothing else."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared.buffers.huge_pages import MIN_RANGE_BYTES, _huge_page_bytes, make_huge_pages, map_at_huge_pages
from openhsi_shared.buffers.memory import aligned_bytes, arena_of, shared_array
from openhsi_shared.processes.spawning import SPAWN

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked for huge pages")

SIZE = MIN_RANGE_BYTES + (5 << 20) + 12345


def _mapped_in_huge_pages() -> int:
    words = Path("/proc/self/smaps_rollup").read_text().split()
    return int(words[words.index("ShmemPmdMapped:") + 1]) * 1024


def _kernel_makes_them() -> bool:
    version = tuple(int(part) for part in os.uname().release.split(".")[:2])
    return version >= (6, 1) and _huge_page_bytes() is not None


def test_contents_before_and_behind_the_range_stay():
    with open_memory(3 * SIZE) as fd:
        os.pwrite(fd, b"a" * SIZE, 0)
        os.pwrite(fd, b"b" * SIZE, 2 * SIZE)
        make_huge_pages(fd, SIZE, SIZE)
        assert os.pread(fd, SIZE, 0) == b"a" * SIZE
        assert os.pread(fd, SIZE, 2 * SIZE) == b"b" * SIZE
        assert not any(os.pread(fd, SIZE, SIZE))


@contextmanager
def open_memory(size):
    fd = os.memfd_create("test")
    try:
        os.ftruncate(fd, size)
        yield fd
    finally:
        os.close(fd)


def test_both_mappings_are_the_same_memory():
    array = shared_array("B", SIZE, "test")
    view, plain = aligned_bytes(array, SIZE - 4096), np.frombuffer(array, np.uint8)
    begin = -arena_of(array)[1] % 4096
    view[[0, 5_000_000, SIZE - 4097]] = 1, 2, 3
    assert plain[[begin, begin + 5_000_000, begin + SIZE - 4097]].tolist() == [1, 2, 3]
    plain[begin + 9] = 4
    assert view[9] == 4


def test_view_outlives_the_array_that_it_was_made_of():
    view = aligned_bytes(shared_array("B", SIZE, "test"), SIZE - 4096)
    view[:] = 3
    part = view[1_000_000:2_000_000]
    del view
    assert (part == 3).all()


def test_mapping_ends_with_its_last_view():
    array = shared_array("B", SIZE, "test")
    before = Path("/proc/self/maps").read_text().count("/dev/shm/")
    for _ in range(20):
        aligned_bytes(array, SIZE - 4096)[:] = 1
    assert Path("/proc/self/maps").read_text().count("/dev/shm/") == before


def test_small_arrays_are_left_as_they_are():
    array = shared_array("B", 100_000, "test")
    assert map_at_huge_pages(arena_of(array)[0].fd, 100_000) is None


@pytest.mark.skipif(sys.platform != "linux" or not _kernel_makes_them(), reason="Linux makes them from 6.1 on")
def test_view_lies_in_huge_pages():
    array = shared_array("B", 64 << 20, "test")
    view = aligned_bytes(array, 60 << 20)
    view[:] = 1
    assert _mapped_in_huge_pages() >= 40 << 20
    del array


def _add_one(array):
    aligned_bytes(array, SIZE - 4096)[:] += 1


def test_child_sees_the_same_memory():
    array = shared_array("B", SIZE, "test")
    view = aligned_bytes(array, SIZE - 4096)
    view[:] = 41
    child = SPAWN.Process(target=_add_one, args=(array,))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert (view == 42).all()
