"""Workers and reducers that run beside recordings of tests."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from openhsi_shared.analysis.parameters import IntParameter


class EachLine:
    """Returns what it was given of each event; `scale` is in the result."""

    @staticmethod
    def describe_parameters():
        return [IntParameter("scale", default=1)]

    def process_event(self, event, parameters):
        (stream,) = event.streams.values()
        line = event.line
        if line is None:
            return event.event_number, bytes(stream.frames[0]), parameters["scale"].value
        about = (line.cube, line.y, line.frame_id, str(line.time), line.temperature, line.lost_before)
        content = (bytes(stream.frames[0]), int(np.asarray(line.data, np.int64).sum()))
        return event.event_number, about, content, parameters["scale"].value


class Collected:
    """Publishes all results by event number, and how often each has come."""

    def __init__(self):
        self.publish = {"results": [], "n": 0, "n_finished": 0}
        self.by_number = {}

    def process_result(self, result):
        self.by_number[result.event_number] = repr(result.payload)
        self.publish["n"] += 1

    def finish(self):
        self.publish["results"] = [self.by_number[number] for number in sorted(self.by_number)]
        self.publish["n_finished"] += 1


class Ids:
    """Sends the frame id of each line."""

    def process_event(self, event):
        return None if event.line is None else event.line.frame_id


class Ticks:
    """Sends the frame id of each line that ticks, ten times a second."""

    def get_tick_interval(self):
        return 0.1

    def process_event(self, event, tick):
        return event.line.frame_id if tick and event.line is not None else None


class Gated(Ids):
    """Waits at a line until a file exists; its path is in the environment."""

    def process_event(self, event):
        while event.event_number == 20 and not Path(os.environ["GATE"]).exists():
            time.sleep(0.005)
        return super().process_event(event)


class Dies(Ids):
    """Kills its process at event 30, as long as the file of the environment is there; it is removed by the first."""

    def process_event(self, event):
        mark = Path(os.environ["GATE"])
        if event.event_number == 30 and mark.exists():
            mark.unlink()
            os.kill(os.getpid(), getattr(signal, os.environ.get("DEATH", "SIGKILL")))
        return super().process_event(event)


class Failing(Ids):
    """Fails in all ways, one for each event."""

    def process_event(self, event):
        match event.event_number:
            case 5:
                raise StopIteration
            case 6:
                raise SystemExit(3)
            case 7:
                raise KeyboardInterrupt
            case 8:
                return lambda: None
            case 9:
                sys.stdout.write("a worker prints\n")
        return super().process_event(event)


class Published:
    """Publishes ids."""

    def __init__(self):
        self.publish = {"ids": []}

    def process_result(self, result):
        self.publish["ids"].append(result.payload)


class Mean:
    """Sends the mean spectrum of each line."""

    def process_event(self, event):
        return None if event.line is None else event.line.data.mean(axis=0, dtype=np.float64)


class Shown:
    """Publishes a number, a text, a curve and a picture."""

    def __init__(self):
        self.publish = {"n": 0, "state": "<b>calm</b>", "a/b": 1}
        self.rows = []

    def process_result(self, result):
        self.rows = [*self.rows[-99:], result.payload]
        self.publish |= {"n": self.publish["n"] + 1, "spectrum": result.payload, "rows": np.array(self.rows)}


class FinishFails(Collected):
    """Publishes, then fails."""

    def finish(self):
        super().finish()
        raise ValueError("no finish")


class ResultFails(Collected):
    """Fails at each result."""

    def process_result(self, result):
        raise ValueError(f"no result {result.event_number}")


class GatedFlush(Ids):
    """Its last result comes when a file exists; its path is in the environment."""

    def flush(self):
        while not Path(os.environ["GATE"]).exists():
            time.sleep(0.005)


class GatedFinish(Published):
    """Finishes when a file exists; its path is in the environment."""

    def finish(self):
        while not Path(os.environ["GATE"]).exists():
            time.sleep(0.005)


class NeverMade(Ids):
    """Its constructor does not return; it makes a file, whose path is in the environment."""

    def __init__(self):
        Path(os.environ["GATE"]).touch()
        time.sleep(600)


class CannotBeMade:
    """Fails in its constructor."""

    def __init__(self):
        raise ValueError("no table")

    def process_event(self, event):
        """Not reached."""
