"""The thread that captures has a short time slice while it does, and the writer a longer one than it, but no more."""

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from openhsi_shared import SharedSimulatedCamera
from openhsi_shared.processes.time_slices import CAPTURE_US, DEFAULT_US, WRITER_US, set_slice, slice_for_a_while
from openhsi_shared.processes.time_slices import slice_of_thread as slice_by_call
from tests.support.flow import COUNTING
from tests.support.helpers import in_child, policy_and_slice, policy_and_slice_without_slices
from tests.support.process_faults import writers_of


def slice_us(process_id, thread_id):
    """What the kernel itself reports; None before Linux 6.12."""
    lines = Path(f"/proc/{process_id}/task/{thread_id}/sched").read_text().splitlines()
    found = [line for line in lines if line.startswith("se.slice")]
    return int(found[0].split()[-1]) // 1000 if found else None


def slice_here():
    return slice_us(os.getpid(), threading.get_native_id())


pytestmark = pytest.mark.skipif(slice_by_call() is None, reason="only Linux 6.12 and later has time slices of threads")


def test_thread_that_captures_has_a_short_slice_only_while_it_does_and_the_writer_a_longer_one():
    seen, before = [], slice_here()
    with SharedSimulatedCamera(**COUNTING, n_lines=8, rate=500) as cam:
        cam.collect(lambda n, _: seen.append(slice_here()), progress=False)
        (writer,) = writers_of()
        of_writer = set()
        for thread in Path(f"/proc/{writer.pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # one that has ended meanwhile
                of_writer.add(slice_us(writer.pid, int(thread.name)))
        of_others = {slice_us(os.getpid(), one.native_id) for one in threading.enumerate()}
        assert slice_here() == before
    assert set(seen) == {CAPTURE_US}
    assert of_writer == {WRITER_US}
    assert CAPTURE_US < WRITER_US < before
    assert CAPTURE_US not in of_others, "the thread that hears the writer was started by the one that captures"


def test_service_has_its_own_slice_and_not_that_of_the_thread_that_starts_it():
    default = slice_here()
    with slice_for_a_while(CAPTURE_US):
        assert in_child(policy_and_slice, None) == (os.SCHED_BATCH, default)
        assert in_child(policy_and_slice, WRITER_US) == (os.SCHED_OTHER, WRITER_US)
        assert in_child(policy_and_slice_without_slices, WRITER_US)[0] == os.SCHED_BATCH
    assert slice_here() == default


def test_slice_is_what_the_kernel_has_and_real_time_has_none():
    seen = []

    def change():
        seen.extend((set_slice(300), slice_here(), slice_by_call()))
        set_slice(DEFAULT_US)
        seen.append(slice_here())
        seen.extend((set_slice(-1), slice_here()))
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except PermissionError:
            return
        seen.extend((slice_by_call(), set_slice(300)))

    default = slice_here()
    thread = threading.Thread(target=change)
    thread.start()
    thread.join()
    assert seen[:4] == [True, 300, 300, default]
    assert seen[6:] in ([], [None, False])
    assert slice_here() == default, "only that thread was changed"
