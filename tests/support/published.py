"""An analysis in this process, as servers see it."""

import threading

import numpy as np

from openhsi_shared.analysis.parameter_log import ParameterLog
from openhsi_shared.analysis.parameters import BinaryParameter, IntParameter, Parameters
from openhsi_shared.control.analysis_status import AnalysisStatus


class Worker:
    """Described with two parameters."""

    @staticmethod
    def describe_parameters():
        return [IntParameter("till_x", default=2, minimum=0), BinaryParameter("poni", default=b"\xff\0")]

    def process_event(self, event, parameters):
        return None


class Reducer:
    def process_result(self, result):
        pass


class PublishedHere:
    """What a reducer publishes, changed by the test."""

    def __init__(self, publish=None):
        self.publish = all_kinds() if publish is None else publish
        self.lock = threading.RLock()
        self.described = {one.name: one for one in Worker.describe_parameters()}
        self.log = ParameterLog(self.described, Parameters(self.described))

    @property
    def parameters(self):
        return self.log.newest

    def status(self):
        return AnalysisStatus(name="here", mode="tap", state="running", events=7, waiting=3)

    def set_parameter(self, name, data):
        newest = self.log.change(name, data, 5)
        return 5, self.log.changes[-1].time, newest.hash


def all_kinds():
    """All that can be published."""
    return {
        "n": 3,
        "level": np.nan,
        "ok": True,
        "name": "Zürich",
        "empty": "",
        "names": ["a", "bcd"],
        "list": [1, 2.5],
        "image": np.arange(60, dtype=np.uint16).reshape(12, 5),
        "image_attrs": {"units": "DN", "range": [0, 4095], "ok": True, "nan": np.nan},
        "big endian": np.arange(4, dtype=">u8"),
        "fields": np.array([(0.5, 1), (1.5, 2)], dtype=[("a", "<f8"), ("b", "<i4")]),
        "complex": np.array([1j, 2]),
        "none yet": np.zeros((0, 3)),
        "group": {"x": np.linspace(0, 1, 42), "deeper": {"y": 1}, "_attrs": {"NX_class": "NXdata"}},
    }
