"""Curves of channels on the live page, in a real browser, and in a notebook's live cell."""

import sys

import numpy as np
import pytest

from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.channels import SimulatedChannel
from openhsi_shared.control.status import ChannelStatus
from openhsi_shared.viewer.channel_values import label_of, values_of
from tests.support.flow import COUNTING

pytestmark = [
    pytest.mark.usefixtures("runtime"),
    pytest.mark.skipif(sys.platform != "linux", reason="slots are handed out on Linux only"),
]

CURVES = "window.Bokeh?.documents[0]?.get_model_by_name('trends')?.data"


def status(**changes):
    own = {"source": "x", "fields": ("value",), "unit": "W", "values": (2.5,), "age_s": 0.1, "rate": 1.0, "lag_s": 0.0}
    own |= {"offset_s": 0.0, "state": "good", "why": "", "delivered": 1, "refused": 0, "squashed": 0}
    return ChannelStatus(**own | changes)


def test_a_source_that_is_not_well_has_no_value_of_now_and_its_label_says_why():
    channels = {
        "lamp": status(),
        "pv": status(state="unchanged"),
        "gps": status(fields=("lat", "lon"), values=(1.0, 2.0), unit="degree", state="no fix"),
    }
    assert values_of(channels) == pytest.approx(
        {"lamp": 2.5, "pv": 2.5, "gps lat": np.nan, "gps lon": np.nan}, nan_ok=True
    )
    assert label_of("lamp", channels) == "lamp 2.5 W"
    assert label_of("pv", channels) == "pv 2.5 W, unchanged"
    assert label_of("gps lat", channels) == "gps lat 1 degree, no fix"
    assert label_of("gps lon", channels) == "gps lon 2, no fix"
    assert label_of("none", channels) == ""


@pytest.mark.browser
def test_curves_of_channels_are_in_the_place_of_the_temperature(tmp_path, look):
    channels = {
        "stage": SimulatedChannel("stage", "ramp", rate=50.0, unit="mm"),
        "lamp": SimulatedChannel("lamp", rate=50.0, script={3.0: "lost"}),
    }
    keywords = {**COUNTING, "n_lines": 100, "rate": 100, "queue": 9999, "when_full": "block", "progress": False}
    with record(SharedSimulatedCamera, tmp_path / "out", channels=channels, **keywords) as run, run.view() as page:
        tab = look(page.url, width=1500, height=900)
        tab.await_text(".legend", "stage 0.")
        tab.await_text(".legend", "mm")
        tab.await_text(".legend", ", lost")
        tab.wait(lambda: np.isnan(list(tab.page.evaluate(f"[...{CURVES}['lamp']].map(Number)"))[-1]))
        stage = [value for value in tab.page.evaluate(f"[...{CURVES}['stage']]") if value is not None]
        assert all(0 <= value <= 1 for value in stage)
        tab.picture("live_page_channels")
        assert "Channels" in tab.page.evaluate("JSON.stringify(Bokeh.documents[0].to_json())")
        assert tab.errors == []


def test_a_live_cell_has_a_curve_of_each_channel():
    pytest.importorskip("ipywidgets")
    with SharedSimulatedCamera(
        **COUNTING, n_lines=50, rate=100, channels={"stage": "sim:ramp", "lamp": "sim:sine"}
    ) as cam:
        cell = cam.live()
        cam.collect()
        from tests.support.helpers import wait_for

        wait_for(lambda: cell.curve.value)
        assert cell.channel.options == ("stage", "lamp")
        assert cell.channel.layout.display is None
        before = cell.curve.value
        cell.channel.value = "lamp"
        wait_for(lambda: cell.curve.value != before)
    assert not cell.is_running
