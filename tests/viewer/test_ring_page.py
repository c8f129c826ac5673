"""The page of a ring, in a real browser."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

from openhsi_shared import SharedRing, Viewer
from tests.support.products import some
from tests.support.rings import quadrants

pytestmark = [pytest.mark.usefixtures("runtime"), pytest.mark.browser]

SHAPE = (64, 96)
SENT = ("bool", "int8", "float16", "int64")
"""As unsigned bytes, as it is, as float32, and as float64."""
DATA = "window.Bokeh?.documents[0]?.get_model_by_name('frame')?.data"


@pytest.fixture
def ring():
    with SharedRing(1 << 20, create=True) as made:
        yield made


@pytest.fixture
def viewer(ring, tmp_path):
    with Viewer(ring, SHAPE, 0, 4000, save_dir=tmp_path) as made:
        yield made.wait_ready()


def number_in(tab):
    """Of the frame that the browser has."""
    return tab.page.evaluate(f"{DATA}?.number[0]")


def greys(tab):
    """Of the middle of each quarter of the frame, as they are on the screen."""
    code = """() => {
        const view = Bokeh.index.find_one_by_id(Bokeh.documents[0].get_model_by_name("picture").id)
        const {left, top} = view.canvas_view.el.getBoundingClientRect()
        const {x_scale, y_scale} = view.frame
        return [[16, 24], [16, 72], [48, 24], [48, 72]].map(
            ([row, column]) => [left + x_scale.compute(column), top + y_scale.compute(row)])
    }"""
    picture = Image.open(io.BytesIO(tab.picture("ring_page"))).convert("L")
    return [picture.getpixel((round(x), round(y))) for x, y in tab.page.evaluate(code)]


def test_the_newest_frame_is_on_the_screen_and_no_other_host_is_requested(ring, viewer, look):
    ring.put(quadrants()[::-1])  # before the browser connects
    tab = look(viewer.url)
    tab.wait(lambda: viewer.shown is not None)
    for _ in range(20):
        ring.put(quadrants())
    tab.wait(lambda: number_in(tab) == 20)
    tab.wait(lambda: np.allclose(greys(tab), [0, 64, 128, 255], atol=6))
    tab.await_text("body", "frame 20 of ")
    tab.await_text("body", "0 to 4000")
    assert viewer.shown.n_shown < 20
    assert tab.page.title() == f"ring {ring.name}"
    assert tab.hosts == {"127.0.0.1"}
    assert tab.errors == []


def test_frames_keep_coming_also_those_that_come_before_the_page_is_there(ring, viewer, look):
    enough = threading.Event()

    def put_until_enough():
        while not enough.wait(0.002):
            ring.put(quadrants())

    putting = threading.Thread(target=put_until_enough)
    putting.start()
    try:
        tab = look(viewer.url)
        tab.wait(lambda: viewer.shown is not None and viewer.shown.n_shown >= 30)
    finally:
        enough.set()
        putting.join()
    assert viewer.shown.number < ring.n_put
    assert viewer.shown.n_shown < viewer.shown.number


def test_s_and_the_button_save_the_frame_that_is_shown(ring, viewer, look, tmp_path):
    tab = look(viewer.url)
    ring.put(quadrants())
    tab.await_text("body", "frame 0 of")
    tab.page.keyboard.press("s")
    tab.wait(lambda: len(viewer.saved) == 1)
    tab.await_text("body", f"saved {viewer.saved[0].name}")
    ring.put(quadrants()[::-1])
    tab.wait(lambda: number_in(tab) == 1)
    tab.wait(lambda: tab.click("save (s)") or len(viewer.saved) > 1)
    assert [path.name[:15] for path in viewer.saved[:2]] == ["frame_00000000_", "frame_00000001_"]
    assert np.array_equal(np.load(viewer.saved[0]), quadrants())
    assert np.array_equal(np.load(viewer.saved[1]), quadrants()[::-1])
    assert viewer.saved[0].parent == tmp_path


def test_the_value_under_the_mouse_is_the_true_one(ring, viewer, look):
    tab = look(viewer.url)
    ring.put(quadrants())
    tab.await_text("body", "frame 0 of")
    box = tab.page.locator(".bk-Figure").bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.7)
    tab.await_text("body", "4000")
    tab.page.locator(".bk-Tooltip", has_text="4000").wait_for()


def test_two_browsers_see_the_same_and_when_the_last_one_is_closed_it_ends(ring, viewer, look, capfd):
    tabs = [look(viewer.url), look(viewer.url)]
    ring.put(quadrants())
    for tab in tabs:
        tab.wait(lambda tab=tab: number_in(tab) == 0)
    tabs[0].page.close()
    ring.put(quadrants())
    tabs[1].wait(lambda: number_in(tabs[1]) == 1)
    tabs[1].page.close()
    assert viewer.wait(60)
    assert viewer.state == "closed"
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("dtype", some(*SENT, all_of=(*SENT, "float64")))
def test_every_type_is_shown(look, dtype):
    frame = (quadrants() // 40 if dtype == "int8" else quadrants()).astype(dtype)
    with SharedRing(1 << 20, create=True, dtype=dtype) as ring, Viewer(ring, SHAPE) as viewer:
        ring.put(frame)
        tab = look(viewer.url)
        tab.wait(lambda: viewer.shown is not None)
        shades = greys(tab)
        assert abs(shades[0]) < 6
        assert abs(shades[3] - 255) < 6
        assert tab.errors == []


def test_a_large_frame_is_sent_in_part(look):
    with SharedRing(2 * 3000 * 2000 * 2, create=True) as ring, Viewer(ring, (3000, 2000), 0, 4000) as viewer:
        ring.put(np.kron(quadrants(30, 20), np.ones((100, 100), np.uint16)))
        tab = look(viewer.url)
        tab.wait(lambda: viewer.shown is not None)
        assert tab.page.evaluate(f"[...{DATA}.image[0].shape]") == [1000, 667]
        assert tab.errors == []
