"""Jobs that are interrupted, killed, or whose disk is full: one error, no half file, no process left."""

import errno
import shutil
import signal
import subprocess
import sys
from contextlib import closing

import numpy as np
import psutil
import pytest

from openhsi_shared import open_cube, recover, verify
from openhsi_shared.errors import JobError, SaveError
from openhsi_shared.files.exporting.published_together import PartFolder
from openhsi_shared.files.journal import unfinished
from openhsi_shared.jobs import JobRunner
from openhsi_shared.jobs.outputs import problems_of
from openhsi_shared.jobs.planning.block_size import RESERVE
from tests.jobs.runs_on_a_bad_disk import N_LINES, fail_and_resume, fail_at_each_call, files_in
from tests.support.disks import mounted, needs_disks
from tests.support.faulty_calls import FaultyCalls
from tests.support.helpers import ROOT, environment, in_child, wait_for
from tests.support.job_cubes import save_cube
from tests.support.job_programs import job_of
from tests.support.products import some

TIMEOUT_S = 60


@pytest.fixture
def cube(tmp_path):
    """A cube of 8 lines; gives its lines."""
    with open_cube(save_cube(tmp_path / "cube.nc", N_LINES)) as opened:
        return opened.lines[:]


def _program(folder, how, kind, **more):
    command = [sys.executable, "-m", "tests.support.job_programs", str(folder), how, kind]
    how_run = {"cwd": ROOT, "env": environment(**more), "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **how_run, start_new_session=True)


def _descendants(process):
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize(
    ("kind", "how", "number", "code"),
    [
        pytest.param("threads", "run", signal.SIGINT, -signal.SIGINT, marks=pytest.mark.campaign),
        ("threads", "run", signal.SIGTERM, 128 + signal.SIGTERM),
        ("threads", "start", signal.SIGINT, -signal.SIGINT),
        pytest.param("threads", "start", signal.SIGTERM, 128 + signal.SIGTERM, marks=pytest.mark.campaign),
        ("processes", "run", signal.SIGINT, -signal.SIGINT),
        pytest.param("processes", "start", signal.SIGTERM, 128 + signal.SIGTERM, marks=pytest.mark.campaign),
    ],
)
def test_an_interrupted_job_leaves_nothing(cube, tmp_path, kind, how, number, code):
    for name in ("wait", "gate"):
        (tmp_path / name).touch()
    program = _program(tmp_path, how, kind)
    wait_for((tmp_path / "marks").exists, TIMEOUT_S)
    children = _descendants(program)
    program.send_signal(number)
    (tmp_path / "sent").touch()
    _, text = program.communicate(timeout=TIMEOUT_S)
    assert program.returncode == code, text
    assert text.count("Traceback") == (number == signal.SIGINT), text
    assert files_in(tmp_path) == ["cube.nc", "gate", "marks", "sent", "wait"]
    wait_for(lambda: not any(child.is_running() for child in children))


def test_a_program_that_ends_stops_its_job(cube, tmp_path):
    code = (
        "import sys; from pathlib import Path; from openhsi_shared.jobs import JobRunner;"
        "from tests.support.job_programs import job_of;"
        "JobRunner(job_of(Path(sys.argv[1]))).start()"
    )
    (tmp_path / "wait").touch()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 1
    assert "JobError" in done.stderr
    assert [name for name in files_in(tmp_path) if name not in ("cube.nc", "marks", "wait")] == []


def _killed(folder, line, kind):
    """Run the job with `resume` in a program that is killed, with its workers, at a line."""
    (kill := folder / f"kill{line}").touch()
    program = _program(folder, "resume", kind)
    program.communicate(timeout=TIMEOUT_S)
    assert program.returncode == -signal.SIGKILL
    kill.unlink()


def _marks(folder):
    return [int(mark) for mark in (folder / "marks").read_text().split()]


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(("threads",) * 5, marks=pytest.mark.campaign),
        pytest.param(("processes",) * 5, marks=pytest.mark.campaign),
        ("processes", "threads", "processes", "threads", "processes"),
        pytest.param(("threads", "processes", "threads", "processes", "threads"), marks=pytest.mark.campaign),
    ],
)
def test_a_job_that_is_killed_at_each_block_is_finished_by_the_next_runs(cube, tmp_path, kinds):
    for line, kind in zip((1, 3, 5, 7), kinds, strict=False):
        _killed(tmp_path, line, kind)
        (journal,) = (tmp_path / "out").glob(".*.journal")
        assert unfinished(journal).n_finished == line - 1
        assert list(recover(tmp_path / "out").resumable) == [journal]
    runner = JobRunner(job_of(tmp_path, kinds[-1]), resume=True)
    result = runner.run()
    assert (result.n_lines, result.skipped, runner.get_status().lines) == (N_LINES, False, N_LINES)
    with open_cube(result.path) as made:
        assert made.lines[:].tobytes() == cube.tobytes()
        assert "6 of 8 lines are written already" in made.attributes["pipeline_log"]
        assert made.column("line_flag").tolist() == [0] * N_LINES
    assert verify(result.path).ok
    assert _marks(tmp_path) == [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7]  # finished blocks are not computed again
    assert files_in(tmp_path / "out") == ["cube.nc", "cube.png"]


