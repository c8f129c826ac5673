"""The live page on a phone, a tablet and a desk: nothing overlaps, no text is cut, nothing is scrolled sideways."""

import sys

import numpy as np
import pytest

from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.analysis.pairs.mean_spectrum import MeanSpectrumReducer, MeanSpectrumWorker
from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.control.snapshot import Dataset, Group, Snapshot
from openhsi_shared.viewer.published_values import numbers_as_html
from openhsi_shared.viewer.theme import css
from openhsi_shared.viewer.tiles import Numbers, tiles
from tests.support.control import glance
from tests.support.flow import COUNTING

pytestmark = [
    pytest.mark.usefixtures("runtime"),
    pytest.mark.skipif(sys.platform != "linux", reason="slots are handed out on Linux only"),
]

FAULTS = """() => {
    const boxes = [], faults = [];
    const walk = (root) => {
        for (const element of root.children) {
            const box = element.getBoundingClientRect();
            const name = `${element.className || element.tagName} ${element.textContent.slice(0, 30)}`;
            if (element.matches(".bk-Figure, .bk-Button, .bk-Toggle, .bk-Slider, .bk-Select, .bk-MultiChoice, " +
                ".bk-TextInput, .bk-NumericInput, .tile, .badge, .losses, .bars, .legend, .matching, details") &&
                box.width)
                boxes.push([name, box]);
            if (element.matches(".name, .value, .under, .badge, .where, .bk-slider-title, button") &&
                element.scrollWidth > element.clientWidth + 1 && element.clientWidth)
                faults.push(`${name} is cut`);
            if (element.shadowRoot) walk(element.shadowRoot);
            walk(element);
        }
    };
    walk(document.body);
    boxes.forEach(([name, a], index) => boxes.slice(index + 1).forEach(([other, b]) => {
        if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
            Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1) faults.push(`${name} lies over ${other}`);
    }));
    if (document.documentElement.scrollWidth > innerWidth) faults.push("it is scrolled sideways");
    if (boxes.length < 15) faults.push(`only ${boxes.length} boxes`);
    return faults;
}"""


TILES = """([css, html]) => {
    document.body.replaceChildren(document.createElement("div"));
    const root = document.body.firstChild.attachShadow({mode: "open"});
    root.innerHTML = `<style>${css}</style>${html}`;
    const texts = [...root.querySelectorAll(".value, .name")];
    const cut = texts.filter((one) => one.scrollWidth > one.clientWidth + 1);
    return texts.length < 18 ? ["no tiles"] : cut.map((one) => `${one.textContent} is cut`);
}"""


@pytest.mark.browser
def test_large_numbers_fit_into_their_tiles(look):
    large = glance(rate=12345, lines=123_456_789, lines_lost=1_234_567, writer_mb_per_s=12345, disk_minutes_left=1e9)
    html = tiles(large, [], 100, Numbers(shown_per_s=12345, age_s=12345.6, is_frozen=False))
    snapshot = Snapshot(Group({name: Dataset(np.asarray(value)) for name, value in (("a", -1.23457e-12), ("b", 1.5))}))
    html += numbers_as_html(AnalysisStatus(name="mean", mode="tap"), snapshot, {})
    for width in (420, 768, 950, 1024, 1366, 1500, 2560):
        tab = look("about:blank", width=width, height=900)
        assert tab.page.evaluate(TILES, [css(), html]) == [], width
        tab.picture(f"large_numbers_{width}")
        tab.page.close()


@pytest.mark.browser
def test_no_box_lies_over_another_and_no_text_is_cut(tmp_path, look):
    keywords = {**COUNTING, "n_lines": 500, "rate": 100, "queue": 9999, "when_full": "block", "progress": False}
    keywords |= {"channels": {"lamp": "sim:sine,unit=W", "stage": "sim:ramp"}}
    keywords["analyse"] = (MeanSpectrumWorker, MeanSpectrumReducer)
    script = {20: "gap", 30: "gap"}
    with record(SharedSimulatedCamera, tmp_path / "out", script=script, **keywords) as run, run.view() as page:
        for width, height in ((420, 900), (768, 1024), (1500, 900)):
            tab = look(page.url, width=width, height=height)
            tab.await_text(".tile.lost.bad .value", "2")
            tab.await_text(".tile.disk .value", "h")
            tab.await_text(".legend", "stage")
            tab.await_text(".analysis .tile", "n_lines")
            tab.picture(f"live_page_{width}")
            tab.wait(lambda tab=tab: tab.page.evaluate(FAULTS) == [])
            tab.page.mouse.wheel(0, 1200)
            stop = tab.page.get_by_role("button", name="Stop")
            # it can be reached wherever one has scrolled to
            tab.wait(lambda stop=stop, height=height: 0 <= stop.bounding_box()["y"] < height - 40)
            tab.page.close()
        run.stop()
