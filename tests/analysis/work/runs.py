"""Batches of small events, and workers that process them."""

import numpy as np

from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.events import Event, StreamData
from openhsi_shared.analysis.parameters import Parameters
from openhsi_shared.analysis.streams.source import Range
from openhsi_shared.analysis.work.messages import Batch
from openhsi_shared.analysis.work.worker import WorkerRunner


def batch(first, stop, number=0, **more):
    return Batch(number=number, part=Range(numbers=np.arange(first, stop)), **more)


def events(first, stop):
    return (
        Event(k, {"s": StreamData("raw", [memoryview(bytearray([k] * 8)).toreadonly()])}) for k in range(first, stop)
    )


def runner(worker, *args, **kwargs):
    pair = Pair.of(worker)
    return WorkerRunner(pair, "w0", {}, Parameters(pair.described), *args, **kwargs)


def work_in_child(pair, n_events, pipe):
    pipe.send(WorkerRunner(pair, "w0", {}, Parameters(pair.described)).process(batch(0, n_events), events(0, n_events)))
