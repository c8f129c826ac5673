"""The last lines in colour: painted as by a reference, in order, and only as many as there are."""

import numpy as np
import pytest

from openhsi_shared.buffers.tap import LineName
from openhsi_shared.viewer.history import History, colours_of, to_pixels


def filled(n, n_lines, value=lambda k: k):
    history = History(n, 4, 3)
    for k in range(n_lines):
        history.append([np.full((4, 3), value(k), np.float32)], [LineName(1, k)])
    return history


def lines_of(strip):
    return [name.line for name in strip.names]


def test_colours_are_the_means_of_their_bands():
    line = np.arange(24).reshape(4, 6).astype(np.uint16)
    bands = [slice(4, 6), np.array([0, 3]), slice(1, 2)]
    expected = [[line[x, 4:6].mean(), line[x, [0, 3]].mean(), line[x, 1]] for x in range(0, 4, 2)]
    np.testing.assert_array_equal(colours_of(line, bands, 2), np.array(expected, np.float32))


def test_pixels_are_rgba_from_black_to_white():
    means = np.array([[[0, 50, 100], [200, -9, np.nan]]], np.float32)
    pixels = to_pixels(means, 0, 100).view(np.uint8).reshape(1, 2, 4)
    assert pixels.tolist() == [[[0, 127, 255, 255], [255, 0, 0, 255]]]
    grey = to_pixels(np.array([[[50]]], np.float32), 0, 100).view(np.uint8)
    assert grey.ravel().tolist() == [127, 127, 127, 255]


def test_what_is_new_is_told_apart_from_what_was_seen():
    history = filled(8, 5)
    assert lines_of(history.since(0, 100)) == [0, 1, 2, 3, 4]
    assert lines_of(history.since(3, 100)) == [3, 4]
    assert lines_of(history.since(0, 2)) == [3, 4]
    assert lines_of(history.since(5, 100)) == []
    assert history.since(3, 100).end == 5


def test_it_holds_the_last_ones_and_can_be_scrolled_back():
    history = filled(8, 20)
    assert lines_of(history.since(0, 100)) == list(range(12, 20))
    assert lines_of(history.before(20, 3)) == [17, 18, 19]
    assert lines_of(history.before(15, 5)) == [12, 13, 14]
    assert lines_of(history.before(5, 3)) == []
    assert history.before(20, 3).pixels.shape == (3, 4)


def test_wide_lines_are_thinned_out():
    history = History(4, 3000, 1)
    assert (history.step, history.width) == (3, 1000)


def test_brightness_follows_the_lines_and_then_everything_is_painted_anew():
    history = filled(600, 100, lambda k: 100 + k % 10)
    before = history.version
    history.append([np.full((4, 3), 104, np.float32)], [LineName(1, 100)])
    assert history.version == before
    for k in range(101, 300):
        history.append([np.full((4, 3), 5000, np.float32)], [LineName(1, k)])
    assert history.version > before
    assert history.high == pytest.approx(5000)
    shades = history.since(0, 600).pixels.view(np.uint8).reshape(300, 4, 4)
    assert shades[200, 0].tolist() == [255, 255, 255, 255]
    assert shades[0, 0, 0] < 10


@pytest.mark.parametrize("value", [0.0, 77.0, np.nan, -3.0])
def test_constant_lines_and_lines_without_numbers_are_painted_without_complaint(value):
    history = filled(8, 3, lambda _: value)
    assert (history.since(0, 8).pixels >> 24 == 255).all()
