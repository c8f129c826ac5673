"""Numbers of users: what is none, or cannot be a float, is refused by name, wherever a finite number is wanted."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from openhsi_shared.capture.averaging.loop import check_average
from openhsi_shared.capture.exposing import check_target
from openhsi_shared.channels.polled import PolledChannel
from openhsi_shared.datacube.keywords import check_connect_timeout
from openhsi_shared.drivers.replay import ReplayDriver
from openhsi_shared.drivers.simulated import SimulatedDriver
from openhsi_shared.errors import ArgumentError
from openhsi_shared.files.reflectance import check_panel
from openhsi_shared.jobs.stages.bands import SelectBands
from openhsi_shared.jobs.stages.references import White
from openhsi_shared.recording.event_plan import EventPlan
from openhsi_shared.settings import CameraSettings

TAKEN: dict[str, Callable[[Any], object]] = {
    "average": check_average,
    "rate": lambda value: check_target(0.9, value),
    "period_s": lambda value: PolledChannel("a", float, value),
    "gap_s": lambda value: PolledChannel("a", float, gap_s=value),
    "connect_timeout_s": check_connect_timeout,
    "lines/s": lambda value: SimulatedDriver(CameraSettings(), rate=value),
    "recorded": lambda value: ReplayDriver(CameraSettings(), path="none.nc", rate=value),
    "panel": check_panel,
    "from_nm": lambda value: SelectBands(from_nm=value),
    "reflectance": lambda value: White(path="white.nc", reflectance=value),
    "keep_before_s": lambda value: EventPlan(keep_before_s=value),
}


@pytest.mark.parametrize("value", [10**400, math.inf, math.nan, True, "5"], ids=lambda value: f"{value!s:.5}")
@pytest.mark.parametrize("name", TAKEN)
def test_what_is_no_finite_number_is_refused_by_name(name: str, value: Any):
    with pytest.raises(ArgumentError, match=name):
        TAKEN[name](value)
