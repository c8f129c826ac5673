"""Whether the command runs the neighbour's tutorial as its users type it."""

import re
import signal
import subprocess
import sys
from urllib.request import urlopen

import pytest

from openhsi_shared.analysis.events import Event, StreamData
from openhsi_shared.analysis.streams.capture_writing import CaptureWriter
from tests.support.helpers import environment

WORKER = """
import logging
from .shared import Result
logger = logging.getLogger(__name__)
class TestWorker:
    def __init__(self, *args, **kwargs):
        pass
    def process_event(self, event, parameters=None):
        logger.debug("event %d", event.event_number)
        print("printed", event.event_number)
        if event.event_number == 77:
            raise ValueError("bad event")
        return Result(event.event_number)
"""
REDUCER = """
from .shared import Result
class TestReducer:
    def __init__(self, *args, **kwargs):
        self.publish = {"n": 0}
    def process_result(self, result, parameters=None):
        assert isinstance(result.payload, Result)
        self.publish["n"] += 1
"""
PAIR = ["-w", "src.worker:TestWorker", "-r", "src.reducer:TestReducer"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tutorial")
    (path / "src").mkdir()
    (path / "src/worker.py").write_text(WORKER)
    (path / "src/reducer.py").write_text(REDUCER)
    (path / "src/shared.py").write_text("class Result:\n    def __init__(self, n):\n        self.n = n\n")
    for name, numbers in (("good", range(11)), ("bad", range(70, 80))):
        with CaptureWriter(path / f"{name}.cbors") as writer:
            for k in numbers:
                writer.write(Event(k, {"s": StreamData("raw", [b"x"])}))
    return path


def command(*arguments):
    return [sys.executable, "-m", "openhsi_shared", "replay", *PAIR, *arguments]


def run(folder, *arguments, **more):
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_modules_of_the_folder_are_found_and_log_as_asked_also_in_processes(folder):
    for n in ("1", "2"):
        done = run(folder, "-f", "good.cbors", "--nworkers", n, LOG_LEVEL="DEBUG")
        assert done.returncode == 0, done.stderr
        assert "11 events, 11 results, 0 failed" in done.stderr
        assert "DEBUG:src.worker:event 10" in done.stderr
        assert "printed 10" in done.stdout + done.stderr


def test_an_event_that_fails_is_named_with_its_traceback_and_exit_code_1(folder):
    done = run(folder, "-f", "bad.cbors", "--nworkers", "2")
    assert done.returncode == 1
    assert "event 77: ValueError: bad event" in done.stderr
    assert 'raise ValueError("bad event")' in done.stderr
    done = run(folder, "-f", "bad.cbors", "--on-error", "log")
    assert (done.returncode, "10 events, 9 results, 1 failed" in done.stderr) == (1, True)
    assert run(folder, "-f", "good.cbors", LOG_LEVEL="LOUD").returncode == 1


def test_pdb_opens_in_the_event_that_fails(folder):
    done = subprocess.run(
        command("-f", "bad.cbors", "--pdb"),
        cwd=folder,
        env=environment(),
        input="p event.event_number * 1000\nq\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "77000" in done.stdout
    assert done.returncode == 1


def test_what_was_published_is_served_until_ctrl_c(folder):
    pytest.importorskip("openhsi_shared.analysis.publishing.http")
    process = subprocess.Popen(
        command("-f", "good.cbors", "--port", "0", "--keep-alive"),
        cwd=folder,
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    with process:
        url = ""
        for line in process.stderr:
            url = (re.findall(r"http://\S+:\d+", line) or [url])[0]
            if "serving until Ctrl-C" in line:
                break
        with urlopen(f"{url}/api/v1/status", timeout=60) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 0, rest
    assert "11 events" in rest
