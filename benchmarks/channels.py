"""Channels: matching to lines, rows of the recorder, regions of images, clocks, beside the EPICS recorder's way."""

from benchmarks import channels_matching, channels_recorder
from benchmarks.measuring import Plan, Row

__all__ = ["run"]

PARTS = (channels_matching, channels_recorder)
"""Each has `rows(plan) -> list[Row]`."""


def run(plan: Plan) -> list[Row]:
    return [row for part in PARTS for row in part.rows(plan)]