def test_a_job_whose_workers_die_at_each_block_can_be_resumed(cube, tmp_path):
    for line in (0, 3, 4):
        (tmp_path / f"die{line}").touch()
    _killed(tmp_path, 5, "processes")
    for line in (5, 6):
        (tmp_path / f"die{line}").touch()
    result = JobRunner(job_of(tmp_path, "processes"), resume=True).run()
    with open_cube(result.path) as made:
        assert made.lines[:].tobytes() == cube.tobytes()
        assert "4 of 8 lines are written already" in made.attributes["pipeline_log"]
        assert made.attributes["pipeline_log"].count("its lines are done again") == 2
    assert result.n_failed == 0
    assert not list(tmp_path.glob("die*"))
    assert files_in(tmp_path / "out") == ["cube.nc", "cube.png"]


def test_a_run_without_resume_begins_again(cube, tmp_path, caplog):
    _killed(tmp_path, 5, "threads")
    assert len(files_in(tmp_path / "out")) == 2
    result = JobRunner(job_of(tmp_path)).run()
    with open_cube(result.path) as made:
        assert made.lines[:].tobytes() == cube.tobytes()
    assert "4 finished lines of an earlier run are not continued without resume=True (--resume)" in caplog.text
    assert files_in(tmp_path / "out") == ["cube.nc", "cube.png"]


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_what_was_changed_meanwhile_is_computed_again(cube, tmp_path, kind):
    _killed(tmp_path, 5, kind)
    (tmp_path / "marks").unlink()
    (part,) = (tmp_path / "out").glob(".*.part")
    data = bytearray(part.read_bytes())
    at = data.find(cube[2].tobytes())
    assert at > 0
    data[at + 5] ^= 1
    part.write_bytes(data)
    result = JobRunner(job_of(tmp_path, kind), resume=True).run()
    assert _marks(tmp_path) == [2, 3, 4, 5, 6, 7]
    with open_cube(result.path) as made:
        assert made.lines[:].tobytes() == cube.tobytes()


def _failed(folder, **options):
    """Run the job with `resume` until it fails at line 5."""
    (fail := folder / "fail5").touch()
    with pytest.raises(JobError, match="too hot"):
        JobRunner(job_of(folder, **options), resume=True).run()
    fail.unlink()
    (folder / "marks").unlink()


def test_a_run_continues_with_the_blocks_of_the_one_before(cube, tmp_path, monkeypatch):
    with monkeypatch.context() as less_memory:
        less_memory.setattr("openhsi_shared.jobs.planning.block_size.BLOCK_BYTES", 300)
        _failed(tmp_path, block_lines=None)
    job = job_of(tmp_path, "processes", block_lines=None)
    assert job.plan().block_lines == N_LINES
    result = JobRunner(job, resume=True).run()
    assert _marks(tmp_path) == [4, 5, 6, 7]
    with open_cube(result.path) as made:
        assert made.lines[:].tobytes() == cube.tobytes()
        assert '"block_lines": null' in made.attributes["pipeline_job"]


