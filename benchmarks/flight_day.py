"""What a flight needs besides its lines: what each part of it costs, and whether it keeps its promises."""

from collections.abc import Callable

from benchmarks.flight_day_averaging import averaging
from benchmarks.flight_day_events import events_in_minutes
from benchmarks.flight_day_live import all_of_it, exposures, marks, plans
from benchmarks.flight_day_report import report_of_a_flight
from benchmarks.flight_day_saturation import saturation_in_the_loop, saturation_saved
from benchmarks.measuring import Plan, Row

__all__ = ["run"]

ROWS: tuple[Callable[[Plan], Row], ...] = (
    saturation_saved,
    saturation_in_the_loop,
    events_in_minutes,
    report_of_a_flight,
    exposures,
    marks,
    all_of_it,
)
"""In the order in which they run."""


def run(plan: Plan) -> list[Row]:
    return [*(row(plan) for row in ROWS), *averaging(plan), *plans(plan)]
