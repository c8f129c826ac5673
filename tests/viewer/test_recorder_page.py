"""The page of a recorder in a real browser: what it shows, its buttons, and that the recorder never waits for it."""

import os
import signal

import numpy as np
import pytest

from openhsi_shared.channels import CallbackChannel, Recorder, SimulatedChannel, read_rows
from openhsi_shared.errors import ArgumentError, ChannelError, ViewerError
from openhsi_shared.viewer import view_recorder
from openhsi_shared.viewer.recorder_state import Host
from tests.support.helpers import wait_for
from tests.viewer.test_page_layout import FAULTS

pytestmark = pytest.mark.usefixtures("runtime")

START_NS = 1_760_000_000 * 10**9
PERIOD_NS = 10**7
SOURCE = "Bokeh.documents[0].get_model_by_name({!r}).data"


def pushed(n_rows, late=0):
    """A recorder of a charge and an image, whose spot is in the row that the charge was `late` rows before."""
    camera = CallbackChannel("camera", shape=(60, 80))
    channels = {"charge": CallbackChannel("charge", unit="pC"), "camera": camera}
    recorder = Recorder({"charge": channels["charge"], "camera": camera}, n_rows)
    charges = np.random.default_rng(3).integers(5, 55, n_rows)

    def push():
        for row in range(n_rows):
            time_ns = START_NS + row * PERIOD_NS
            image = np.zeros((60, 80), np.uint16)
            at = charges[max(0, row - late)]
            image[at - 2 : at + 3, 30:50] = 100
            channels["charge"].push(float(charges[row]), time_ns)
            camera.push(image, time_ns)

    return recorder, push


def centre(tab):
    """Where the spot is: (column, row), or None before the first row."""
    found = tab.page.evaluate(f"window.Bokeh?.documents[0] && {SOURCE.format('centre')}")
    return (found["x"][0], found["y"][0]) if found and len(found["x"]) else None


def is_on(tab, name):
    return tab.page.get_by_role("button", name=name, exact=True).is_enabled()


@pytest.mark.browser
def test_it_starts_shows_the_moving_spot_and_every_button_works(look, tmp_path, capfd):
    channels = {
        "position": SimulatedChannel("position", rate=120.0),
        "camera": SimulatedChannel("camera", "spot", rate=120.0, shape=(64, 48)),
    }
    recorder = Recorder(channels, 150)
    with view_recorder(recorder) as page:
        tab = look(page.url, width=1500, height=900)
        tab.await_text(".badge", "STOPPED")
        tab.wait(lambda: is_on(tab, "Start"))
        assert not any(is_on(tab, name) for name in ("Stop", "Clear", "Save", "Estimate"))

        tab.click("Start")
        tab.await_text(".badge", "RECORDING")
        assert recorder.is_running
        tab.wait(lambda: centre(tab))
        first = centre(tab)
        tab.wait(lambda: np.hypot(*np.subtract(centre(tab), first)) > 3)  # along its circle
        tab.await_text(".full", "Full")
        tab.await_text(".bar", "Total")
        tab.await_text(".legend", "n = 150")
        assert "r = 1.0000" in tab.text(".legend")  # the row of the spot is a linear function of the position
        assert not is_on(tab, "Start")

        tab.click("Stop")
        tab.await_text(".badge", "STOPPED")
        assert not recorder.is_running
        tab.page.get_by_label("Save path").fill(str(tmp_path / "mine.nc"))
        tab.click("Save")
        tab.await_text(".done", f"saved 150 rows: {tmp_path / 'mine.nc'}")
        assert np.array_equal(read_rows(tmp_path / "mine.nc")["time_ns"], recorder.data["time_ns"])
        tab.page.get_by_label("Save path").fill(str(tmp_path / "mine.nc" / "none.nc"))
        tab.click("Save")
        tab.await_text(".errors", "none.nc")

        tab.click("Clear")
        tab.await_text(".full", "Not full")
        tab.wait(lambda: not is_on(tab, "Save"))
        assert len(recorder) == 0
        assert tab.errors == []
        assert tab.hosts == {"127.0.0.1"}
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.browser
def test_a_shift_is_estimated_or_typed_and_all_browsers_see_it(look):
    recorder, push = pushed(40, late=2)
    with recorder, view_recorder(recorder) as page:
        push()
        tab, other = look(page.url), look(page.url)
        tab.await_text(".legend", "n = 40")
        assert abs(float(tab.text(".legend .where").split()[2].rstrip(","))) < 0.6
        tab.click("Estimate")
        tab.await_text(".done", "camera correlates best with charge when it is shifted by -2 rows")
        tab.await_text(".legend", "r = 1.0000, n = 38")
        other.wait(lambda: other.page.get_by_label("rows, then Return").input_value() == "-2")
        assert np.array_equal(recorder.data["camera centre"]["x"], recorder.data["charge"])
        shift = tab.page.get_by_label("rows, then Return")
        shift.fill("1")
        shift.press("Enter")
        tab.await_text(".legend", "n = 39")
        assert len(recorder) == 39


