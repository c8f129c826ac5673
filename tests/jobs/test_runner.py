"""Runs of jobs: states, errors, results that exist already, and what is left behind, which is nothing."""

import errno
import json
import os
import shutil
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared import open_cube, recover, verify
from openhsi_shared.errors import ArgumentError, ClosedError, FileError, SaveError
from openhsi_shared.jobs import JobError, JobRunner, PipelineJob
from openhsi_shared.jobs.outputs import attributes_of, problems_of
from openhsi_shared.jobs.outputs.netcdf import NetCDFOutput
from openhsi_shared.jobs.running import cube_run
from openhsi_shared.jobs.workers.team import Team
from tests.jobs.conftest import N_LINES
from tests.support import gates
from tests.support.helpers import TIMEOUT_S, wait_for
from tests.support.job_cubes import save_cube, save_foreign_cube
from tests.support.job_programs import Gated
from tests.support.job_teams import damage


def _plus_one(line):
    return line + np.uint16(1)


def _rows(line):
    return [{"first": line[0, 0]}]


def _minus_one(line):
    return line - np.uint16(1)


def _fails_at(number, numbers):
    """A function that fails at a line, which it knows by its first value."""
    value = int(numbers[number])

    def too_hot(line):
        if line[0, 0] == value:
            raise ValueError("it is too hot")
        return line

    return too_hot


@pytest.fixture
def firsts(job_files):
    """First value of each line."""
    with open_cube(job_files / "numbers.nc") as cube:
        return cube.lines[:, 0, 0]


def _left(folder):
    """All below a folder, which need not exist."""
    return sorted(path.name for path in Path(folder).rglob("*"))


# ---- states --------------------------------------------------------------------------------------


def test_workers_start_before_the_first_result_is_opened_and_end_before_the_last_one_is_finished(
    job, job_files, tmp_path, monkeypatch
):
    (tmp_path / "in").mkdir()
    for name in ("a.nc", "b.nc"):
        shutil.copy(job_files / "numbers.nc", tmp_path / "in" / name)
    seen = []

    def note(owner, name):
        call = getattr(owner, name)

        def noted(*arguments, **keywords):
            seen.append(name)
            return call(*arguments, **keywords)

        monkeypatch.setattr(owner, name, noted)

    for name in ("start", "run", "release"):
        note(Team, name)
    note(cube_run, "open_output")
    note(NetCDFOutput, "finish")
    results = JobRunner(job(_plus_one, path_in=tmp_path / "in")).run()
    assert [result.n_failed for result in results] == [0, 0]
    assert seen == ["start", *["open_output", "run", "finish"], *["open_output", "run", "release", "finish"]]


def test_a_run_in_a_thread_raises_what_failed_when_it_is_joined(job, firsts):
    runner = JobRunner(job(_fails_at(4, firsts)))
    assert (runner.state, runner.is_alive()) == ("created", False)
    runner.join()  # nothing to wait for
    runner.start()
    with pytest.raises(JobError, match="line 4, stage 'function': ValueError: it is too hot"):
        runner.join()
    assert (runner.state, runner.is_alive()) == ("failed", False)
    assert runner.get_status().progress < 1
    error = runner.error
    assert (Path(error.path).name, error.line, error.stage) == ("numbers.nc", 4, "function")
    assert "in too_hot" in error.worker_traceback
    assert "in too_hot" in runner.error_tb
    assert list(runner.failures.values()) == [error]
    with pytest.raises(ClosedError, match="is failed: make a new one"):
        runner.run()
    with pytest.raises(JobError, match="has no result: the job is failed"):
        _ = runner.result


def test_a_with_block_waits_and_raises(job, firsts, tmp_path):
    with JobRunner(job(_plus_one)) as runner:
        runner.start()
    assert runner.result.n_lines == N_LINES
    assert runner.state == "done"
    with pytest.raises(JobError, match="too hot"), JobRunner(job(_fails_at(4, firsts), path_out=tmp_path / "2")) as bad:
        bad.start()
    with JobRunner(job(_plus_one)) as unused:
        pass
    assert unused.state == "created"


@pytest.fixture
def gate():
    gates.is_open.clear()
    gates.is_reached.clear()
    yield gates
    gates.is_open.set()


def test_a_job_is_paused_and_continued(job, gate):
    with JobRunner(job(Gated(), n_procs=2, block_lines=1)) as runner:
        runner.start()
        assert gate.is_reached.wait(60)
        assert (runner.state, runner.is_alive()) == ("processing", True)
        runner.join(0.01)  # returns
        runner.pause()
        gate.is_open.set()
        assert runner.state == "paused"
        status = runner.get_status()
        assert (status.state, status.progress < 1) == ("paused", True)
        runner.resume()
    assert runner.state == "done"
    assert runner.get_status().progress == 1


