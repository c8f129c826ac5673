"""Which slot the slot filler takes next, and that waiting for one ends when none will become free."""

import threading

import numpy as np

from openhsi_shared.errors import WriterFailed
from tests.support.filler_bench import Bench


def test_register_says_which_slot_comes_next():
    bench = Bench()
    bench.take(0)
    assert bench.filler.peek_free() == 1
    bench.save()
    bench.take(1)
    bench.save()
    assert bench.filler.peek_free() is None
    assert np.array_equal(bench.filler.lines(), np.zeros((0, 2, 3)))


def test_nobody_waits_for_a_slot_when_none_will_become_free():
    bench = Bench("block")
    for number in range(8):
        bench.take(number)
        if number % 4 == 3:
            bench.save()
    caught = []

    def wait():
        try:
            bench.take(8)
        except WriterFailed as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    with bench.supervisor.changed:
        bench.supervisor.failure = WriterFailed("of the test")
        bench.supervisor.changed.notify_all()
    thread.join(60)
    assert caught == [bench.supervisor.failure]