@pytest.mark.browser
def test_no_box_lies_over_another_on_a_phone_a_tablet_and_a_desk(look):
    recorder, push = pushed(200)
    with recorder, view_recorder(recorder) as page:
        push()
        for width, height in ((420, 900), (768, 1024), (1500, 900)):
            tab = look(page.url, width=width, height=height)
            tab.await_text(".legend", "n = 200")
            tab.page.wait_for_timeout(500)  # layout follows the text
            tab.picture(f"recorder_page_{width}")
            tab.wait(lambda tab=tab: tab.page.evaluate(FAULTS) == [])
            tab.page.close()


def test_a_page_that_is_killed_or_hangs_stops_nothing():
    recorder, push = pushed(20)
    with recorder:
        page = view_recorder(recorder)
        os.kill(page.process_id, signal.SIGSTOP)
        push()
        wait_for(lambda: len(recorder) == 20)
        os.kill(page.process_id, signal.SIGKILL)
        with pytest.raises(ViewerError, match="died with exit code -9; open another one"):
            page.wait(60)
        assert recorder.is_running
        with view_recorder(recorder) as again:
            assert again.url != page.url
            assert not again.wait(0)
        assert not again.is_open


def test_only_recorders_have_this_page():
    with pytest.raises(ArgumentError, match="needs a Recorder, got 3"):
        view_recorder(3)


# ---- the state that is sent ----


def test_quantities_of_regions_are_those_of_their_pixels_also_with_compat():
    for compat in (False, True):
        camera, charge = CallbackChannel("camera", shape=(60, 80)), CallbackChannel("charge")
        recorder = Recorder({"charge": charge, "camera": camera}, 5, compat=compat)
        with recorder:
            image = np.zeros((60, 80), np.uint16)
            image[10:15, 30:50] = 100
            for row in range(5):
                charge.push(row, START_NS + row * PERIOD_NS)
                camera.push(image, START_NS + row * PERIOD_NS)
            wait_for(lambda r=recorder: r.full)
        host = Host(recorder)
        for _ in range(2):  # the second one knows the regions
            shown = host.state()
            region = shown.regions["camera"]
            rows, columns = region.size
            assert region.whole == (60, 80)
            assert rows < columns
            assert region.pixels.shape == region.size
            assert region.pixels.max() == 100
            found = {name: values[-1] for name, values in shown.quantities.items()}
            assert found["camera height"] == rows
            assert found["camera width"] == columns
            assert found["camera x (row)"] == pytest.approx(12)
            assert found["camera y (column)"] == pytest.approx(39.5)
            assert found["camera sum"] == 100 * 5 * 20
            assert found["charge"] == 4


def test_a_recorder_that_cannot_start_says_why_on_the_page():
    class Unplugged(SimulatedChannel):
        def open(self, deliver):
            raise ChannelError("no cable: plug it in")

    host = Host(Recorder({"a": Unplugged("a")}))
    from openhsi_shared.viewer.recorder_messages import Clear, Start

    host.answer(None, Start())
    wait_for(lambda: host.state().note.is_error)
    assert host.state().note.text == "no cable: plug it in"
    assert not host.state().is_running
    host.answer(None, Clear())
    wait_for(lambda: not host.state().note.is_error)