def test_a_job_that_is_stopped_leaves_nothing(job, gate, tmp_path):
    runner = JobRunner(job(Gated(), block_lines=1))
    runner.start()
    assert gate.is_reached.wait(60)
    runner.stop()
    assert runner.state == "stopping"
    gate.is_open.set()
    with pytest.raises(JobError, match="stopped"):
        runner.join()
    assert runner.state == "stopped"
    assert not (tmp_path / "out").exists()


def test_an_error_in_the_with_block_stops_the_job(job, gate):
    def begin(runner):
        with runner:
            runner.start()
            assert gate.is_reached.wait(60)
            gate.is_open.set()
            raise RuntimeError("of the user")

    runner = JobRunner(job(Gated(), block_lines=1))
    with pytest.raises(RuntimeError, match="of the user"):
        begin(runner)
    assert not runner.is_alive()
    assert runner.state in ("stopped", "done")  # the last lines may have been done


# ---- several cubes -------------------------------------------------------------------------------


def test_a_cube_that_fails_does_not_keep_others_from_being_processed(tmp_path):
    paths = [save_cube(tmp_path / "in" / f"{n}.nc", n) for n in (3, 4, 5)]
    damage(paths[1], 2)
    paths.append(tmp_path / "in" / "cut.nc")
    paths[3].write_bytes(paths[0].read_bytes()[:3000])
    runner = JobRunner(PipelineJob(tmp_path / "in", tmp_path / "out", n_procs=1))
    with pytest.raises(JobError, match=r"2 of 4 cubes failed:\n.*cut.nc.*\n.*4.nc: line 2, .*damaged"):
        runner.run()
    assert sorted(path.name for path in runner.failures) == ["4.nc", "cut.nc"]
    assert sorted(path.name for path in runner.results) == ["3.nc", "5.nc"]
    assert _left(tmp_path / "out") == ["3.nc", "3.png", "5.nc", "5.png"]
    status = runner.get_status()
    assert (status.state, status.cubes_done, status.cubes_failed, status.n_cubes) == ("failed", 2, 2, 4)


def test_cubes_of_two_kinds_are_refused_before_any_work(tmp_path):
    save_cube(tmp_path / "in" / "a.nc", 3)
    save_cube(tmp_path / "in" / "b.nc", 3, (4, 7))
    with pytest.raises(ArgumentError, match="2 kinds"):
        JobRunner(PipelineJob(tmp_path / "in", tmp_path / "out")).run()
    assert not (tmp_path / "out").exists()


def test_cubes_are_taken_as_they_come(tmp_path):
    job = PipelineJob(tmp_path, tmp_path / "out", n_procs=1)
    seen = []

    def come():
        for n in (2, 3):
            path = save_cube(tmp_path / f"{n}.nc", n)
            seen.append(_left(tmp_path / "out"))
            yield job.replace(path_in=path, path_out=tmp_path / "out" / f"{n}.nc")

    results = JobRunner(job, cubes=come()).run()
    assert [result.n_lines for result in results] == [2, 3]
    assert seen == [[], ["2.nc", "2.png"]]


def test_a_job_that_waits_for_cubes_is_stopped(tmp_path):
    waiting = threading.Event()

    def none_come():
        while True:
            yield None
            waiting.set()

    runner = JobRunner(PipelineJob(tmp_path, tmp_path / "out", n_procs=1), cubes=none_come())
    runner.start()
    assert waiting.wait(TIMEOUT_S)
    runner.stop()
    with pytest.raises(JobError, match="stopped"):
        runner.join()
    assert runner.state == "stopped"


# ---- results that exist --------------------------------------------------------------------------


def test_the_same_job_is_skipped_when_its_result_is_whole(job):
    first = JobRunner(job(_plus_one)).run()
    before = first.path.stat()
    second = JobRunner(job(_plus_one, n_procs=1, block_lines=3, compression="zstd-1")).run()  # the id is the same
    assert (first.skipped, second.skipped) == (False, True)
    assert (second.path, second.preview_path, second.n_lines) == (first.path, first.preview_path, N_LINES)
    assert (second.ppid, second.ppid_hash) == (first.ppid, first.ppid_hash)
    after = first.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_result_whose_preview_is_missing_gets_it(job):
    """As if the run was killed between the two."""
    first = JobRunner(job(_plus_one)).run()
    picture = first.preview_path.read_bytes()
    first.preview_path.unlink()
    second = JobRunner(job(_plus_one)).run()
    assert second.skipped
    assert second.preview_path.read_bytes() == picture


