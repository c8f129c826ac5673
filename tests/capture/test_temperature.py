"""The sensor temperature is read outside the loop, and never blocks it."""

import itertools
import logging
import math
import threading

import pytest

from openhsi_shared.capture.temperature import TemperatureWatch
from tests.support.helpers import wait_for


@pytest.fixture
def watch_of():
    """Make a watch that is stopped after the test."""
    made = []

    def make(read, period_s=0.001):
        made.append(TemperatureWatch(read, period_s))
        return made[-1]

    yield make
    for watch in made:
        watch.stop()


def test_there_is_a_temperature_as_soon_as_it_runs(watch_of):
    watch = watch_of(lambda: 31.5, period_s=100)
    assert math.isnan(watch.celsius)
    watch.start()
    assert watch.celsius == 31.5


def test_it_is_read_again_and_again(watch_of):
    values = iter(range(1000))
    watch = watch_of(lambda: next(values))
    watch.start()
    wait_for(lambda: watch.celsius >= 5)


def test_started_twice_is_started_once_and_stopped_twice_stopped_once(watch_of):
    values = itertools.count()
    watch = watch_of(lambda: next(values))
    watch.start()
    thread = watch._thread
    watch.start()
    assert watch._thread is thread
    watch.stop()
    watch.stop()
    assert not thread.is_alive()
    watch.start()
    again = watch.celsius
    wait_for(lambda: watch.celsius > again + 1)


def test_reading_is_done_in_a_thread_of_its_own(watch_of):
    readers = []
    watch = watch_of(lambda: readers.append(threading.current_thread().name) or 1.0)
    watch.start()
    wait_for(lambda: len(readers) > 1)
    assert readers[1] == "openhsi_shared temperature"


def test_failure_is_a_nan_counted_and_told_once(watch_of, caplog):
    def read():
        raise OSError("no answer from the sensor")

    watch = watch_of(read)
    watch.start()
    wait_for(lambda: watch.n_failed > 3)
    watch.stop()
    assert math.isnan(watch.celsius)
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage() for record in told] == [
        "the temperature cannot be read, lines will have none: no answer from the sensor"
    ]


def test_it_recovers_after_a_failure(watch_of):
    answers = iter([OSError("busy"), OSError("busy")])

    def read():
        error = next(answers, None)
        if error is not None:
            raise error
        return 25.0

    watch = watch_of(read)
    watch.start()
    wait_for(lambda: watch.celsius == 25.0)
    assert watch.n_failed == 2


def test_what_is_no_number_counts_as_a_failure(watch_of):
    watch = watch_of(lambda: None, period_s=100)
    watch.start()
    assert math.isnan(watch.celsius)
    assert watch.n_failed == 1


def test_it_may_be_stopped_by_what_it_reads(watch_of):
    """The garbage collector may drop a camera in any thread."""
    ended = threading.Event()

    def read():
        if threading.current_thread() is not threading.main_thread():
            watch.stop()
            ended.set()
        return 20.0

    watch = watch_of(read)
    watch.start()
    assert ended.wait(60)
    assert watch.n_failed == 0


def test_a_thread_that_ends_leaves_no_old_temperature_behind(watch_of, caplog):
    values = iter([20.0, 21.0])

    def read():
        value = next(values, None)
        if value is None:
            raise SystemExit("a script's own")
        return value

    watch = watch_of(read)
    watch.start()
    wait_for(lambda: watch.n_failed)
    assert math.isnan(watch.celsius)
    wait_for(lambda: "the temperature is no longer read, lines will have none: SystemExit" in caplog.text)
    watch.stop()


@pytest.mark.usefixtures("broken_handler")
def test_a_logging_handler_that_raises_does_not_end_the_readings(watch_of):
    values = itertools.chain([None], itertools.repeat(7.0))
    watch = watch_of(lambda: next(values))
    watch.start()
    wait_for(lambda: watch.celsius == 7.0)
    assert watch.n_failed == 1


def test_without_threads_a_camera_can_be_stopped_and_started_again(monkeypatch):
    temperature = TemperatureWatch(lambda: 20.0, 0.001)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no more threads")))
        with pytest.raises(RuntimeError):
            temperature.start()
    temperature.stop()
    temperature.start()
    assert temperature._thread.is_alive()
    temperature.stop()
