import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared.analysis.pickling import pickled, unpickled
from openhsi_shared.analysis.streams.source import Overwritten, Unreadable
from openhsi_shared.errors import AnalysisError
from tests.analysis.work.runs import batch, events, runner


class Ends:
    """Raises for some events what must not end the loop."""

    def __init__(self, state):
        self.name = state.name

    def process_event(self, event, tick):
        raised = {1: StopIteration, 2: SystemExit, 3: KeyboardInterrupt, 4: GeneratorExit}.get(event.event_number)
        if raised:
            raise raised("of event")
        return None if event.event_number == 5 else (self.name, tick)


def test_what_an_event_raises_is_its_failure_and_the_others_are_processed():
    result = runner(Ends).process(batch(0, 8, tick=7), events(0, 8))
    assert [(number, unpickled(payload)) for number, payload in result.results] == [
        (0, ("w0", False)),
        (6, ("w0", False)),
        (7, ("w0", True)),
    ]
    assert [(one.event_number, one.error.split(":")[0]) for one in result.failures] == [
        (1, "StopIteration"),
        (2, "SystemExit"),
        (3, "KeyboardInterrupt"),
        (4, "GeneratorExit"),
    ]
    assert "process_event" in result.failures[0].traceback
    assert not result.failures[1].traceback
    assert result.n_events == 8


class Returns:
    def process_event(self, event):
        data = np.frombuffer(event.streams["s"].frames[0], np.uint8)
        return [lambda: 0, Path(os.devnull).open(), {"view": data}, event.streams["s"].frames[0], type("Made", (), {})][
            event.event_number
        ]


@pytest.mark.filterwarnings("ignore:unclosed file")
def test_results_travel_in_one_process_as_between_two():
    result = runner(Returns).process(batch(0, 5), events(0, 5))
    assert [one.event_number for one in result.failures] == [0, 1, 4]
    view, frame = (unpickled(payload) for _, payload in result.results)
    assert view["view"].tolist() == [2] * 8
    view["view"] += 1  # writeable
    assert frame == b"\x03" * 8


def test_a_function_of_main_fails_in_one_process_too(monkeypatch):
    def named(): ...

    named.__module__, named.__qualname__ = "__main__", "named"
    monkeypatch.setattr(sys.modules["__main__"], "named", named, raising=False)
    with pytest.raises(pickle.PicklingError, match="found by its name"):
        pickled(named)


def test_what_a_reader_does_not_deliver_is_counted():
    class Reading:
        def __init__(self):
            self.numbers = iter(range(6))

        def __iter__(self):
            return self

        def __next__(self):
            number = next(self.numbers)
            if number == 1:
                raise OSError("damaged")
            if number == 4:
                raise StopIteration
            special = {2: Overwritten(2, 77), 3: Unreadable(3, AnalysisError("line 3 is damaged"))}
            return special.get(number) or next(events(number, number + 1))

    result = runner(Ends).process(batch(0, 6), Reading())
    assert [(one.event_number, one.error) for one in result.failures] == [
        (1, "OSError: damaged"),
        (3, "AnalysisError: line 3 is damaged"),
        (4, "AnalysisError: it was not read"),
        (5, "AnalysisError: it was not read"),
    ]
    assert result.overwritten == [(2, 77)]
    assert [number for number, _ in result.results] == [0]
    assert result.n_events == 5


class SumsUp:
    def __init__(self, context):
        self.sum = 0
        context["made"] = context.get("made", 0) + 1

    def get_tick_interval(self, parameters=None):
        return np.float32(2) if self.sum < 3 else "often"

    def process_event(self, event):
        self.sum += event.event_number
        return 1

    def flush(self, parameters):
        return self.sum

    def finish(self):
        raise OSError("full")

    def close(self, context):
        context["closed"] = self.sum


def test_a_worker_can_sum_up_and_repeat_for_its_state():
    working = runner(SumsUp)
    assert working.tick_interval_s == 2.0
    repeated = working.process(batch(1, 2, is_repeated_for_state=True), events(1, 2))
    assert (repeated.results, repeated.n_events) == ([], 0)
    result = working.process(batch(2, 4), events(2, 4))
    assert "'often'" in result.failures[0].error
    last = working.flush()
    assert (last.number, last.results[0][0], unpickled(last.results[0][1])) == (-1, 3, 6)
    assert [one.error for one in last.failures] == ["OSError: full"]
    working.close()
    assert working._context == {"made": 1, "closed": 6}


class Keeps:
    def process_event(self, event, parameters):
        frame = event.streams["s"].frames[0]
        if event.event_number == 1:
            self.kept = np.frombuffer(frame, np.uint8)
        return frame[:2]


def test_a_worker_that_keeps_a_view_is_found():
    assert not runner(Keeps).process(batch(0, 3), events(0, 3)).failures
    working = runner(Keeps, debug=True)
    result = working.process(batch(0, 3), events(0, 3))
    assert [(one.event_number, "keeps a view of event 1" in one.error) for one in result.failures] == [(1, True)]
    assert [unpickled(payload) for _, payload in result.results] == [b"\0\0", b"\2\2"]
    assert set(working.worker.kept.tolist()) == {0xA5}


class Unmade:
    def __init__(self):
        raise SystemExit(3)

    def process_event(self, event): ...


def test_a_constructor_that_fails_is_an_error_with_its_traceback():
    with pytest.raises(AnalysisError, match="Unmade cannot be made: SystemExit: 3") as raised:
        runner(Unmade)
    assert "in __init__" in raised.value.worker_traceback


class Forks:
    def process_event(self, event):
        pid = os.fork()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else "twice"


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_that_a_worker_forks_does_not_come_back():
    pid = os.getpid()
    result = runner(Forks).process(batch(0, 1), events(0, 1))
    if os.getpid() != pid:
        os._exit(7)
    assert [unpickled(payload) for _, payload in result.results] == [1]
