"""Whether work in the background has the lowest priority, and gives it back."""

import os
import sys

import psutil
import pytest

from openhsi_shared.processes.background import in_background
from tests.support.helpers import in_child

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system has other priorities")


def priorities() -> tuple[int, int]:
    return os.getpriority(os.PRIO_PROCESS, 0), int(psutil.Process().ionice().ioclass)


def seen() -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    before = priorities()
    with in_background():
        within = priorities()
    return before, within, priorities()


def test_priorities_are_the_lowest_in_the_block() -> None:
    before, within, after = in_child(seen)  # not in this process, which only root could raise again
    assert within == (19, int(psutil.IOPRIO_CLASS_IDLE))
    if os.getuid() == 0:
        assert after == before
