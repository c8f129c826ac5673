import logging
import threading

import numpy as np
import pytest

from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.parameters import IntParameter, Parameters
from openhsi_shared.analysis.pickling import pickled
from openhsi_shared.analysis.work.messages import BatchResult
from openhsi_shared.analysis.work.reduce import ReduceRunner
from openhsi_shared.errors import AnalysisError
from tests.analysis.work.test_worker import Ends


class Collects:
    @staticmethod
    def describe_parameters():
        return [IntParameter("x")]

    def __init__(self, parameters, context):
        self.publish = {"got": [], "timer": []}
        context["made"] = True

    def process_result(self, result, parameters):
        if result.payload is None:
            raise StopIteration("none")
        self.publish["got"].append((result.event_number, result.worker, result.payload, parameters["x"].value))

    def timer(self, parameters):
        self.publish["timer"].append(parameters["x"].value)
        return [np.float32(5), None, "soon", np.int64(0)][len(self.publish["timer"]) - 1]

    def finish(self, parameters):
        self.publish["finished"] = parameters["x"].value
        raise KeyboardInterrupt


PAIR = Pair.of(Ends, Collects)
FIRST, SECOND = Parameters(PAIR.described), Parameters(PAIR.described, {"x": 7}, version=1)


def result_of(number, *results, worker="w0"):
    return BatchResult(
        number=number, worker=worker, version=0, results=[(k, pickled(payload)) for k, payload in results]
    )


def test_each_batch_counts_once_with_the_parameters_of_its_version():
    reducing = ReduceRunner(PAIR, {}, FIRST)
    assert reducing.take(result_of(1, (4, "d")), SECOND) == []
    assert reducing.take(result_of(0, (0, "a"), (1, "b")), FIRST) == []
    assert reducing.take(result_of(0, (0, "a")), FIRST) == []
    assert reducing.take(result_of(1, (4, "d")), FIRST) == []
    assert reducing.publish["got"] == [(4, "w0", "d", 7), (0, "w0", "a", 0), (1, "w0", "b", 0)]
    assert (reducing.n_results, reducing.parameters.version) == (3, 1)


def test_ordered_results_wait_for_those_before_them():
    reducing = ReduceRunner(PAIR, {}, FIRST, ordered=True)
    for number in (2, 0, 4, 1, 2):
        reducing.take(result_of(number, (10 * number, "x")), FIRST)
    assert [one[0] for one in reducing.publish["got"]] == [0, 10, 20]
    reducing.take(result_of(-1, (40, "last"), worker="w1"), FIRST)
    with pytest.raises(AnalysisError):
        reducing.finish()
    assert [one[0] for one in reducing.publish["got"]] == [0, 10, 20, 40, 40]


def test_what_a_reducer_raises_is_the_failure_of_that_result():
    reducing = ReduceRunner(PAIR, {}, FIRST)
    taken = reducing.take(result_of(0, (0, None), (1, "b")), FIRST)
    taken += reducing.take(BatchResult(number=1, worker="w0", version=0, results=[(2, b"no pickle")]), FIRST)
    assert [(one.event_number, one.error.split(":")[0]) for one in taken] == [
        (0, "StopIteration"),
        (2, "UnpicklingError"),
    ]
    assert reducing.n_results == 1


def test_the_timer_says_when_it_is_due(caplog):
    reducing = ReduceRunner(PAIR, {}, FIRST)
    assert reducing.seconds_until_timer() == 0
    assert reducing.run_timer() is None
    assert 4 < reducing.seconds_until_timer() <= 5
    reducing.set_parameters(SECOND)
    assert reducing.run_timer() is None
    assert 0 < reducing.seconds_until_timer() <= 1
    assert "'soon'" in reducing.run_timer().error
    assert reducing.run_timer() is None
    assert reducing.publish["timer"] == [0, 7, 7, 7]
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(AnalysisError, match=r"finish of the reducer .*KeyboardInterrupt"),
    ):
        reducing.finish(OSError("cut"))
    assert "its result is incomplete (cut)" in caplog.text
    assert reducing.publish["finished"] == 7
    assert reducing.finish() == []
    assert reducing.seconds_until_timer() is None


class Locks:
    def __init__(self):
        self.publish_rlock = threading.Lock()  # one that cannot be taken twice

    def process_result(self, result):
        with self.publish_rlock:
            pass

    def close(self):
        raise OSError("gone")


def test_the_lock_of_a_reducer_is_its_own():
    reducing = ReduceRunner(Pair.of(Ends, Locks), {}, FIRST)
    assert reducing.take(result_of(0, (0, 1)), FIRST) == []
    assert (reducing.publish, reducing.lock) == ({}, reducing.reducer.publish_rlock)
    assert (reducing.seconds_until_timer(), reducing.finish()) == (None, [])
    with pytest.raises(AnalysisError, match="cannot be closed: OSError: gone"):
        reducing.close()
