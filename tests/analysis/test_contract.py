import logging
import pickle
import sys

import pytest

from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.parameters import FloatParameter, IntParameter
from openhsi_shared.errors import AnalysisError, ParameterError
from tests.support.helpers import run_python

WORKER = """
from dataclasses import dataclass
@dataclass
class Result:
    value: int
class TestWorker:
    def process_event(self, event, parameters=None):
        return Result(1)
def function(): pass
"""
REDUCER = """
from .worker import Result
class TestReducer:
    def process_result(self, result, parameters=None):
        assert isinstance(result.payload, Result)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "srcs").mkdir()
    for name, text in (
        ("worker", WORKER),
        ("reducer", REDUCER),
        ("exits", "raise SystemExit(3)"),
        ("needs", "import nothing_"),
    ):
        (tmp_path / "srcs" / f"{name}.py").write_text(text)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "srcs"]:
        del sys.modules[name]


def test_classes_are_found_by_name_from_the_current_folder_on(folder, caplog):
    pair = Pair.of("srcs.worker:TestWorker", "srcs.reducer:TestReducer")
    assert (pair.worker_name, pair.reducer_name) == ("srcs.worker:TestWorker", "srcs.reducer:TestReducer")
    assert pickle.loads(pickle.dumps(pair)).worker is pair.worker
    again = Pair.of(pair.worker, pair.reducer)
    assert again.version == pair.version
    (folder / "srcs" / "worker.py").write_text(WORKER + "# changed\n")
    with caplog.at_level(logging.WARNING):
        assert Pair.of("srcs.worker:TestWorker").version != pair.version
    assert "text of srcs.worker has changed" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("srcs.worker:TestWorkr", "did you mean 'TestWorker'"),
        ("srcs.wroker:TestWorker", "did you mean 'worker'"),
        ("scrs.worker:TestWorker", "did you mean 'srcs'"),
        ("srcs/worker.py:TestWorker", "write 'srcs.worker'"),
        ("srcs.worker", "module:Class"),
        ("srcs.worker:function", "expected a class"),
        ("srcs.exits:Worker", "SystemExit: 3"),
        ("srcs.needs:Worker", "needs the module 'nothing_'"),
        (object(), "expected a class, or"),
    ],
)
def test_a_class_that_is_not_there_is_one_error(folder, name, message):
    with pytest.raises(AnalysisError, match=message):
        Pair.of(name)


class Processes:
    def process_event(self, event): ...


class _Constructed(Processes):
    def __init__(self, threshold, a, b, c): ...


class _Coroutine:
    async def process_event(self, event): ...


class _Generator(Processes):
    def flush(self):
        yield 1


class _NoMethod:
    @property
    def process_event(self):
        return print


class _Misspelt:
    def proces_event(self, event): ...


class _Describes(Processes):
    @staticmethod
    def describe_parameters():
        return ["till_x"]


class _DescribesAnInt(Processes):
    @staticmethod
    def describe_parameters():
        return [IntParameter("x")]


class _NotStatic(Processes):
    def describe_parameters(self):
        return []


class _Reduces:
    @staticmethod
    def describe_parameters():
        return [FloatParameter("x")]

    def process_result(self, result, a, b): ...


class _ReducesFloat(_Reduces):
    def process_result(self, result): ...


@pytest.mark.parametrize(
    ("worker", "reducer", "error", "message"),
    [
        (_Constructed, None, AnalysisError, r"_Constructed\(threshold, a, b, c\): .*'c'"),
        (_Coroutine, None, AnalysisError, "returns a coroutine"),
        (_Generator, None, AnalysisError, "flush returns a generator"),
        (_NoMethod, None, AnalysisError, "process_event of the worker .*_NoMethod is no method"),
        (_Misspelt, None, AnalysisError, "no method process_event: did you mean 'proces_event'"),
        (_Describes, None, ParameterError, "got 'till_x'"),
        (_NotStatic, None, AnalysisError, "static method"),
        (Processes, _Reduces, AnalysisError, r"process_result\(result, a, b\)"),
        (_DescribesAnInt, _ReducesFloat, ParameterError, "'x' is described as int, and as float"),
    ],
)
def test_classes_that_do_not_fit_are_refused_before_the_first_event(worker, reducer, error, message):
    with pytest.raises(error, match=message):
        Pair.of(worker, reducer)


PROGRAM = """
import pickle, sys
import numpy as np
from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.events import Event
from openhsi_shared.analysis.parameters import Parameters
from openhsi_shared.analysis.streams.source import Range
from openhsi_shared.analysis.work.messages import Batch
from openhsi_shared.analysis.work.reduce import ReduceRunner
from openhsi_shared.processes.spawning import SPAWN, spawn
from tests.analysis.work.runs import work_in_child

class Result:
    def __init__(self, value): self.value = value
class Worker:
    def process_event(self, event): return [Result(event.event_number)]
class Reducer:
    def __init__(self): self.publish = {}
    def process_result(self, result):
        self.publish[result.event_number] = type(result.payload[0]) is Result and result.payload[0].value

pair = Pair.of(Worker, Reducer)
ours, theirs = SPAWN.Pipe()
child = SPAWN.Process(target=work_in_child, args=(pair, 3, theirs))
spawn(child)
reducing = ReduceRunner(pair, {}, Parameters({}))
failures = reducing.take(ours.recv(), Parameters({}))
child.join()
print(failures, reducing.publish, Worker.process_event.__globals__ is globals())
"""


def test_classes_of_main_travel_to_a_worker_process_and_isinstance_holds_in_the_reducer():
    ran = run_python("-", stdin=PROGRAM)
    assert ran.stdout == "[] {0: 0, 1: 1, 2: 2} True\n", ran.stderr
