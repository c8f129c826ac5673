"""The live page in a real browser, beside recordings that must not notice it."""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack

import numpy as np
import psutil
import pytest
from PIL import Image

from openhsi_shared import SharedSimulatedCamera, record, record_all
from openhsi_shared.control.control_socket import find_sockets
from openhsi_shared.errors import ArgumentError, RecordingError, ViewerError
from openhsi_shared.files.flight_log import FlightLog
from openhsi_shared.viewer.live_page import LivePage
from tests.support import leaks
from tests.support.flow import COUNTING, account, cubes_in
from tests.support.helpers import environment, wait_for

pytestmark = [
    pytest.mark.usefixtures("runtime"),
    pytest.mark.skipif(sys.platform != "linux", reason="slots are handed out on Linux only"),
]

SMALL = {**COUNTING, "rate": 200, "n_lines": 50, "queue": 9999, "when_full": "block", "progress": False}


def waterfall(tab):
    """Pixels of the waterfall on the screen, (down, across, RGB)."""
    box = max((canvas.bounding_box() for canvas in tab.page.locator("canvas").all()), key=_area)
    picture = Image.open(io.BytesIO(tab.page.screenshot())).convert("RGB")
    pixels = np.asarray(picture)
    x, y = int(box["x"]), int(box["y"])
    return pixels[y : y + int(box["height"]), x : x + int(box["width"])]


def _area(box):
    return box["width"] * box["height"] if box else 0


def number_of(tab, tile):
    return int("".join(c for c in tab.text(f".tile.{tile} .value") if c.isdigit()) or "0")


# ---- what is seen ----


@pytest.mark.browser
def test_the_page_shows_the_colours_of_the_scene_and_counts_and_sends_no_other_request(tmp_path, look, capfd):
    bands = np.repeat(np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250]], np.uint8), 8, axis=0)
    Image.fromarray(np.repeat(bands[:, None], 10, axis=1)).save(tmp_path / "picture.png")
    keywords = {"img_path": tmp_path / "picture.png", "rate": 100, "n_lines": 40, "queue": 9999}
    keywords |= {"when_full": "block", "progress": False}
    with record(SharedSimulatedCamera, tmp_path / "out", **keywords) as run, run.view() as page:
        tab = look(page.url)
        tab.await_text(".badge", "RECORDING")
        first = number_of(tab, "lines")
        tab.wait(lambda: number_of(tab, "lines") > first + 100)
        tab.wait(lambda: tab.text(".tile.age .value").endswith("ms"))
        tab.picture("live_page")
        pixels = waterfall(tab)
        line = np.median(pixels[60:120], axis=0)  # the first 60 lines are painted by now
        inside = line[20:-20]
        for share, colour in ((1 / 6, 0), (3 / 6 + 0.04, 1), (5 / 6, 2)):
            at = inside[int(share * len(inside))]
            assert at[colour] > 120, (share, at)
            assert at[colour] > at.sum() - at[colour] + 40, (share, at)
        tab.wait(lambda: number_of(tab, "captured") > 50)
        assert tab.page.title() == "SharedSimulatedCamera · live"
        assert tab.hosts == {"127.0.0.1"}
        assert tab.errors == []
        run.stop()
        assert run.wait().lines_lost == 0
        page.close()
        tab.await_text(".badge", "ENDED")  # the browser was notified before
        tab.page.locator("#gone").wait_for()
        tab.picture("live_page_ended")
    out = capfd.readouterr()
    assert "Traceback" not in out.err


