"""Workers and reducers of the benchmark of analysis, which dranspose runs as well."""

import json
import os
import time
from typing import Any

import numpy as np

__all__ = [
    "LargeReducer",
    "MeanReducer",
    "MeanWorker",
    "NothingWorker",
    "ParsingWorker",
    "SlowReducer",
    "SlowWorker",
    "SpectrumWorker",
    "TwiceTooSlowWorker",
]

CLOCK: dict[str, float] = {}
"""When the first event and the first result came, and when all were there: without the start of either program."""


def _parsed(event: Any) -> Any:
    (stream,) = event.streams.values()
    about = json.loads(bytes(stream.frames[0]))
    if about["htype"] != "image":
        return None
    return np.frombuffer(stream.frames[1], about["type"]).reshape(about["shape"])


class NothingWorker:
    """Returns None."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        pass

    def process_event(self, event: Any, parameters: Any, tick: Any) -> Any:
        CLOCK.setdefault("begun", time.perf_counter())
        return self.of(event)

    def of(self, event: Any) -> Any:
        return None


class ParsingWorker(NothingWorker):
    """Parses the frame, and returns None."""

    def of(self, event: Any) -> Any:
        _parsed(event)


class MeanWorker(NothingWorker):
    """Returns the mean of a corner, as in dranspose's tutorial."""

    def of(self, event: Any) -> Any:
        image = _parsed(event)
        return None if image is None else float(np.mean(image[:2, 8:10]))


class SpectrumWorker(NothingWorker):
    """Returns the mean spectrum of a line."""

    def of(self, event: Any) -> Any:
        return None if event.line is None else event.line.data.mean(axis=0)


class SlowWorker(NothingWorker):
    """Works for some milliseconds at each line, without the interpreter's lock."""

    seconds = 0.002

    def of(self, event: Any) -> Any:
        if event.line is None:
            return None
        until = time.perf_counter() + self.seconds
        while time.perf_counter() < until:
            event.line.data[:8].sum()
        return int(event.line.time.astype(np.int64)), os.getpid()


class TwiceTooSlowWorker(SlowWorker):
    """Sleeps for twice the period of 300 lines/s."""

    def of(self, event: Any) -> Any:
        time.sleep(2 / 300)
        return None


class MeanReducer:
    """Counts and sums results."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self.publish: dict[str, Any] = {"n": 0, "sum": 0.0}

    def process_result(self, result: Any, parameters: Any) -> None:
        CLOCK.setdefault("first", time.perf_counter())
        self.publish["n"] += 1
        self.publish["sum"] += float(np.sum(result.payload))

    def finish(self, parameters: Any) -> None:
        CLOCK["ended"] = time.perf_counter()


class SlowReducer(MeanReducer):
    """Keeps the age of each result: the time from the line to here."""

    def process_result(self, result: Any, parameters: Any) -> None:
        self.publish["n"] += 1
        self.publish.setdefault("ages_ms", []).append(1e-6 * (time.time_ns() - result.payload[0]))


class LargeReducer(MeanReducer):
    """Publishes an array of 1 MB, which each result changes, and the process that works."""

    def process_result(self, result: Any, parameters: Any) -> None:
        self.publish["n"] += 1
        self.publish["worker"] = result.payload[1]
        self.publish.setdefault("array", np.zeros(131_072))[self.publish["n"] % 131_072] += 1