@pytest.mark.parametrize("output", ["netcdf", "zarr", "table"])
def test_a_result_whose_folder_cannot_be_synced_is_done_as_a_recording_is(job, monkeypatch, caplog, output):
    real = os.fsync

    def sync(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode) and any(target.exists() for target in targets):
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    made = job(_rows if output == "table" else _plus_one, output=output)
    targets = [one.path_out for one in made.cubes()]
    monkeypatch.setattr(os, "fsync", sync)
    result = JobRunner(made).run()
    assert f"{result.path} is saved, but not synced" in caplog.text
    assert JobRunner(made).run().skipped


def test_a_function_is_called_once_for_each_line_also_if_others_fail(job, tmp_path):
    def noted(line):
        with calls.open("a") as file:
            file.write("x")
        if line[0, 0] == first:
            raise ValueError("not this one")
        return line

    calls = tmp_path / "calls"
    made = job(noted, on_error="nan", n_procs=1, block_lines=N_LINES)
    with open_cube(made.path_in) as cube:
        first = cube.lines[1][0, 0]
    assert JobRunner(made).run().n_failed == 1
    assert calls.stat().st_size == 4 + N_LINES  # 4: the trial


def test_the_result_of_another_job_is_refused_by_both_names(job):
    first = JobRunner(job(_plus_one)).run()
    other = job(_minus_one)
    with pytest.raises(SaveError) as caught:
        JobRunner(other).run()
    text = str(caught.value)
    ppid, ppid_hash = other.get_ppid(ret_hash=True)
    assert all(name in text for name in (first.ppid, first.ppid_hash, ppid, ppid_hash, str(first.path)))
    assert caught.value.errno == errno.EEXIST


@pytest.mark.parametrize("what", ["text", "folder", "link", "cube"])
def test_what_is_no_result_is_never_overwritten(job, job_files, tmp_path, what):
    target = tmp_path / "out.nc"
    match what:
        case "text":
            target.write_text("notes")
        case "folder":
            target.mkdir()
        case "link":
            target.symlink_to(tmp_path / "nothing")
        case "cube":
            os.link(save_cube(tmp_path / "other.nc", 2), target)
    with pytest.raises(SaveError, match="the name is taken: it is no result of a job") as caught:
        JobRunner(job(_plus_one, path_out=target)).run()
    assert caught.value.errno == errno.EEXIST
    assert os.path.lexists(target)


def test_a_damaged_result_is_not_taken_for_done(job):
    result = JobRunner(job(_plus_one)).run()
    damage(result.path, 5)
    with pytest.raises(SaveError, match=r"the result of this job .* damaged: .*line 5"):
        JobRunner(job(_plus_one)).run()


@pytest.mark.parametrize("how", ["name", "link"])
def test_the_input_is_not_an_output(tmp_path, how):
    path = save_cube(tmp_path / "cube.nc", 3)
    target = path
    if how == "link":
        target = tmp_path / "same.nc"
        os.link(path, target)
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match="the input itself"):
        JobRunner(PipelineJob(path, target)).run()
    assert path.read_bytes() == before


def test_a_target_that_comes_to_exist_meanwhile_stays(job, gate, tmp_path):
    target = tmp_path / "out.nc"
    runner = JobRunner(job(Gated(), path_out=target))
    runner.start()
    assert gate.is_reached.wait(60)
    target.write_text("of another program")
    gate.is_open.set()
    with pytest.raises(SaveError) as caught:
        runner.join()
    assert caught.value.errno == errno.EEXIST
    assert "it came to exist while this run worked" in str(caught.value)
    assert target.read_text() == "of another program"
    assert _left(tmp_path) == ["out.nc"]


@pytest.mark.parametrize("suffix", [3, "a/b", "\0", "a" * 41, "a\n"])
def test_what_is_no_job_or_no_part_of_a_name_is_refused_before_any_work(job, suffix):
    with pytest.raises(ArgumentError, match="tmp_suffix must be at most 40 letters"):
        JobRunner(job(), tmp_suffix=suffix)
    with pytest.raises(ArgumentError, match="runs a PipelineJob"):
        JobRunner(suffix)


def test_a_result_has_as_long_a_name_as_its_temporary_file_leaves(job, tmp_path):
    made = JobRunner(job(path_out=tmp_path / "out" / f"{'a' * 236}.nc")).run()
    assert verify(made.path).ok
    with pytest.raises(SaveError, match="name too long"):
        JobRunner(job(path_out=tmp_path / "out" / f"{'a' * 252}.nc")).run()


