"""The k-th call of a save fails, or is the last one its process makes, for every k until a save passes untouched.

Whatever k: what is under the final name is whole, or nothing is; the error is the true one; nothing is left open; once
the fault is over, `recover` and another try make exactly one file of the cube.
"""

import errno
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openhsi_shared import recover, verify
from tests.support.disk_faults import BAD, Flight, files_in
from tests.support.failing_calls import ONLY_REPORTED, TASKS
from tests.support.failing_calls import __file__ as program
from tests.support.faulty_calls import HALF, KILL, FaultyCalls
from tests.support.helpers import TIMEOUT_S, environment
from tests.support.products import some

logger = logging.getLogger(__name__)

FAULTS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "kill": KILL, "half and kill": HALF}
TIDYING = ("unlink", "truncate", "close")
"""Calls that remove what failed: where these fail, it stays, and is found by `recover`."""
FORGIVING = ("open", "lock", "close", "unlink", "sync")
"""Calls of which some are tried only for speed, for the convenience of others, or once more."""
CASES = [
    pytest.param(task, fault, how, id=f"{task}-{fault}-{how}")
    for task in TASKS
    for fault in FAULTS
    for how in (("once", "from then on") if FAULTS[fault] > 0 else ("once",))
]


def _runs(tmp_path: Path, task: str, fault: str, how: str, step: int) -> Iterator[dict[str, Any]]:
    calls = FaultyCalls(tmp_path, BAD)
    (tmp_path / "runs").mkdir()
    arguments = [program, str(tmp_path / "runs"), task, str(FAULTS[fault]), how, str(step)]
    command = [sys.executable, "-B", *arguments]
    done = subprocess.run(
        command,
        env=environment(**calls.environment),
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]  # netCDF's C prints, too
    assert runs[-1]["call"] == "none", "the last run passes untouched"
    assert runs[-1]["end"] == "done"
    assert len(runs) > 10 / step
    yield from runs


def _check(run: dict[str, Any], task: str, fault: str, how: str) -> None:
    number = FAULTS[fault]
    once = how == "once"
    assert set(run["files"]) | set(run["elsewhere"]) <= {"ok"}, "final names: absent or valid"
    if run["call"] == "none":
        assert run["files"] == ["ok"]
    elif number < 0:
        dies = number == KILL or run["call"] == "write"
        assert run["end"] == ("killed" if dies else "done")
    elif run["end"] == "failed":
        assert run["errno"] == (ONLY_REPORTED if task == "recover" else number)
        assert run["leaked"] == 0
        assert not (once and run["left"]) or run["call"] in TIDYING or task == "recover" or run["files"] == ["ok"]
    else:  # it did without that call, or somewhere else
        assert (run["end"], run["leaked"]) == ("done", 0)
        assert run["elsewhere"] == ["ok"] or run["call"] in FORGIVING or task == "recover"  # without a picture
    assert run["live"] == 0
    assert run["files at last"] == ["ok"], "once, whole, after the fault is over"
    assert len(run["left at last"]) == len(run["damaged"]), "what is left is told"


DIFFERENT = ("past the cache", "deflate", "taken name", "hard link", "dump", "fallback", "recover")


@pytest.mark.parametrize("task", some(*DIFFERENT, all_of=TASKS))
def test_any_call_may_fail_or_be_the_last(tmp_path, task):
    """D15, D1, D3: a few k of each kind of save, each kind with another fault; all of them in a campaign."""
    fault = list(FAULTS)[list(TASKS).index(task) % len(FAULTS)]
    for run in _runs(tmp_path, task, fault, "once", step=11):
        _check(run, task, fault, "once")


@pytest.mark.campaign
@pytest.mark.parametrize(("task", "fault", "how"), CASES)
def test_every_call_may_fail_or_be_the_last(tmp_path, task, fault, how):
    """D15: all k."""
    runs = list(_runs(tmp_path, task, fault, how, step=1))
    for run in runs:
        _check(run, task, fault, how)
    logger.info("%d runs", len(runs))


# ---- through a camera ------------------------------------------------------------------------------


def _fly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, step: int) -> int:
    """Each k-th call of the writer of one flying camera meets the fault; return how many calls a save has."""
    flight = Flight(tmp_path, monkeypatch)
    k, number = 1, FAULTS[fault]
    try:
        while True:
            place = tmp_path / BAD / str(k)
            place.mkdir(parents=True)
            flight.calls.inject(number, first=k, last=k)
            handle = flight.begin(place)
            handle.join(60)
            n_calls = flight.calls.n_calls
            if handle.exitcode == 0:
                flight.end(handle)
            else:
                flight.fail(number, place, handle)
                flight.calls.stop()
                flight.retry(place)
            flight.go_on(*([place] if number > 0 else []), n_restarts=None)
            assert all(verify(path).ok for path in files_in(place) if path.suffix == ".nc")
            assert len([path for path in files_in(place) if path.suffix == ".nc"]) == 1
            found = recover(place)
            assert (found.published, found.live) == ((), ())
            if n_calls < k:
                return n_calls
            k += step
    finally:
        flight.close()


@pytest.mark.parametrize(("fault", "step"), [("ENOSPC", 7), ("EIO", 9), ("kill", 17)])
def test_a_camera_flies_on_whatever_call_of_its_writer_fails(tmp_path, monkeypatch, fault, step):
    """D15, P4: a writer that is killed is replaced, and its cube is saved once; an error is reported, and retried."""
    assert _fly(tmp_path, monkeypatch, fault, step) > 20


@pytest.mark.campaign
@pytest.mark.parametrize("fault", FAULTS)
def test_a_camera_flies_on_whatever_call_of_its_writer_fails_all(tmp_path, monkeypatch, fault):
    """D15: all k."""
    n_calls = _fly(tmp_path, monkeypatch, fault, 1)
    assert n_calls > 20
    logger.info("%d runs", n_calls + 1)
