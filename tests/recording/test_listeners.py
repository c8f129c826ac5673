"""A thread of a recording that fails ends it cleanly, and `wait` raises the cause."""

from contextlib import suppress

import pytest

from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.errors import RecordingError
from tests.support.flow import COUNTING, account
from tests.support.helpers import wait_for
from tests.support.products import some

KEYWORDS = {**COUNTING, "n_lines": 8, "progress": False, "queue": 9999, "when_full": "block"}


@pytest.fixture(autouse=True)
def _own_runtime_directory(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


class Leaving(BaseException):
    """An exception that no handler expects."""


@pytest.mark.parametrize("error", some(Leaving, all_of=(ZeroDivisionError, SystemExit, Leaving)))
def test_a_recording_that_is_not_heard_any_more_ends_in_good_order_and_tells_the_cause(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error("injected")

    run = record(SharedSimulatedCamera, tmp_path, rate=500, **KEYWORDS)
    wait_for(lambda: run.status().cubes > 2)
    monkeypatch.setattr(run._child, "receive", fail)
    with suppress(RecordingError):
        run.status()  # with its answer the thread receives again
    wait_for(lambda: not run.is_running)
    for call in (run.wait, run.status):
        with pytest.raises(RecordingError) as caught:
            call()
        causes = [caught.value.__cause__, getattr(caught.value.__cause__, "__cause__", None)]
        assert error in map(type, causes)
    assert run.summary is None
    assert run._child.exit_code == 0
    with run:
        run.stop()
    saved, lost = account(tmp_path)
    assert (len(saved) >= 16, lost) == (True, [])


@pytest.mark.parametrize("error", some(SystemExit, all_of=(ZeroDivisionError, SystemExit, Leaving)))
def test_whatever_until_raises_stops_it_and_comes_out(tmp_path, error):
    def until():
        raise error("injected")

    with (
        pytest.raises(error, match="injected"),
        record(SharedSimulatedCamera, tmp_path, until=until, rate=500, **KEYWORDS) as run,
    ):
        run.wait()
    assert account(tmp_path)[0] == list(range(run.summary.lines))


def test_a_recording_that_hears_nobody_ends_in_good_order_and_tells_the_cause(tmp_path):
    from openhsi_shared.recording import loop

    def camera(**keywords):
        usual = loop._RecordingLoop._listen

        def listen(self):
            self.parent.receive = lambda: 1 / 0
            usual(self)

        loop._RecordingLoop._listen = listen
        return SharedSimulatedCamera(**keywords)

    with (
        pytest.raises(RecordingError, match="the thread that receives stop requests has failed") as caught,
        record(camera, tmp_path, rate=500, **KEYWORDS) as run,
    ):
        run.wait(60)
    assert any("ZeroDivisionError" in note for note in caught.value.__notes__)
    assert account(tmp_path) == (list(range(run.summary.lines)), [])