@pytest.mark.browser
def test_cameras_that_record_together_are_side_by_side_on_one_page_whose_buttons_are_for_all(tmp_path, look):
    cameras = {name: (SharedSimulatedCamera, SMALL | {"rate": rate}) for name, rate in (("vnir", 200), ("swir", 80))}
    for _, keywords in cameras.values():
        del keywords["progress"]
    with record_all(cameras, tmp_path / "out", progress=False) as run, run.view() as page:
        tab = look(page.url, width=1800)
        frames = [tab.page.frame_locator(f"iframe[title={name}]") for name in cameras]
        for frame in frames:
            frame.locator(".badge", has_text="RECORDING").wait_for()
            frame.locator("canvas").first.wait_for()
        assert [heading.inner_text() for heading in tab.page.locator("h1").all()] == ["vnir", "swir"]
        left, right = (tab.page.locator(f"iframe[title={name}]").bounding_box() for name in cameras)
        assert (left["y"], left["x"] < right["x"]) == (right["y"], True)
        assert tab.hosts == {"127.0.0.1"}
        tab.picture("live_page_of_two_cameras")
        frames[1].get_by_placeholder("text of a mark").fill("coast")
        frames[1].get_by_role("button", name="Mark").click()
        log = FlightLog(tmp_path / "out")
        wait_for(lambda: sum(entry["kind"] == "mark" for entry in log.entries()[0]) == 2)
        for label in ("Stop", "Click again to stop"):
            frames[0].get_by_role("button", name=label).click()
        assert run.wait(60).cameras.keys() == {"vnir", "swir"}


@pytest.mark.browser
def test_a_text_marks_the_line_being_taken_and_the_stop_button_ends_it_and_then_the_page(tmp_path, look):
    keywords = SMALL | {"n_lines": 20_000}
    with record(SharedSimulatedCamera, tmp_path / "out", **keywords) as run, run.view() as page:
        tab = look(page.url)
        tab.wait(lambda: number_of(tab, "lines") > 75)
        field = tab.page.get_by_placeholder("text of a mark")
        field.fill("over the coast")
        tab.click("Mark")
        tab.wait(lambda: field.input_value() == "")
        log = FlightLog(tmp_path / "out")
        tab.wait(lambda: "mark" in [entry["kind"] for entry in log.entries()[0]])
        lines = run.status().lines
        tab.wait(lambda: run.status().lines > lines + 5)
        tab.picture("live_page_mark")
        tab.click("Stop")
        assert run.is_running  # one click may be a mistake
        tab.click("Click again to stop")
        tab.await_text(".badge", "ENDED")
        summary = run.wait(60)
        assert summary.errors == ()
        assert page.is_open  # a browser is connected
        tab.page.close()
        assert page.wait(60)
        with pytest.raises(RecordingError, match="this recording cannot be looked at: it has ended"):
            run.view()
    numbers, gaps = account(tmp_path / "out")
    assert numbers == list(range(summary.lines))
    assert gaps == []
    assert 75 < len(numbers) < 20_000  # of a cube that was not full
    (cube,) = cubes_in(tmp_path / "out")
    assert [mark["text"] for mark in json.loads(cube.attributes["marks"])] == ["over the coast"]


@pytest.mark.browser
def test_it_can_be_frozen_and_scrolled_back_while_the_recording_goes_on(tmp_path, look):
    keywords = SMALL | {"rate": 1000, "n_lines": 300}
    with record(SharedSimulatedCamera, tmp_path / "out", **keywords) as run, run.view() as page:
        tab = look(page.url)
        tab.wait(lambda: number_of(tab, "lines") > 1500)
        tab.click("Freeze")
        tab.await_text(".tile.age .value", "frozen")
        tab.wait(lambda: np.array_equal(waterfall(tab), waterfall(tab)))
        frozen = waterfall(tab)
        lines = number_of(tab, "lines")
        tab.wait(lambda: number_of(tab, "lines") > lines + 200)
        assert np.array_equal(waterfall(tab)[60:-60], frozen[60:-60])
        slider = tab.page.get_by_role("slider").first
        slider.press("PageDown")
        slider.press("Home")
        tab.wait(lambda: not np.array_equal(waterfall(tab)[60:-60], frozen[60:-60]))
        tab.picture("live_page_frozen")
        tab.click("Resume")
        tab.wait(lambda: tab.text(".tile.age .value").endswith("ms"))
        assert tab.errors == []


