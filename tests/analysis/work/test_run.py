"""Whether a run gives what a plain loop over the events gives, however its batches are made, given out and answered."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.events import Event, StreamData
from openhsi_shared.analysis.parameter_log import ParameterLog
from openhsi_shared.analysis.parameters import Parameters
from openhsi_shared.analysis.streams.source import Range, Ranges, Reader, Source
from openhsi_shared.analysis.work.in_process import InProcess
from openhsi_shared.analysis.work.reduce import ReduceRunner
from openhsi_shared.analysis.work.run import Run, Shuffle
from tests.analysis.pairs_for_replay import Adding, Reducer, Summing, Worker


@dataclass
class Listed(Source):
    """Events with these numbers and times."""

    numbers: list[int]
    times_ns: list[int]

    def events(self):
        return [Event(n, {"s": StreamData("raw", [bytes([n % 250, 3])])}) for n in self.numbers]

    def ranges(self):
        return ListedRanges(self)

    def reader(self):
        return ListedReader()


class ListedRanges(Ranges):
    def __init__(self, source):
        self._source, self._events, self._at = source, source.events(), 0
        self.n_events = len(self._events)

    def next(self, at_most):
        start, stop = self._at, min(self._at + at_most if self._at else 1, self.n_events)
        self._at, self.is_ended = stop, stop == self.n_events
        numbers, times = self._source.numbers[start:stop], self._source.times_ns[start:stop]
        return Range(
            numbers=np.array(numbers),
            times_ns=np.array(times),
            is_for_all=not start,
            events=tuple(self._events[start:stop]),
        )

    def close(self):
        pass


class ListedReader(Reader):
    def events(self, part):
        return iter(part.events)

    def close(self):
        pass


class Several:
    """Several workers of this process, which answer in any order."""

    def __init__(self, pair, source, parameters, n, order):
        self._each = [InProcess(pair, source, {}, parameters) for _ in range(n)]
        self._order, self.tick_interval_s = order, self._each[0].tick_interval_s

    n_waiting = property(lambda self: sum(one.n_waiting for one in self._each))

    def wait_ready(self):
        pass

    def set_parameters(self, parameters):
        for one in self._each:
            one.set_parameters(parameters)

    def submit(self, batch, worker=None):
        self._first = batch.number if batch.part.is_for_all else None
        if self._first is None:
            self._each[worker].submit(batch)
            return
        for one in self._each:  # as `Crew` does: all process it, and one result counts
            one.submit(batch)
        self._answers = [one.wait(0)[0] for one in self._each]
        self._kept = deque([self._answers[0]])

    def flush(self):
        for one in self._each:
            one.flush()

    def wait(self, timeout_s):
        if self._kept:
            return [self._kept.popleft()]
        ready = [one for one in self._each if one.n_waiting]
        return ready[self._order.randrange(len(ready))].wait(timeout_s) if ready else []


def plain_loop(source, changes):
    values, due, found = {"factor": 1}, None, []
    described = Pair.of(Worker, Reducer).described
    worker = Worker(Parameters(described), {}, type("S", (), {"name": "w"}))
    for event, time_ns in zip(source.events(), source.times_ns, strict=True):
        for number, factor in changes:
            if number <= event.event_number:
                values["factor"] = factor
        tick = due is None or time_ns >= due
        due = time_ns + 500_000_000 if tick else due
        payload = worker.process_event(event, Parameters(described, values), tick)
        found += [] if payload is None else [payload]
    return found


def run_of(worker, reducer, source, changes, n, size, order, shuffle=None, ordered=False):
    pair = Pair.of(worker, reducer)
    log = ParameterLog(pair.described, Parameters(pair.described))
    for number, factor in changes:
        log.change("factor", factor, number)
    run = Run(
        pair=pair,
        ranges=source.ranges(),
        workers=Several(pair, source, log.at(0), n, order),
        reducer=ReduceRunner(pair, {}, log.at(0), ordered),
        log=log,
        n_workers=n,
        size=size,
        shuffle=None if shuffle is None else Shuffle(shuffle),
    )
    run.run()
    run.reducer.finish()
    return run


@st.composite
def sources(draw):
    steps = draw(st.lists(st.integers(1, 4), min_size=1, max_size=80))
    gaps_ms = draw(st.lists(st.sampled_from((0, 0, 0, 1, 30, 400)), min_size=len(steps), max_size=len(steps)))
    numbers = (np.cumsum(steps) - steps[0]).tolist()
    return Listed(numbers, (1_700_000_000_000_000_000 + np.cumsum(gaps_ms) * 1_000_000).tolist())


changes_of_factor = st.lists(st.tuples(st.integers(0, 60), st.integers(2, 9)), max_size=4).map(sorted)
a_run = {
    "source": sources(),
    "changes": changes_of_factor,
    "n": st.integers(1, 5),
    "size": st.integers(1, 40),
    "order": st.randoms(use_true_random=False),
}


@settings(deadline=None, max_examples=50)
@given(**a_run, shuffle=st.none() | st.integers(0, 99))
def test_workers_batches_order_and_shuffle_give_what_a_plain_loop_gives(source, changes, n, size, order, shuffle):
    expected = plain_loop(source, changes)
    run = run_of(Worker, Reducer, source, changes, n, size, order, shuffle, ordered=False)
    published = run.reducer.publish["all"]
    assert published == expected if shuffle is None else sorted(published) == sorted(expected)
    assert (run.n_events, run.reducer.n_results) == (len(source.numbers), len(expected))
    if shuffle is not None:
        again = run_of(Worker, Reducer, source, changes, n, size, order, shuffle)
        assert again.reducer.publish["all"] == published


@settings(deadline=None, max_examples=50)
@given(**a_run)
def test_sums_of_workers_are_those_of_a_plain_loop(source, changes, n, size, order):
    expected = [payload for payload in plain_loop(source, changes) if payload[0] > 0]
    run = run_of(Summing, Adding, source, changes, n, size, order)
    assert run.reducer.publish == {"n": len(expected), "sum": sum(payload[2] for payload in expected)}


def test_a_change_while_events_are_processed_takes_effect_where_it_says():
    import random

    source = Listed(list(range(100)), [k * 1_000_000 for k in range(100)])
    pair = Pair.of(Worker, Reducer)
    log = ParameterLog(pair.described, Parameters(pair.described))
    workers = Several(pair, source, log.at(0), 2, random.Random(1))
    reducer = ReduceRunner(pair, {}, log.at(0))
    run = Run(pair=pair, ranges=source.ranges(), workers=workers, reducer=reducer, log=log, n_workers=2, size=7)
    told = []
    run.on_progress = lambda _n: (
        told.append(run.set_parameter("factor", 5)[0]) if run.n_events > 30 > len(told) * 31 else 0
    )
    run.run()
    assert len(told) == 1
    assert reducer.publish["all"] == plain_loop(source, [(told[0], 5)])
    assert 30 < told[0] < 100
