"""Status of a job: progress that never falls, and is 1 only when all is done."""

import math
from types import SimpleNamespace

import pytest

from openhsi_shared.jobs.running.status import Account, bottleneck
from openhsi_shared.jobs.workers.progress import Progress


class _Survey:
    """A stage of which only the survey is asked for."""

    def __init__(self, lines):
        self._lines = lines

    def survey_lines(self, source):
        return self._lines


def _plan(n_lines, survey=None):
    source, result = SimpleNamespace(path=f"cube of {n_lines}"), SimpleNamespace(n_lines=n_lines)
    return SimpleNamespace(source=source, result=result, stages=(_Survey(survey),), formats=(None, None))


def _progresses(account, state="processing"):
    return account.status(state).progress


def test_progress_never_falls_and_is_1_only_when_done():
    account = Account()
    account.begin()
    cubes = [account.add(_plan(100)), account.add(_plan(300, survey=range(9)))]
    seen = [_progresses(account, "checking")]
    for cube in cubes:
        progress = account.begin_cube(cube, 0)
        if cube.has_survey:
            for part in (0.0, 0.5, 1.0):
                progress.survey = part
                seen.append(_progresses(account))
        for done in (0, cube.n_lines // 2, cube.n_lines, cube.n_lines):
            progress.n_done = done
            seen.append(_progresses(account))
        assert seen[-1] < 1
        cube.is_done = True
        seen.append(_progresses(account, "publishing"))
    assert seen == sorted(seen)
    assert seen[-1] < 1
    assert len(set(seen)) == 9
    assert _progresses(account, "done") == 1
    account.add(_plan(10_000))  # more cubes come: it does not fall
    assert _progresses(account) == 1


def test_progress_does_not_fall_when_more_cubes_are_known():
    account = Account()
    account.begin()
    first = account.add(_plan(100))
    account.begin_cube(first, 0)
    first.is_done = True
    before = _progresses(account)
    account.add(_plan(900))
    assert _progresses(account) == before


def test_lines_of_an_earlier_run_count_as_done_but_not_as_fast():
    account = Account()
    account.begin()
    progress = account.begin_cube(account.add(_plan(100)), 60)
    progress.n_done = 60
    status = account.status("processing")
    assert (status.lines, math.isnan(status.lines_per_s), math.isnan(status.seconds_left)) == (60, True, True)
    progress.n_done = 80
    status = account.status("processing")
    assert status.seconds_left == pytest.approx(20 / status.lines_per_s)


def test_time_stands_still_in_a_pause():
    account = Account()
    account.begin()
    account.begin_cube(account.add(_plan(100)), 0).n_done = 50
    account.pause()
    account.pause()
    first, second = account.status("paused"), account.status("paused")
    assert first.seconds == second.seconds
    assert first.lines_per_s == second.lines_per_s
    account.resume()
    account.resume()
    account.end()
    assert account.status("done").seconds == account.status("done").seconds


def test_a_cube_that_fails_counts():
    account = Account()
    account.add_failed()
    account.add(_plan(5)).is_failed = True
    status = account.status("failed")
    assert (status.n_cubes, status.cubes_failed, status.cubes_done) == (2, 2, 0)
    assert status.progress < 1
    assert "2 cubes failed" in str(status)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        ({}, ""),
        ({"load": 0.0}, ""),
        ({"load": 3.0, "process": 4.0, "level": 1.0}, "the disk that is read from: 75 % of the time"),
        ({"load": 1.0, "process": 2.0, "write": 6.0}, "the disk that is written to: 75 % of the time"),
        ({"process": 4.0, "level": 1.0, "index": 3.0}, "the stage 'index': 75 % of the time"),
        ({"process": 4.0, "level": 1.0}, "checksums and copies: 75 % of the time"),
        ({"survey": 3.0, "write": 1.0}, "the survey of the lines before the first stage: 75 % of the time"),
    ],
)
def test_the_bottleneck_is_named_in_plain_words(seconds, words):
    assert bottleneck(seconds) == words


def test_a_snapshot_does_not_change():
    account = Account()
    progress: Progress = account.begin_cube(account.add(_plan(10)), 0)
    progress.blocks, progress.seconds = {"load": 1}, {"load": 1.0}
    status = account.status("processing")
    progress.blocks["load"], progress.seconds["load"], progress.n_done = 2, 2.0, 7
    assert (status.blocks, status.seconds_per_stage, status.lines) == ({"load": 1}, {"load": 1.0}, 0)
