"""Descriptors that other code closes are recognised, and some are held in reserve; see `tests/field/test_listeners`."""

import errno
import os
import subprocess
import sys

import psutil
import pytest

from openhsi_shared.processes.descriptors import Owned, Reserve, explained
from openhsi_shared.processes.spawning import SPAWN

resource = pytest.importorskip("resource")


def test_a_connection_is_open_until_it_is_closed():
    end, other = map(Owned, SPAWN.Pipe())
    assert end.is_open()
    end.close()
    end.close()
    assert (end.is_open(), end.if_open()) == (False, [])
    other.close()


@pytest.mark.parametrize("is_reused", [True, False])
def test_a_number_that_other_code_has_closed_is_not_closed_again(is_reused):
    connection, other = SPAWN.Pipe()
    end, number = Owned(connection), connection.fileno()
    os.close(number)
    if is_reused:
        opened = os.open(os.devnull, os.O_RDONLY)
        os.dup2(opened, number)
    assert not end.is_open()
    end.close()
    other.close()
    if is_reused:
        for descriptor in {opened, number}:
            os.close(descriptor)


def test_a_reserve_is_there_when_it_is_needed_and_is_filled_again():
    me, reserve = psutil.Process(), Reserve()
    before = me.num_fds()
    reserve.fill()
    reserve.fill()
    assert me.num_fds() == before + Reserve.N_FOR_A_CHILD
    with reserve.lent():
        assert me.num_fds() == before
    assert me.num_fds() == before + Reserve.N_FOR_A_CHILD
    reserve.close()
    reserve.close()
    assert me.num_fds() == before


def test_a_reserve_leaves_most_descriptors_to_the_program():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    me, reserve = psutil.Process(), Reserve()
    before = me.num_fds()
    resource.setrlimit(resource.RLIMIT_NOFILE, (20, hard))
    try:
        reserve.fill()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert me.num_fds() <= before + 5
    reserve.close()


def test_the_limit_what_is_needed_and_the_way_out_are_named():
    """In a process of its own: with so few descriptors nothing else works."""
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20));"
        "from openhsi_shared import SharedSimulatedCamera as Camera;"
        "camera = Camera(n_lines=8, resolution=(16, 32), row_slice=(0, 16)); camera.collect(progress=False)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert "may have 20 open files (ulimit -n), and a camera needs about 30" in done.stderr
    assert "`ulimit -n 1024`" in done.stderr
    assert explained(OSError(errno.ENOSPC, "full")) == "[Errno 28] full"
