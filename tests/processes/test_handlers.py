"""Handlers of signals run behind the block that defers them."""

import os
import signal
import threading

import pytest

from openhsi_shared.processes.handlers import handlers_deferred


@pytest.fixture
def seen():
    found = []
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    signal.signal(signal.SIGUSR1, lambda number, _: found.append(number))
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_handler_runs_behind_the_block_as_often_as_it_was_called(seen):
    with handlers_deferred():
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)
        assert seen == []
    assert seen == [signal.SIGUSR1] * 2
    signal.raise_signal(signal.SIGUSR1)
    assert len(seen) == 3


def test_ctrl_c_is_raised_behind_the_block():
    done = False
    with pytest.raises(KeyboardInterrupt), handlers_deferred():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        done = True
    assert done


def test_all_handlers_are_theirs_again_also_if_one_raises(seen):
    def fail(*_):
        raise ZeroDivisionError

    signal.signal(signal.SIGUSR2, fail)
    with pytest.raises(ZeroDivisionError), handlers_deferred():
        signal.raise_signal(signal.SIGUSR2)
    assert signal.getsignal(signal.SIGUSR2) is fail
    signal.raise_signal(signal.SIGUSR1)
    assert seen == [signal.SIGUSR1]


def test_in_another_thread_nothing_is_changed():
    def use():
        with handlers_deferred():
            pass

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(60)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
