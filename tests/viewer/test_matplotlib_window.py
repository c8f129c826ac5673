"""A matplotlib window on an off-screen canvas: its pixels, its keys, its end."""

from pathlib import Path

import numpy as np
import pytest

from openhsi_shared import SharedRing
from openhsi_shared.errors import ViewerError
from openhsi_shared.viewer.matplotlib_window import OUTSIDE, Window, show_window
from openhsi_shared.viewer.ring_frames import FrameReader
from openhsi_shared.viewer.ring_messages import Initialize, Saved
from tests.support.rings import quadrants


@pytest.fixture(autouse=True)
def _agg(monkeypatch):
    import matplotlib as mpl

    monkeypatch.setenv("MPLBACKEND", "agg")
    with mpl.rc_context():
        mpl.use("agg", force=True)
        yield


@pytest.fixture
def ring():
    with SharedRing(1 << 20, create=True) as made:
        yield made


def reader_of(ring, shape=(64, 96), vmin=0, vmax=4000, save_dir=Path()):
    told = []
    return FrameReader(ring, Initialize(ring.name, ring.nbytes, *shape, vmin, vmax, save_dir), told.append), told


def screen(window):
    """Greys of the picture as they are on the screen, top row first."""
    pixels = np.asarray(window.figure.canvas.buffer_rgba())
    assert np.ptp(pixels[:400, :, :3], axis=-1).max() == 0
    box = window.axes.bbox
    return pixels[: round(box.height), :, 0]


def greys(window, n_rows=64, n_columns=96):
    pixels = screen(window)
    height, width = pixels.shape
    return [pixels[height * row // 4, width * column // 4].item() for row in (1, 3) for column in (1, 3)]


@pytest.fixture
def opened():
    windows = []

    def open_window(reader):
        windows.append(Window(reader))
        return windows[-1]

    yield open_window
    for window in windows:
        window.close()


def test_the_newest_frame_is_on_the_screen_the_right_way_up(ring, opened):
    reader, _ = reader_of(ring)
    window = opened(reader)
    window.update()
    assert window.frame is None
    for frame in (quadrants()[::-1], quadrants()):
        ring.put(frame)
    window.update()
    assert greys(window) == [0, 63, 127, 255]
    assert window.frame.number == 1
    assert reader.n_shown == 1
    ring.put(quadrants()[::-1])
    window.update()
    assert greys(window) == [127, 255, 0, 63]


def test_a_redrawn_window_shows_the_same(ring, opened):
    window = opened(reader_of(ring)[0])
    ring.put(quadrants())
    window.update()
    window.figure.canvas.draw()  # as after it was resized
    assert greys(window) == [0, 63, 127, 255]


def test_zooming_shows_a_part_and_beside_the_frame_is_nothing(ring, opened):
    window = opened(reader_of(ring)[0])
    ring.put(quadrants())
    window.update()
    window.axes.set(xlim=(48, 90), ylim=(60, 32), aspect="auto")
    window.figure.canvas.draw()
    assert set(greys(window)) == {255}
    window.axes.set(xlim=(0, 192), ylim=(64, 0))
    window.figure.canvas.draw()
    assert greys(window)[1::2] == [OUTSIDE, OUTSIDE]


def test_the_value_under_the_mouse_is_the_true_one(ring, opened):
    window = opened(reader_of(ring)[0])
    assert window.axes.format_coord(1, 1) == ""
    ring.put(quadrants())
    window.update()
    assert window.axes.format_coord(94.7, 62.6) == "row 63, column 95: 4000"
    assert window.axes.format_coord(96, 1) == ""


def test_s_saves_the_frame_that_is_shown_and_not_a_newer_one(ring, opened, tmp_path):
    import matplotlib as mpl
    from matplotlib.backend_bases import KeyEvent

    reader, told = reader_of(ring, save_dir=tmp_path)
    window = opened(reader)
    assert "s" not in mpl.rcParams["keymap.save"]  # which would open a dialogue
    press = KeyEvent("key_press_event", window.figure.canvas, "s")
    window.figure.canvas.callbacks.process("key_press_event", press)  # nothing to save yet
    ring.put(quadrants())
    window.update()
    ring.put(quadrants()[::-1])
    window.figure.canvas.callbacks.process("key_press_event", press)
    (path,) = [message.path for message in told if isinstance(message, Saved)]
    assert path.name.startswith("frame_00000000_")
    assert np.array_equal(np.load(path), quadrants())
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".npy", ".png"]


def test_closing_the_window_ends_it(ring):
    reader, _ = reader_of(ring)
    import matplotlib.pyplot as plt

    rounds = []

    def close_in_the_third_round():
        rounds.append(1)
        if len(rounds) == 3:
            canvas = plt.gcf().canvas
            from matplotlib.backend_bases import CloseEvent

            canvas.callbacks.process("close_event", CloseEvent("close_event", canvas))
        return len(rounds) > 50

    show_window(reader, rounds.clear, close_in_the_third_round)
    assert len(rounds) == 3
    assert plt.get_fignums() == []


def test_without_a_screen_it_says_what_to_do(ring, monkeypatch):
    monkeypatch.delenv("MPLBACKEND")  # agg was not requested, but is the only backend
    with pytest.raises(ViewerError, match=r"cannot open a window.*use backend='browser'"):
        Window(reader_of(ring)[0])