def test_two_runs_of_one_target_do_not_mix(job, gate, tmp_path):
    one = JobRunner(job(Gated()), tmp_suffix="one", resume=True)
    two = JobRunner(job(Gated()), tmp_suffix="two", resume=True)
    same = JobRunner(job(Gated()), tmp_suffix="one", resume=True)
    one.start()
    wait_for(lambda: any("~one" in name for name in _left(tmp_path / "out")))
    with pytest.raises(SaveError, match="another run writes this result now"):
        same.run()
    two.start()
    wait_for(lambda: len([name for name in _left(tmp_path / "out") if name.endswith(".part")]) == 2)
    gate.is_open.set()
    errors = []
    for runner in (one, two):
        try:
            runner.join()
        except SaveError as error:
            errors.append(error)
    assert [error.errno for error in errors] in ([], [errno.EEXIST])  # one may have begun after the other had ended
    assert all("another run of the same job has made it" in str(error) for error in errors)
    assert _left(tmp_path / "out") == ["numbers.nc", "numbers.png"]  # nothing to be resumed is left


# ---- inputs that change --------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [False, True])
def test_an_input_that_changes_while_it_is_read_is_an_error(job, gate, tmp_path, resume):
    path = save_cube(tmp_path / "cube.nc", 6)
    runner = JobRunner(job(Gated(), path_in=path, block_lines=2), resume=resume)
    runner.start()
    assert gate.is_reached.wait(60)
    os.utime(path, ns=(1, 1))
    gate.is_open.set()
    with pytest.raises(FileError, match="changed"):
        runner.join()
    assert _left(tmp_path) == ["cube.nc"]


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_file_that_refers_to_its_lines_is_processed_as_they_are(job, gate, tmp_path, is_ours):
    source = save_cube(tmp_path / "cube.nc", 6) if is_ours else save_foreign_cube(tmp_path / "cube.nc", 6)
    linked = JobRunner(job(path_in=source, path_out=tmp_path / "linked.nc", link_to_input=True)).run().path
    with open_cube(linked) as cube:
        assert not cube.contents.has("line_crc32")
    made = job(_plus_one, path_in=linked, path_out=tmp_path / "made.nc")
    result = JobRunner(made).run()
    with open_cube(source) as cube, open_cube(result.path) as found:
        assert np.array_equal(found.lines[:], cube.lines[:] + 1)
    assert JobRunner(made).run().skipped
    runner = JobRunner(job(Gated(), path_in=linked, path_out=tmp_path / "gated.nc"))
    runner.start()
    assert gate.is_reached.wait(20)
    os.utime(source, ns=(1, 1))
    gate.is_open.set()
    with pytest.raises(FileError, match=r"cube\.nc, which .*linked\.nc refers to, changed"):
        runner.join()


# ---- what is in the result -----------------------------------------------------------------------


def test_a_result_says_how_it_was_made(job):
    made = job(_plus_one, "bin_bands:n=2", log_level="INFO", on_error="nan")
    result = JobRunner(made).run()
    with open_cube(result.path) as cube:
        attributes = cube.attributes
    assert (attributes["pipeline_id"], attributes["pipeline_hash"]) == made.get_ppid(ret_hash=True)
    assert json.loads(attributes["pipeline_yield"]) == {"n_lines": N_LINES, "n_failed": 0, "n_rows": 0}
    log = attributes["pipeline_log"]
    assert all(word in log for word in ("openhsi_shared 0", "Python 3", "numpy", result.ppid, "11 lines, 0 failed"))
    assert PipelineJob.from_output(result.path, allow_functions=True) == made.cubes()[0]
    assert result.get_time("load") > 0
    assert result.get_time("nothing") == 0
    assert result.counters["rows_dropped"] == 0


