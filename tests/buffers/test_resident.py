"""The pages of slots are mapped and, if the system allows it, locked, before the first line."""

import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared.buffers import resident
from openhsi_shared.buffers.huge_pages import map_at_huge_pages
from openhsi_shared.buffers.memory import arena_of, shared_array
from openhsi_shared.buffers.resident import make_resident
from openhsi_shared.buffers.slot_memory import SlotLayout, SlotMemory
from openhsi_shared.buffers.slot_owner import SlotOwner
from tests.support.helpers import run_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux maps pages ahead")

SIZE = 32 << 20
LAYOUT = SlotLayout(n_slots=2, n_lines=8, line_shape=(1024, 1024), dtype="uint16")


def n_faults():
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt


def mapped_again(array):
    """A view of the array's memory whose pages are not mapped yet."""
    mapped = map_at_huge_pages(arena_of(array)[0].fd, SIZE)
    if mapped is None:
        pytest.skip("this kernel has no huge pages for shared memory")
    return np.frombuffer(mapped, np.uint8)


def faults_of_filling(view):
    before = n_faults()
    view[::4096] = 1
    return n_faults() - before


@pytest.mark.parametrize("refused", [(), ("mlock",), ("mlock", "madvise")])
def test_filling_new_memory_takes_no_page_fault(refused, monkeypatch):
    class Refusing:
        def __getattr__(self, name):
            return (lambda *_: -1) if name in refused else getattr(resident_libc, name)

    resident_libc = resident._libc()
    monkeypatch.setattr(resident, "_libc", Refusing)
    array = shared_array("B", SIZE, "test")
    assert faults_of_filling(mapped_again(array)) >= SIZE // (2 << 20) // 2
    view = mapped_again(array)
    view_before = np.frombuffer(array, np.uint8).copy()
    make_resident({"lines": view})
    assert faults_of_filling(view) <= 2
    assert np.array_equal(np.frombuffer(array, np.uint8)[1:4096], view_before[1:4096])


def test_owner_of_slots_locks_them_and_release_unlocks():
    def locked():
        words = Path("/proc/self/status").read_text().split()
        return int(words[words.index("VmLck:") + 1]) * 1024

    before = locked()
    slots = SlotOwner(SlotMemory.make(LAYOUT))
    if locked() - before < LAYOUT.slot_bytes:
        pytest.skip("the system does not lock so much memory for this user")
    assert locked() - before >= 2 * LAYOUT.slot_bytes
    slots.release()
    assert locked() - before < LAYOUT.slot_bytes


def test_refused_lock_is_no_error_and_logged_at_debug():
    program = """
import ctypes, logging, resource
logging.basicConfig(level="DEBUG", format="%(levelname)s %(message)s")
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.buffers.slot_memory import SlotMemory
from tests.buffers.test_resident import LAYOUT
import os
if os.geteuid() == 0:
    os.setuid(65534)
resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 16, 1 << 16))
slots = SlotOwner(SlotMemory.make(LAYOUT))
slots.begin(0)
"""
    done = run_python("-c", program)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "locked" in line]
    assert line.startswith(("DEBUG 3", "DEBUG 4")), line
    assert line.endswith(
        "MB of slots are mapped, but not locked in memory: Cannot allocate memory; `ulimit -l` is the limit"
    )
