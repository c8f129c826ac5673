"""What analyses publish, on the live page and in a cell of a notebook."""

import io
import sys
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.analysis import Analysis
from openhsi_shared.analysis.live.attached import Attached
from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.control.control_socket import socket_path
from openhsi_shared.control.snapshot import Dataset, Group, Snapshot
from openhsi_shared.viewer.analysis_cell import AnalysisCell
from openhsi_shared.viewer.analysis_feed import AnalysisFeed
from openhsi_shared.viewer.published_values import COLOURS, curve, curves, numbers_as_html, picture, pictures
from tests.support.flow import COUNTING
from tests.support.helpers import wait_for
from tests.support.live_pairs import Mean, Shown

pytestmark = [
    pytest.mark.usefixtures("runtime"),
    pytest.mark.skipif(sys.platform != "linux", reason="slots are handed out on Linux only"),
]

KEYWORDS = {**COUNTING, "n_lines": 500, "rate": 100, "queue": 9999, "when_full": "block", "progress": False}


@pytest.mark.browser
def test_the_live_page_shows_numbers_a_curve_and_a_picture_of_an_analysis(tmp_path, look):
    keywords = {**KEYWORDS, "analyse": Analysis(Mean, Shown, name="sums")}
    with record(SharedSimulatedCamera, tmp_path / "out", **keywords) as run, run.view() as page:
        tab = look(page.url)
        tab.await_text(".analysis", "sums")
        tab.await_text(".analysis", "state: <b>calm</b>")
        tab.await_text(".analysis", "not published: a/b")

        def shown():
            return int(tab.text(".analysis .number .value"))

        first = shown()
        tab.wait(lambda: shown() > first + 20)
        tab.page.locator(".analysis polyline").first.wait_for()
        options = tab.page.locator("select option")
        tab.wait(lambda: {"sums · spectrum", "sums · rows"} <= set(options.all_inner_texts()))
        tab.picture("live_page_analysis")
        assert tab.errors == []
        run.stop()
        assert run.wait().lines_lost == 0


def test_a_cell_of_a_notebook_shows_an_analysis_and_ends_with_it(tmp_path):
    pytest.importorskip("ipywidgets", reason="ipywidgets is missing: pip install 'openhsi_shared[notebook]'")
    with record(SharedSimulatedCamera, tmp_path / "out", analyse=Analysis(Mean, Shown, name="sums"), **KEYWORDS) as run:
        cell = run.analysis.live()
        wait_for(lambda: cell.picture.value and cell.curve.value)
        assert cell.which_curve.value == "spectrum"
        assert Image.open(io.BytesIO(cell.picture.value)).size[0] > 10
        run.stop()
        run.wait()
        wait_for(lambda: not cell.is_running)
        assert "ended" in cell.numbers.value
        cell.close()


def test_an_attached_analysis_that_is_gone_is_not_shown_as_running(tmp_path):
    with record(SharedSimulatedCamera, tmp_path / "out", **KEYWORDS) as run:
        path = socket_path(f"recording-{run.process_id}")
        with closing(AnalysisFeed(path, dict)) as feed:
            with Attached(Analysis(Mean, Shown), path) as attached:
                wait_for(lambda: [one.status.state for one in feed.shown.values()] == ["running"])
                attached.stop()
                attached.wait()
            wait_for(lambda: [one.status.state for one in feed.shown.values()] in (["ended"], ["failed"]))


def snapshot_of(**datasets):
    return Snapshot(Group({name: Dataset(np.asarray(values)) for name, values in datasets.items()}))


def test_a_curve_is_over_wavelengths_if_it_can_be():
    named = snapshot_of(wavelength=[400.0, 500.0], mean=[1, 2], other=[1, 2, 3])
    assert curves({"a": named}) == [("a", "mean"), ("a", "other"), ("a", "wavelength")]
    assert curve(named, "mean", None).x.tolist() == [400, 500]
    assert (curve(named, "other", [1, 2]).label, curve(named, "other", [1, 2]).x.tolist()) == ("index", [0, 1, 2])
    assert curve(named, "other", [400, 450, 500]).label == "wavelength / nm"
    thinned = Snapshot(Group({"mean": Dataset(np.arange(3), steps=(2,))}))
    assert curve(thinned, "mean", [400, 450, 500, 550, 600]).x.tolist() == [400, 500, 600]


def test_a_picture_has_colours_for_all_values_and_black_for_none():
    values = np.linspace(-1, 1, 100).reshape(10, 10)
    values[0, 0], values[9, 9] = np.nan, np.inf
    shown = picture(Dataset(values, steps=(3, 1)))
    assert shown.pixels[0, 0] == shown.pixels[9, 9] == 0
    assert (shown.pixels[0, 1], shown.pixels[9, 8]) == (1, 255)
    assert shown.size == (30, 10)
    assert np.all(picture(Dataset(np.full((2, 2), 5))).pixels == 1)
    assert np.all(picture(Dataset(np.full((2, 2), np.nan))).pixels == 0)
    assert (COLOURS.shape, COLOURS[0].tolist()) == ((256, 3), [0, 0, 0])
    assert pictures({"a": snapshot_of(image=values, text=[["a"]], none=np.zeros((0, 3)))}) == [("a", "image")]


def test_the_text_of_an_analysis_cannot_be_code_of_a_page():
    status = AnalysisStatus(name="<i>", mode="tap", state="failed", why="<script>")
    taken = Snapshot(snapshot_of(**{"<u>": 1.0, "text": "<s>", "nan": np.nan}).root, ("<p>: no",))
    html = numbers_as_html(status, taken, {"<u>": [1.0, np.nan, 2.0]})
    assert not any(tag in html for tag in ("<i>", "<script>", "<u>", "<s>", "<p>"))
    assert "polyline" in html


def test_a_cell_whose_thread_fails_says_so(caplog):
    pytest.importorskip("ipywidgets", reason="ipywidgets is missing: pip install 'openhsi_shared[notebook]'")
    cell = AnalysisCell(lambda: 1 / 0)
    wait_for(lambda: not cell.is_running)
    assert cell.numbers.value == "not updated: ZeroDivisionError: division by zero"
    assert "the cell of an analysis is no longer updated: ZeroDivisionError" in caplog.text
    cell.close()
