"""Benchmarks of the promised speeds: one module for each row of the table in the README beside this file.

Each of them has `run(plan) -> list[Row]`: it verifies what was saved before it reports a figure, and measures what it
compares with in the same run, alternating. `measuring` has plan and row, `frames` the check that nothing is missing,
`raw_disk` the disk without this library, `openhsi_process` (on this side) and `openhsi_side` (run by the other Python)
the library of openhsi, `jobs_before` and `jobs_before_side` an earlier state of this one.
"""

__all__ = ["BENCHMARKS", "PROGRAMS"]

BENCHMARKS = (
    "imports",
    "put",
    "swap",
    "saving",
    "cost",
    "compression",
    "nonstop",
    "top_rate",
    "growth",
    "levels",
    "exports",
    "loss",
    "preview",
    "live_page",
    "ring",
    "channel_rings",
    "channels",
    "jobs",
    "analysis",
    "stalls",
    "flight_day",
)
"""Module names, in the order in which they run."""
PROGRAMS = ("soak", "chaos", "whole_flight")
"""Modules that are programs of their own, with arguments of their own: `python -m benchmarks.soak --help`."""