@pytest.mark.browser
def test_a_camera_in_this_program_has_a_page_too_but_no_stop_button(tmp_path, look):
    keywords = {name: value for name, value in SMALL.items() if name != "progress"}
    with SharedSimulatedCamera(**keywords) as cam, cam.view() as page:
        tab = look(page.url)
        tab.await_text(".badge", "CAMERA")
        assert tab.page.get_by_role("button", name="Stop").count() == 0
        cam.collect(progress=False)
        tab.wait(lambda: number_of(tab, "lines") == 50)
        cam.save(tmp_path / "out").result(60)
        cam.collect(progress=False)
        tab.await_text(".tile.lines .value", "100")
        cam.save(tmp_path / "out")
        cam.close()
        assert find_sockets() == []
        tab.await_text(".badge", "ENDED")
    assert account(tmp_path / "out")[0] == list(range(100))


# ---- viewers do not affect the recording ----


@pytest.mark.browser
def test_the_files_are_as_without_a_viewer_whatever_happens_to_it(tmp_path, look):
    keywords = SMALL | {"rate": 300, "n_lines": 100, "resolution": (100, 60)}
    with record(SharedSimulatedCamera, tmp_path / "out", **keywords) as run, ExitStack() as stack:
        killed, stopped, slow = (stack.enter_context(run.view()) for _ in range(3))
        for page, end in ((killed, psutil.Process.kill), (stopped, psutil.Process.suspend)):
            tab = look(page.url)
            tab.wait(lambda tab=tab: number_of(tab, "lines") > 0)
            end(psutil.Process(page.process_id))
            tab.page.close()
        tab = look(slow.url)
        tab.wait(lambda: number_of(tab, "lines") > 0)
        tab.page.evaluate("setTimeout(() => {const end = Date.now() + 1500; while (Date.now() < end) ;}, 0)")
        lines = run.status().lines
        wait_for(lambda: run.status().lines > lines + 300)
        run.stop()
        summary = run.wait(100)
        assert (summary.lines_lost, summary.errors) == (0, ())
        assert run.status().writer_restarts == 0
    assert account(tmp_path / "out") == (list(range(summary.lines)), [])


# ---- errors ----


def test_where_no_process_answers_the_page_ends_and_says_why(tmp_path, caplog):
    with LivePage(tmp_path / "nobody.sock") as page:
        assert page.wait(60)
        wait_for(lambda: "no process answers at" in caplog.text)
    assert "has the recording ended?" in caplog.text


# ---- what fails on this side ----


def test_if_the_thread_that_receives_its_messages_fails_it_is_logged_and_the_page_can_be_closed(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("openhsi_shared.viewer.served_page._receive", lambda *_: 1 / 0)
    with SharedSimulatedCamera(**{**COUNTING, "n_lines": 8}) as cam:
        page = cam.view(open_browser=False)
        wait_for(lambda: "messages of the live page are no longer received: ZeroDivisionError" in caplog.text)
        page.close()
        assert page.wait(0)
        assert not psutil.pid_exists(page.process_id)
        cam.collect()


# ---- one recording, which all of the following tests look at: the last ones, since it costs as long as it runs ----


LOST = [150, 151, 200]
SHARED = SMALL | {"rate": 100, "n_lines": 500, "savefig": False, "script": dict.fromkeys(LOST, "gap")}


@pytest.fixture(scope="module")
def going_on(tmp_path_factory):
    """A recording, and its control socket, for all tests that only look at it; it must not notice them."""
    out = tmp_path_factory.mktemp("going_on") / "out"
    with tempfile.TemporaryDirectory(prefix="ohs") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)
        with leaks.what_starts_is_kept():
            run = record(SharedSimulatedCamera, out, **SHARED)
        with run:
            yield run, find_sockets()[0]
            wait_for(lambda: run.status().lines > LOST[-1])  # also if only a few of these tests run
    assert (run.summary.errors, run.status().writer_restarts) == ((), 0)
    assert account(out)[1] == LOST


@pytest.fixture
def ongoing(going_on, runtime, monkeypatch):
    """The same, in its runtime directory."""
    run, path = going_on
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path.parents[1]))
    return run, path


@pytest.fixture(scope="module")
def page_of_it(going_on):
    """Its page, for all tests that only read it."""
    with leaks.what_starts_is_kept():
        page = going_on[0].view()
    with page:
        yield page


