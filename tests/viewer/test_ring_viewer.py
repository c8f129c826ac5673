"""The viewer of a ring and its process: every way to end it, and no effect on the ring."""

import logging
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest

from openhsi_shared import SharedRing, Viewer
from openhsi_shared.errors import ArgumentError, ClosedError, ViewerError
from openhsi_shared.viewer import ring_viewer
from tests.support.helpers import child, receive, wait_for
from tests.support.rings import make_and_wait, quadrants, view_and_wait

SHAPE = (64, 96)
TIMEOUT_S = 60.0


@pytest.fixture(autouse=True)
def _no_screen(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


@pytest.fixture
def ring():
    with SharedRing(1 << 18, create=True) as made:
        yield made


def window(ring, **keywords):
    return Viewer(ring, SHAPE, backend="matplotlib", **keywords)


def wait_ended(viewer):
    assert viewer.wait(TIMEOUT_S)


# ---- what it shows ----


def test_it_shows_the_newest_frame_whatever_came_before(ring):
    with window(ring) as viewer:
        assert viewer.url is None
        viewer.wait_ready()
        assert viewer.state == "open"
        for _ in range(500):
            start, stop = ring.put(quadrants())
        wait_for(lambda: viewer.shown is not None and viewer.shown.number == 499, TIMEOUT_S)
        ring.put(quadrants())
    assert viewer.state == "closed"
    assert viewer.shown.number in (499, 500)
    assert viewer.shown.n_shown < 500
    if viewer.shown.number == 499:
        assert (viewer.shown.start, viewer.shown.stop) == (start, stop)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (((512, 512),), r"a frame of shape \(512, 512\) does not fit into the ring .* of 131072 items"),
        ((SHAPE, 5, 5), "vmin must be less than vmax, got 5 and 5"),
        ((SHAPE, "0"), "vmin must be a number or None, got '0'"),
        ((SHAPE, None, None, "qt"), "backend must be one of browser, matplotlib, got 'qt'"),
        ((7,), r"shape must be \(rows, columns\), got 7"),
        (((2.5, 2),), r"shape must be \(rows, columns\), got \(2.5, 2\)"),
        ((SHAPE, float("nan")), "vmin must be a number or None, got nan"),
        (((1, 2, 3),), r"shape must be \(rows, columns\), got \(1, 2, 3\)"),
        (((0, 2),), r"a frame of shape \(0, 2\) does not fit"),
    ],
)
def test_what_cannot_be_shown_is_refused_at_once(ring, arguments, text):
    with pytest.raises(ArgumentError, match=text):
        Viewer(ring, *arguments)


def test_what_is_no_ring_is_refused():
    with pytest.raises(ArgumentError, match="ring must be a SharedRing, got 'x'"):
        Viewer("x", (5, 5))


def test_numbers_without_a_shade_and_closed_rings_are_refused():
    with (
        SharedRing(64, create=True, dtype="complex64") as ring,
        pytest.raises(ArgumentError, match="put its magnitude"),
    ):
        Viewer(ring, (2, 2))
    with pytest.raises(ClosedError, match="is closed"):
        Viewer(ring, (2, 2))


# ---- how it ends ----


@pytest.mark.parametrize("backend", ["browser", "matplotlib"])
def test_it_ends_with_its_ring(ring, backend):
    with Viewer(ring, SHAPE, backend=backend, open_browser=False) as viewer:
        viewer.wait_ready()
        assert viewer.is_open
        ring.close()
        wait_ended(viewer)
        assert viewer.state == "closed"
        assert not viewer.is_open


def test_closed_before_it_is_up_it_is_gone(ring):
    viewer = window(ring)
    viewer.close()
    viewer.close()
    assert viewer.state == "closed"
    assert not psutil.pid_exists(viewer.process_id)


@pytest.mark.skipif(sys.platform != "linux", reason="locks that say who lives")
def test_it_ends_when_the_one_who_puts_is_killed():
    name = f"test-{os.getpid()}"
    with child(make_and_wait, name) as (process, connection):
        receive(connection)
        with SharedRing(64, name) as ring, Viewer(ring, (2, 4), backend="matplotlib") as viewer:
            viewer.wait_ready()
            process.kill()
            wait_ended(viewer)
            assert viewer.state == "closed"


def test_it_ends_when_its_owner_is_killed_and_the_ring_does_not(ring):
    with child(view_and_wait, ring) as (process, connection):
        process_id = receive(connection)
        process.kill()
        wait_for(lambda: not psutil.pid_exists(process_id), TIMEOUT_S)
    ring.put(quadrants())
    assert ring.is_live


