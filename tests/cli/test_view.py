"""`openhsi-shared view` and `record --view`: running recordings are found, and errors are reported."""

import re
import signal
import tempfile
import urllib.error
import urllib.request
from contextlib import closing, contextmanager, suppress

import pytest

from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.control import messages
from openhsi_shared.control.control_socket import ControlSocket, Reply, find_sockets, request
from openhsi_shared.control.messages import AskGlance, Stopping
from tests.support.flow import COUNTING
from tests.support.helpers import wait_for

ENDLESS = (
    *("record", "--option", "resolution=[16,48]", "--option", "row_slice=null", "--option", "mode=counting"),
    *("--rate", 200, "--lines", 50, "--option", "queue=9999", "--when-full", "block"),
)
KEYWORDS = {**COUNTING, "rate": 200, "n_lines": 500, "progress": False, "savefig": False}
"""A recording beside it, in this process."""
URL = re.compile(r"http://127\.0\.0\.1:\d+/[\w-]+")


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Environment of commands: a runtime directory of their own, with a path short enough for a socket; no screen."""
    with tempfile.TemporaryDirectory(prefix="ohs") as folder:
        names = {"XDG_RUNTIME_DIR": folder, "DISPLAY": "", "WAYLAND_DISPLAY": ""}
        for name, value in names.items():
            monkeypatch.setenv(name, value)
        yield names


@contextmanager
def running(start, quiet, *arguments):
    """A command that runs, and its recording; ended by Ctrl-C."""
    with start(*arguments, **quiet) as process:
        try:
            wait_for(find_sockets, 60)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.communicate(timeout=100)


def line_of(stream, pattern):
    """The first match in the output."""
    for line in stream:
        if found := pattern.search(line):
            return found[0]
    raise AssertionError(f"{pattern} never came")


def is_served(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return b"bokeh" in answer.read()


def test_without_a_recording_it_says_so_and_fails(run, quiet):
    ended = run("view", **quiet)
    assert ended.code == 1
    assert ended.out == ""
    assert ended.err == (
        "Error: no recording of this user runs on this machine: start one, for instance with "
        "`openhsi-shared record --view`\n"
    )


def test_it_finds_the_recording_serves_its_page_and_ends_with_ctrl_c(start, quiet, tmp_path):
    with record(SharedSimulatedCamera, tmp_path / "a", **KEYWORDS) as recording, start("view", **quiet) as viewer:
        url = line_of(viewer.stdout, URL)
        assert is_served(url)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            is_served(url[:-4])
        viewer.send_signal(signal.SIGINT)
        _, err = viewer.communicate(timeout=60)
        assert (viewer.returncode, err) == (0, "page closed; the recording continues\n")
        assert recording.is_running


def test_several_recordings_are_listed_and_one_can_be_named(start, run, quiet, tmp_path):
    with running(start, quiet, *ENDLESS) as first, record(SharedSimulatedCamera, tmp_path / "b", **KEYWORDS):
        ended = run("view", **quiet)
        assert ended.code == 1
        assert "Several recordings are running; select one by its name:" in ended.err
        listed = re.findall(
            r"  (recording-\d+)  SharedSimulatedCamera, recording for \d+ s, [\d,]+ lines, into", ended.err
        )
        assert sorted(listed) == [path.stem for path in find_sockets()]
        ended = run("view", "recording-1", **quiet)
        assert (ended.code, "no recording has the name 'recording-1'" in ended.err) == (1, True)
        with start("view", first.pid, **quiet) as viewer:  # the name is tried with `mark`
            assert is_served(line_of(viewer.stdout, URL))
            viewer.send_signal(signal.SIGINT)
            viewer.communicate(timeout=60)


def test_clients_are_informed_that_the_program_which_recorded_was_killed(start, quiet):
    with running(start, quiet, *ENDLESS) as recording:
        (path,) = find_sockets()
        seen = []

        def ended():
            with suppress(OSError):
                seen.append(request(path, AskGlance()).answer)
            return seen[-1].phase == "ended"

        ended()
        recording.kill()
        wait_for(ended, 60)
        assert seen[0].ended_by == ""
        assert seen[-1].ended_by == "the program that recorded has died"


def test_a_recording_of_another_version_is_refused_with_both_versions(run_apart, quiet, monkeypatch):
    monkeypatch.setattr(messages, "VERSION", 7)  # of this process, which answers; the command has the true one
    with closing(ControlSocket("recording-1", lambda asked: Reply(Stopping()))):
        ended = run_apart("view", **quiet)
    assert ended.code == 1
    assert "recording-1: the other program uses version 7 of the control socket, this one version 6" in ended.err


def test_record_view_tells_the_address_and_records_all_the_same(start, quiet, tmp_path):
    with start(*ENDLESS, "--view", "--cubes", 16, **quiet) as process:
        assert is_served(line_of(process.stderr, URL))
        out, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    assert "lines     800" in out
    assert len(list((tmp_path / "flight").rglob("*.nc"))) == 16