@pytest.mark.browser
def test_a_lost_line_turns_its_number_red_and_its_id_is_listed(page_of_it, look):
    tab = look(page_of_it.url)
    tab.await_text(".tile.lost.bad .value", "3")
    assert tab.text(".losses") == "Lost frame ids, newest first: 200, 150-151"
    lost = tab.page.locator(".tile.lost")
    tab.wait(lambda: lost.evaluate("tile => getComputedStyle(tile).backgroundColor") == "rgb(255, 59, 59)")
    tab.picture("live_page_lost")


@pytest.mark.browser
def test_a_click_on_the_waterfall_chooses_the_pixel_of_the_spectrum(page_of_it, look):
    tab = look(page_of_it.url)
    tab.wait(lambda: number_of(tab, "lines") > 75)
    tab.await_text(".bk-slider-title", "Cross-track pixel of the spectrum: 8")
    box = max((canvas.bounding_box() for canvas in tab.page.locator("canvas").all()), key=_area)
    tab.page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    tab.await_text(".bk-slider-title", "spectrum: 3")


@pytest.mark.browser
def test_browsers_that_leave_in_the_middle_leave_no_traceback_and_others_go_on_looking(page_of_it, look, capfd, caplog):
    stays = look(page_of_it.url)
    for _ in range(2):
        tab = look(page_of_it.url)
        tab.wait(lambda tab=tab: number_of(tab, "lines") > 0)
        tab.page.close()
    before = number_of(stays, "lines")
    stays.wait(lambda: number_of(stays, "lines") > before + 100)
    stays.page.close()
    tab = look(page_of_it.url)
    tab.wait(lambda: number_of(tab, "lines") > before + 150)
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert "Failed sending message" not in err
    assert "Traceback" not in caplog.text


# ---- how it ends ----


def test_it_is_there_at_once_on_a_free_port_and_ends_when_closed_and_close_is_idempotent(ongoing):
    run, _ = ongoing
    page = run.view()
    assert page.url.startswith("http://127.0.0.1:")
    assert page.is_open
    assert page.url in repr(page)
    assert f'<iframe src="{page.url}"' in page._repr_html_()
    port = int(page.url.split(":")[2].split("/")[0])
    with pytest.raises(ArgumentError, match=f"cannot serve a page at 127.0.0.1:{port}: .* choose another port"):
        run.view(port=port)
    with pytest.raises(ArgumentError, match=r"cannot serve a page at 127.0.0.1:80x: .* choose another port"):
        run.view(port="80x")
    page.close()
    page.close()
    assert not page.is_open
    assert "closed" in repr(page)
    assert run.is_running


def test_a_page_that_was_killed_says_so_to_who_waits_for_it_and_the_recording_goes_on(ongoing):
    run, _ = ongoing
    page = run.view()
    os.kill(page.process_id, signal.SIGKILL)
    with pytest.raises(ViewerError, match="died with exit code -9; open another one"):
        page.wait(60)
    page.close()
    assert page.wait(60)
    assert run.is_running


def test_a_stopped_page_can_be_closed(ongoing):
    page = ongoing[0].view()
    os.kill(page.process_id, signal.SIGSTOP)
    page.close()
    assert not page.is_open


VIEWER = """
import sys, urllib.request
from pathlib import Path
from openhsi_shared.files.flight_log import FlightLog
from openhsi_shared.viewer.live_page import LivePage
page = LivePage(Path(sys.argv[1]))
urllib.request.urlopen(page.url).close()
print(page.process_id, flush=True)
"""
"""A program that views the recording of another."""


def test_no_page_outlives_its_owner(ongoing):
    run, path = ongoing
    command = [sys.executable, "-c", VIEWER + "input()", str(path)]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        page = int(owner.stdout.readline())
        owner.kill()
    wait_for(lambda: _is_gone(page), 60)
    assert run.is_running


def _is_gone(process):
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_program_ends_though_its_page_is_open(ongoing):
    run, path = ongoing
    command = [sys.executable, "-c", VIEWER, str(path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert _is_gone(int(done.stdout))
    assert run.is_running