def test_its_death_is_told_and_the_ring_goes_on(ring, caplog):
    with window(ring) as viewer:
        viewer.wait_ready()
        os.kill(viewer.process_id, signal.SIGKILL)
        with pytest.raises(
            ViewerError, match=f"the viewer of '{ring.name}' died, the ring is not affected: exit code -9"
        ):
            viewer.wait(TIMEOUT_S)
        assert viewer.state == "died"
        ring.put(quadrants())
    assert [record.levelno for record in caplog.records if "exit code -9" in record.message] == [logging.ERROR]


@pytest.mark.parametrize("asked", ["", "module://matplotlib_inline.backend_inline"])
def test_without_a_screen_its_owner_is_told_what_to_do(ring, monkeypatch, asked, caplog):
    monkeypatch.setenv("MPLBACKEND", asked)  # the second one is what a notebook has
    with window(ring) as viewer:
        with pytest.raises(ViewerError, match=r"cannot open a window: .* use backend='browser'"):
            viewer.wait_ready(TIMEOUT_S)
        assert viewer.state == "died"
    assert "cannot open a window" in caplog.text


def test_what_goes_wrong_in_it_comes_with_its_traceback(ring, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    with window(ring) as viewer, pytest.raises(ViewerError, match=r"(?s)Traceback .* 'nonsense' is not a valid value"):
        viewer.wait_ready(TIMEOUT_S)


def test_one_that_hangs_neither_stops_the_ring_nor_its_end(ring, monkeypatch):
    monkeypatch.setattr(ring_viewer, "CLOSE_TIMEOUT_S", 0.2)
    with window(ring) as viewer:
        viewer.wait_ready()
        os.kill(viewer.process_id, signal.SIGSTOP)
        for _ in range(200):
            ring.put(quadrants())
        assert ring.n_put == 200
    assert not psutil.pid_exists(viewer.process_id)
    assert viewer.state == "closed"


def test_one_that_does_not_come_is_not_waited_for_for_ever(ring):
    with window(ring) as viewer, pytest.raises(ViewerError, match=r"is not ready after 0.0 s"):
        viewer.wait_ready(0.0)


def test_frames_of_another_size_are_said_to_the_owner(ring, caplog):
    with window(ring) as viewer:
        ring.put(np.zeros(5, np.uint16))
        viewer.wait_ready()
        wait_for(lambda: "only frames of shape (64, 96) are shown" in caplog.text, TIMEOUT_S)
    assert viewer.shown is None


# ---- a real window ----


@pytest.fixture
def screen(monkeypatch):
    """A virtual screen."""
    missing = "tkinter is missing: apt-get install python3-tk"
    pytest.importorskip("tkinter", reason=missing, exc_type=ImportError)  # also if only its library is missing
    program = shutil.which("Xvfb")
    if program is None:
        pytest.skip("Xvfb is missing: apt-get install xvfb")
    reading, writing = os.pipe()
    command = [program, "-displayfd", str(writing), "-screen", "0", "1000x900x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        with os.fdopen(reading) as answer:
            number = answer.readline().strip()
        if not number:
            pytest.skip("Xvfb does not come up here")
        monkeypatch.setenv("DISPLAY", f":{number}")
        monkeypatch.delenv("MPLBACKEND")
        yield server
        server.terminate()


def test_a_real_window_shows_frames_and_a_screen_that_goes_is_told(ring, screen):
    with window(ring) as viewer:
        viewer.wait_ready(TIMEOUT_S)

        def three_are_shown():
            ring.put(quadrants())
            return viewer.shown is not None and viewer.shown.n_shown >= 3

        wait_for(three_are_shown, TIMEOUT_S)
        screen.terminate()
        with pytest.raises(ViewerError, match="died, the ring is not affected"):
            viewer.wait(TIMEOUT_S)


# ---- what fails on this side ----


def test_if_the_thread_that_receives_its_messages_fails_it_is_ended_and_the_cause_is_told(ring, monkeypatch, caplog):
    with window(ring) as viewer:
        viewer.wait_ready()
        monkeypatch.setattr(viewer._child, "receive", lambda: 1 / 0)
        ring.put(quadrants())  # it reports what it shows: then the thread receives again
        with pytest.raises(
            ViewerError, match="the thread that receives its messages failed: division by zero"
        ) as caught:
            viewer.wait(TIMEOUT_S)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert viewer.state == "died"
        wait_for(lambda: not psutil.pid_exists(viewer.process_id))
        ring.put(quadrants())
    assert "messages of the viewer are no longer received: ZeroDivisionError" in caplog.text


def test_if_that_thread_fails_before_it_is_up_no_caller_waits(ring, monkeypatch):
    monkeypatch.setattr("openhsi_shared.viewer.ring_viewer.Child.receive", lambda _: 1 / 0)
    with window(ring) as viewer, pytest.raises(ViewerError, match="failed: division by zero"):
        viewer.wait_ready(TIMEOUT_S)
    assert not psutil.pid_exists(viewer.process_id)
