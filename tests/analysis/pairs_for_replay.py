"""A worker and a reducer of users, as those tests need them that start processes."""

import os
import signal
from pathlib import Path

import numpy as np

from openhsi_shared.analysis.parameters import IntParameter


class Worker:
    """Returns number, parameter and tick of an event, and the sum of its bytes; its faults are named by parameters."""

    def __init__(self, parameters, context, state):
        self.runs = context["runs"] = context.get("runs", 0) + 1
        self.name, self.has_first = state.name, False
        if parameters["fail_at"].value == -2:
            raise ValueError("no such table")

    @staticmethod
    def describe_parameters():
        return [
            IntParameter("factor", default=1),
            IntParameter("fail_at", default=-1),
            IntParameter("kill_at", default=-1),
            IntParameter("stop_at", default=-1),
            IntParameter("n_kills", default=1),
        ]

    def get_tick_interval(self):
        return 0.5

    def process_event(self, event, parameters, tick):
        number = event.event_number
        self.has_first |= number == 0
        if not self.has_first:
            raise RuntimeError(f"{self.name} got event {number} without the first one of its stream")
        if number == parameters["fail_at"].value:
            raise ValueError(f"bad {number}")
        for name, deadly in (("kill_at", signal.SIGKILL), ("stop_at", signal.SIGSTOP)):
            if number == parameters[name].value and _is_due(name, parameters["n_kills"].value):
                os.kill(os.getpid(), deadly)
        total = sum(int(np.frombuffer(one, np.uint8).sum()) for s in event.streams.values() for one in s.frames)
        return None if number % 5 == 3 else (number, tick, parameters["factor"].value * total)


class Summing(Worker):
    """Sums up, and returns it at the end; if it is to be killed, what it has summed is noted in the folder, too."""

    def __init__(self, parameters, context, state):
        super().__init__(parameters, context, state)
        self.n = self.sum = 0

    def process_event(self, event, parameters, tick):
        found = super().process_event(event, parameters, tick)
        if found is not None and event.event_number > 0:
            self.n, self.sum = self.n + 1, self.sum + found[2]
        if parameters["kill_at"].value >= 0:
            with Path(os.environ["REPLAY_TEST_FOLDER"], f"summed{os.getpid()}").open("a") as note:
                note.write(f"{event.event_number}\n")

    def flush(self):
        return self.n, self.sum


class Reducer:
    """Publishes all payloads in the order in which they came."""

    def __init__(self, context):
        self.publish = {"all": [], "n_finished": 0}
        self.runs = context["runs"] = context.get("runs", 0) + 1

    def process_result(self, result):
        self.publish["all"].append(result.payload)

    def finish(self):
        self.publish["n_finished"] += 1


class Adding:
    """Adds up what `Summing` returns."""

    def __init__(self):
        self.publish = {"n": 0, "sum": 0}

    def process_result(self, result):
        self.publish["n"] += result.payload[0]
        self.publish["sum"] += result.payload[1]


def _is_due(name, most):
    """Whether fewer than `most` processes have come here; counted in files of the folder that a test has set."""
    folder = Path(os.environ["REPLAY_TEST_FOLDER"])
    for k in range(most):
        try:
            with (folder / f"{name}{k}").open("x") as note:
                note.write(str(os.getpid()))
        except FileExistsError:
            continue
        return True
    return False