def test_blocks_that_do_not_fit_into_memory_are_written_again(cube, tmp_path, monkeypatch, caplog):
    _failed(tmp_path)
    monkeypatch.setattr("openhsi_shared.jobs.planning.block_size.free_memory", lambda: [("here", 150 + RESERVE, 0)])
    result = JobRunner(job_of(tmp_path, block_lines=None), resume=True).run()
    assert _marks(tmp_path) == list(range(N_LINES))
    assert "too large for this one" in caplog.text
    with open_cube(result.path) as made:
        assert made.lines[:].tobytes() == cube.tobytes()


def test_what_is_not_continued_is_named_with_the_reason(cube, tmp_path, caplog):
    _failed(tmp_path)
    JobRunner(job_of(tmp_path, block_lines=3), resume=True).run()
    assert _marks(tmp_path) == list(range(N_LINES))
    assert "is removed: 4 finished lines of an earlier run are of a run with block_lines=2, not 3" in caplog.text
    assert files_in(tmp_path / "out") == ["cube.nc", "cube.png"]


def test_a_temporary_name_that_is_a_link_is_not_followed(cube, tmp_path):
    _failed(tmp_path)
    (part,) = (tmp_path / "out").glob(".*.part")
    (precious := tmp_path / "precious").write_bytes(part.read_bytes())
    part.unlink()
    part.symlink_to(precious)
    before = precious.read_bytes()
    result = JobRunner(job_of(tmp_path), resume=True).run()
    assert precious.read_bytes() == before
    assert (result.path.is_symlink(), part.is_symlink()) == (False, True)


@pytest.mark.parametrize("output", ["netcdf", "envi", "zarr"])
@pytest.mark.parametrize("damage", ["folder", "empty", "nothing", "longer"])
def test_an_unfinished_result_that_was_changed_is_begun_again(cube, tmp_path, output, damage):
    _failed(tmp_path, output=output)
    (part,) = (tmp_path / "out").glob(".*.part")
    if part.is_dir():
        for path in [path for path in part.rglob("*") if path.is_file()]:
            path.write_bytes(b"" if damage == "empty" else path.read_bytes() + b" ")
        if damage in ("folder", "nothing"):
            shutil.rmtree(part)
            part.mkdir() if damage == "folder" else part.touch()
    else:
        if damage == "longer":
            with part.open("ab") as file:
                file.write(bytes(100_000))
        else:
            part.write_bytes(b"")
        if damage == "folder":
            part.unlink()
            part.mkdir()
    result = JobRunner(job_of(tmp_path, output=output), resume=True).run()
    assert not problems_of(result.path)
    assert JobRunner(job_of(tmp_path, output=output)).run().skipped
    if output == "netcdf":
        with open_cube(result.path) as made:
            assert made.lines[:].tobytes() == cube.tobytes()


@pytest.mark.parametrize("n_published", [1, 2])
@pytest.mark.parametrize("how", ["resume", "run"])
def test_a_result_of_several_files_that_was_killed_while_it_got_its_names_is_finished(cube, tmp_path, n_published, how):
    program = _program(tmp_path, f"{how} envi{n_published}", "threads")
    program.communicate(timeout=TIMEOUT_S)
    assert program.returncode == -signal.SIGKILL
    out, job = tmp_path / "out", job_of(tmp_path, output="envi")
    assert (out / "cube.raw").exists()
    with pytest.raises(SaveError, match=r"has no header cube\.hdr: its writer was interrupted; `recover` publishes it"):
        job.validate()
    shutil.copytree(out, left := tmp_path / "left")
    for is_recovered in (False, True)[: 1 + (how == "resume")]:
        if is_recovered:
            shutil.rmtree(out)
            left.rename(out)
            assert recover(out).published == (out / "cube.raw",)
            assert "cube.raw exists" in str(recover(out).resumable)
        result = JobRunner(job, resume=how == "resume" and not is_recovered).run()
        assert (result.skipped, problems_of(result.path)) == (True, ())
        assert np.fromfile(result.path, cube.dtype).tobytes() == cube.tobytes()
        assert files_in(out) == ["cube.hdr", "cube.raw", "cube_lines.csv"]


