"""Lines that fail, or are damaged, when others need them: no result is made without them unnoticed."""

import shutil

import numpy as np
import pytest

from openhsi_shared import open_cube
from openhsi_shared.jobs import JobError, JobRunner, PipelineJob
from tests.support.job_cubes import save_cube
from tests.support.job_teams import damage

N_LINES, BAD, LAST = 14, 5, 12


@pytest.fixture
def files(tmp_path):
    """A cube, the lines of the undisturbed result, and a job that makes it."""
    path = save_cube(tmp_path / "cube.nc", N_LINES)
    with open_cube(path) as cube:
        bad, last = cube.lines[BAD, 0, 0], cube.lines[LAST, 0, 0]
    hot, calls = tmp_path / "hot", tmp_path / "calls"

    def fails_while_it_is_hot(line):
        if line[0, 0] == bad and calls.exists():
            calls.unlink()  # once
            raise ValueError("it is too hot")
        if line[0, 0] == bad and hot.exists():
            raise ValueError("it is too hot")
        if line[0, 0] == last and hot.exists():
            raise KeyboardInterrupt
        return line

    def job(**options):
        known = {"block_lines": 2, "n_procs": 1, "workers": "threads", "compression": "deflate-1"}
        stages = [fails_while_it_is_hot, "running_background:n=7"]
        return PipelineJob(path, tmp_path / "out", stages=stages, **known, **options)

    return path, _lines_of(JobRunner(job().replace(path_out=tmp_path / "whole")).run()), job


def _lines_of(result):
    with open_cube(result.path) as cube:
        return cube.lines[:]


def _written_already(result):
    with open_cube(result.path) as cube:
        return "lines are written already" in cube.attributes["pipeline_log"]


def test_blocks_that_were_made_without_a_line_are_made_again(files, tmp_path):
    _, whole, job = files
    (tmp_path / "hot").touch()
    with pytest.raises(JobError, match=r"line 5, .*too hot"):
        JobRunner(job(), resume=True).run()
    (tmp_path / "hot").unlink()
    result = JobRunner(job(), resume=True).run()
    assert _written_already(result)
    assert _lines_of(result).tobytes() == whole.tobytes()


@pytest.mark.parametrize("compression", ["deflate-1", None])
def test_lines_that_are_only_marked_do_not_stay_missing_in_others(files, tmp_path, compression):
    _, whole, job = files
    options = {"on_error": "nan", "compression": compression}
    (tmp_path / "hot").touch()
    with pytest.raises(KeyboardInterrupt):
        JobRunner(job().replace(**options), resume=True).run()
    (tmp_path / "hot").unlink()
    result = JobRunner(job().replace(**options), resume=True).run()
    with open_cube(result.path) as cube:
        flags, lines = cube.column("line_flag"), cube.lines[:]
    compared = np.ones(N_LINES, bool)
    if flags[BAD]:  # its own block was finished, and is taken over
        compared[BAD - 1 : BAD + 1] = False
    assert not np.delete(flags, BAD).any()
    assert lines[compared].tobytes() == whole[compared].tobytes()


def test_blocks_that_were_made_without_a_damaged_line_are_made_again(files, tmp_path):
    path, whole, job = files
    shutil.copy2(path, tmp_path / "backup")
    damage(path, BAD)
    with pytest.raises(JobError, match=r"line 5, .*damaged in the source"):
        JobRunner(job(), resume=True).run()
    shutil.copy2(tmp_path / "backup", path)
    result = JobRunner(job(), resume=True).run()
    assert _written_already(result)
    assert _lines_of(result).tobytes() == whole.tobytes()


@pytest.mark.parametrize("on_error", ["raise", "nan"])
def test_a_line_that_fails_only_where_others_need_it_is_reported(files, tmp_path, caplog, on_error):
    _, whole, job = files
    (tmp_path / "calls").touch()
    if on_error == "raise":
        with pytest.raises(JobError, match=r"line 5, .*too hot"):
            JobRunner(job(on_error=on_error)).run()
        assert not (tmp_path / "out").exists()
        return
    result = JobRunner(job(on_error=on_error)).run()
    assert "line 5 failed once: lines around it are made without it" in caplog.text
    assert result.n_failed == 0
    assert np.array_equal(_lines_of(result)[LAST:], whole[LAST:])