def test_the_recipe_of_a_result_names_its_files_wherever_it_is_used(job_files, tmp_path, monkeypatch):
    save_cube(tmp_path / "dark.nc", 3, (20, 48))
    for name in ("calibration.nc", "settings.json"):
        shutil.copy(job_files / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    files = {"cal_path": "calibration.nc", "json_path": "settings.json", "stages": ["dark:path=dark.nc"]}
    job = PipelineJob(job_files / "raw.nc", "out", **files)
    result = JobRunner(job).run()
    (other := tmp_path / "other").mkdir()
    monkeypatch.chdir(other)
    save_cube(other / "dark.nc", 3, (20, 48), columns={"frame_id": np.arange(3)}, uuid="of another cube")
    again = PipelineJob.from_output(result.path)
    paths = (again.cal_path, again.json_path, again.stages[0].path)
    assert [str(path) for path in paths] == [
        str(tmp_path / name) for name in ("calibration.nc", "settings.json", "dark.nc")
    ]
    assert again.get_ppid() == result.ppid
    assert JobRunner(again).run().skipped
    assert job.stages[0].path == "dark.nc"  # what the caller gave is not changed


def test_two_jobs_at_a_time_have_logs_of_their_own(job, gate, tmp_path):
    damaged = save_cube(tmp_path / "damaged.nc", 6)
    damage(damaged, 3)
    options = {"on_error": "nan"}
    one = JobRunner(job(Gated(), path_in=damaged, path_out=tmp_path / "one.nc", **options))
    two = JobRunner(job(Gated(), path_out=tmp_path / "two.nc", **options))
    for runner in (one, two):
        runner.start()
    gate.is_open.set()
    for runner in (one, two):
        runner.join()
    logs = [str(open_cube(runner.result.path).attributes["pipeline_log"]) for runner in (one, two)]
    assert ["damaged in the source" in log for log in logs] == [True, False]


# ---- every format --------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["zarr", "envi"])
def test_every_format_is_skipped_resumed_and_never_left_half(job, firsts, tmp_path, output):
    bad = job(_fails_at(7, firsts), output=output, block_lines=2, n_procs=1)
    with pytest.raises(JobError, match="too hot"):
        JobRunner(bad).run()
    assert not (tmp_path / "out").exists()
    flag = tmp_path / "cold"

    def fails_until_it_is_cold(line):
        if line[0, 0] == value and not flag.exists():
            raise ValueError("it is too hot")
        return line

    value = int(firsts[7])
    flag.touch()
    made = job(fails_until_it_is_cold, output=output, block_lines=2, n_procs=1)
    flag.unlink()
    with pytest.raises(JobError, match="too hot"):
        JobRunner(made, resume=True).run()
    assert [name for name in _left(tmp_path / "out") if name.endswith(".journal")]
    assert list(recover(tmp_path / "out").resumable)
    flag.touch()
    runner = JobRunner(made, resume=True)
    result = runner.run()
    assert (result.n_failed, result.skipped) == (0, False)
    assert "6 of 11 lines are written already" in attributes_of(result.path)["pipeline_log"]
    assert not problems_of(result.path)
    assert [name for name in _left(tmp_path / "out") if name.startswith(".") and "part" in name] == []
    assert JobRunner(made).run().skipped
    assert recover(tmp_path / "out").ok


def test_flags_and_rows_of_finished_blocks_are_those_of_one_run(job, firsts, tmp_path):
    path = save_cube(tmp_path / "damaged.nc", N_LINES)
    damage(path, 1)
    flag, value = tmp_path / "calm", int(firsts[8])

    def peaks(line):
        if line[0, 0] == value and not flag.exists():
            raise KeyboardInterrupt
        return np.array([(x, line[x, 0]) for x in range(line[0, 0] // 1000 % 3)], [("row", "i4"), ("value", "u2")])

    flag.touch()
    compressed = {"compression": "deflate-1"}  # then blocks are written before others are processed
    made = job(peaks, path_in=path, on_error="nan", block_lines=2, n_procs=1, **compressed)
    expected = JobRunner(made.replace(path_out=tmp_path / "at_once")).run()
    flag.unlink()
    with pytest.raises(KeyboardInterrupt):
        JobRunner(made, resume=True).run()
    flag.touch()
    result = JobRunner(made, resume=True).run()
    assert (result.n_failed, result.n_rows) == (expected.n_failed, expected.n_rows)
    assert (result.n_failed, result.n_rows > 3) == (1, True)
    assert result.line_rows.tolist() == expected.line_rows.tolist()
    assert result.counters["blocks_loaded"] == 2
    with open_cube(result.path) as found, open_cube(expected.path) as whole:
        assert found.column("line_flag").tolist() == whole.column("line_flag").tolist()
        for name in ("y", "row", "value"):
            one, other = (cube.groups["detections"].dataset[name].values for cube in (found, whole))
            assert one.tolist() == other.tolist()


def test_a_job_whose_thread_cannot_be_started_has_failed_and_holds_up_nothing(job, monkeypatch):
    runner = JobRunner(job(_plus_one))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no more threads")))
        with pytest.raises(RuntimeError, match="no more threads"):
            runner.start()
    assert (runner.state, runner.is_alive(), str(runner.error)) == ("failed", False, "no more threads")
    runner.join()
    runner.close()
    assert runner.shutdown(crashed=False) == []