def test_an_unfinished_folder_is_reported_and_is_not_touched_while_it_is_filled(cube, tmp_path):
    _failed(tmp_path, output="zarr")
    (journal,) = (tmp_path / "out").glob(".*.journal")
    (part,) = (tmp_path / "out").glob(".*.part")
    assert (recover(tmp_path).damaged, list(recover(tmp_path).resumable)) == ({}, [journal])
    journal.unlink()
    found = recover(tmp_path)
    assert list(found.damaged) == [part]
    assert "is unfinished, to be named cube.zarr" in found.damaged[part]
    with closing(PartFolder(tmp_path / "out" / "cube.zarr", leftover=part)) as folder:
        assert folder.is_adopted
        found = recover(tmp_path)
        assert (found.damaged, found.live) == ({}, (part,))


def test_pixels_get_no_header_that_is_not_theirs(cube, tmp_path):
    program = _program(tmp_path, "run envi1", "threads")
    program.communicate(timeout=TIMEOUT_S)
    raw = tmp_path / "out" / "cube.raw"
    data = raw.read_bytes()
    raw.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(SaveError, match="has no header"):
        JobRunner(job_of(tmp_path, output="envi")).run()
    found = recover(raw.parent)
    assert (found.published, "no header cube.hdr" in found.damaged[raw]) == ((), True)
    assert len(files_in(raw.parent)) == 3


# ---- disks ---------------------------------------------------------------------------------------


@needs_disks
@pytest.mark.parametrize("resume", [False, True])
def test_a_full_disk_is_one_error(cube, tmp_path, resume):
    with mounted("tmpfs", tmp_path / "disk", "size=64k"):
        job = job_of(tmp_path, path_out=tmp_path / "disk" / "out" / "cube.nc")
        with pytest.raises(SaveError) as caught:
            JobRunner(job, resume=resume).run()
        assert caught.value.errno == errno.ENOSPC
        assert list((tmp_path / "disk").iterdir()) == []


@pytest.mark.parametrize("number", some(errno.ENOSPC, all_of=(errno.ENOSPC, errno.EROFS)))
def test_a_disk_that_fails_at_any_call_leaves_no_half_file(cube, tmp_path, monkeypatch, number):
    calls = FaultyCalls(tmp_path, "bad_disk")
    for name, value in calls.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "bad_disk").mkdir()
    outcome = in_child(fail_at_each_call, str(tmp_path), calls.environment["IOFAULT_CONTROL"], number)
    assert len(outcome) > 10
    assert any(error for error, _ in outcome)
    for k, (error, left) in enumerate(outcome, 1):
        is_made = error is None and "cube.nc" in left  # the call was tried again, or not needed; or its preview failed
        assert is_made or (error == number and left == []), (k, error, left)


@pytest.mark.parametrize("output", ["netcdf", "envi"])
def test_a_run_whose_disk_failed_at_any_call_is_finished_by_the_next_one(cube, tmp_path, monkeypatch, output):
    calls = FaultyCalls(tmp_path, "bad_disk")
    for name, value in calls.environment.items():
        monkeypatch.setenv(name, value)
    outcome = in_child(fail_and_resume, str(tmp_path), calls.environment["IOFAULT_CONTROL"], output)
    assert len(outcome) > 5
    errors, left = zip(*outcome, strict=True)
    assert errors[0] == errno.ENOSPC
    assert errors[-1] is None
    assert {name for names in left for name in names} == set(left[-1])
