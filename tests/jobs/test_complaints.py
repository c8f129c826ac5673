"""What users of such pipelines complain about, and what must not happen here: each a test of its name."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared import open_cube, verify
from openhsi_shared.errors import SaveError
from openhsi_shared.jobs import JobError, JobRunner, PipelineJob
from openhsi_shared.jobs.stages.references import Dark
from tests.support.helpers import ROOT, environment, wait_for
from tests.support.job_cubes import save_cube
from tests.support.job_teams import damage

N_LINES = 11
FIRST = 51037
"""First value of line 0; those of the next ones are larger by 1000, and wrap around."""


def _value_of(line):
    return (FIRST + 1000 * line) % 65536


def _result(job, **how):
    return JobRunner(job, **how).run()


def test_no_pixels_come_out_as_zero_without_a_word(job):
    bad = _value_of(4)

    def fails(line):
        if line[0, 0] == bad:
            raise ValueError("it is too hot")
        return line

    result = _result(job(fails, on_error="nan", block_lines=3))
    assert (result.n_lines, result.n_failed) == (N_LINES, 1)
    with open_cube(result.path) as made:
        flags = made.column("line_flag")
        assert flags.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        assert made.dataset["line_flag"].attrs["flag_meanings"].split()[1] == "failed"
        assert not made.lines[4].any()  # uint16 has no NaN
        assert "line 4, stage 'function': ValueError: it is too hot" in made.attributes["pipeline_log"]


def test_a_line_that_failed_in_one_job_is_no_line_of_zeros_for_the_next_one(job):
    def fails(line):
        if line[0, 0] in (_value_of(4), _value_of(9)):
            raise ValueError("it is too hot")
        return line

    first = _result(job(fails, on_error="nan")).path
    values = (FIRST + 1000.0 * np.arange(N_LINES)) % 65536
    dark = _result(
        job(Dark(lines=slice(3, 6)), Dark(first), path_in=first, path_out=first.parent / "next", block_lines=3)
    )
    rows = _result(job(lambda line: [{"x": 1}], path_in=first, path_out=first.parent / "rows"))
    assert dark.n_failed == rows.n_failed == 2
    good = [n for n in range(N_LINES) if n not in (4, 9)]
    with open_cube(dark.path) as made:
        expected = values - values[[3, 5]].mean() - values[good].mean()
        expected[[4, 9]] = np.nan
        np.testing.assert_allclose(made.lines[:][:, 0, 0], expected, rtol=1e-5)
        assert np.flatnonzero(made.column("line_flag") == 1).tolist() == [4, 9]
    with open_cube(rows.path) as made:
        assert made.groups["detections"].read().variables["y"].data.tolist() == good


def test_one_bad_line_does_not_end_a_run_of_hours(job, tmp_path):
    path = save_cube(tmp_path / "damaged.nc", N_LINES)
    damage(path, 7)
    bad = _value_of(2)

    def may_fail(line):
        if line[0, 0] == bad:
            sys.exit("no license")
        return line / np.float32(2)

    result = _result(job(may_fail, path_in=path, on_error="nan", block_lines=4))
    assert result.n_failed == 2
    with open_cube(result.path) as made, open_cube(path, check=False) as source:
        assert made.column("line_flag").tolist() == [0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0]
        lines = made.lines[:]
        assert np.isnan(lines[[2, 7]]).all()
        good = [n for n in range(N_LINES) if n not in (2, 7)]
        np.testing.assert_array_equal(lines[good], source.lines[:][good] / np.float32(2))
    with pytest.raises(JobError, match=r"line (2|7), stage '(function|load)'"):
        _result(job(may_fail, path_in=path, path_out=tmp_path / "raised"))


def test_a_half_written_result_is_not_taken_for_done(job, tmp_path):
    whole = _result(job())
    target = tmp_path / "half.nc"
    target.write_bytes(whole.path.read_bytes()[: whole.path.stat().st_size // 2])
    with pytest.raises(SaveError, match="the name is taken"):
        _result(job(path_out=target))


def test_a_worker_that_is_killed_is_replaced_and_what_kills_three_is_named(job, tmp_path):
    bad, marks = _value_of(5), tmp_path / "marks"
    marks.mkdir()

    def kills_twice(line):
        if line[0, 0] == bad and len(list(marks.iterdir())) < 2:
            (marks / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return line

    def kills(line):
        if line[0, 0] == bad:
            os.kill(os.getpid(), signal.SIGKILL)
        return line

    # planning tries functions on the first, the middle and the last line, in this process: line 5 is the middle one
    options = {"workers": "processes", "n_procs": 1, "block_lines": 4, "lines": slice(0, 10)}
    bad = _value_of(6)
    result = _result(job(kills_twice, **options))
    assert (result.n_failed, len(list(marks.iterdir()))) == (0, 2)
    with pytest.raises(JobError, match=r"line 6, stage 'process': 3 workers died of it.*SIGKILL") as raised:
        _result(job(kills, path_out=tmp_path / "killed", **options))
    assert raised.value.line == 6
    assert not (tmp_path / "killed").exists()


def test_progress_never_falls_and_is_full_only_at_the_end(tmp_path):
    paths = [save_cube(tmp_path / f"{n}.nc", n) for n in (9, 3, 6)]
    runner = JobRunner(PipelineJob(paths, tmp_path / "out", n_procs=2, block_lines=1))
    seen = [runner.get_status()]
    runner.start()
    while runner.is_alive():
        seen.append(runner.get_status())
    runner.join()
    progress = [status.progress for status in seen]
    assert progress == sorted(progress)
    assert all(status.progress < 1 for status in seen if status.state != "done")
    last = runner.get_status()
    assert (last.progress, last.state, last.lines, last.seconds_left) == (1, "done", 18, 0)


MEASURE = """
import sys, resource
from pathlib import Path
from openhsi_shared.jobs import JobRunner, PipelineJob
def peak():
    return int(next(line for line in Path("/proc/self/status").open() if line.startswith("VmHWM")).split()[1]) >> 10
JobRunner(PipelineJob(sys.argv[1], sys.argv[3], n_procs=2)).run()
before = peak()
JobRunner(PipelineJob(sys.argv[2], sys.argv[3], n_procs=2)).run()
print(before, peak())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_the_cube(tmp_path):
    small = save_cube(tmp_path / "small.nc", 100, (256, 512))  # 26 MB
    large = save_cube(tmp_path / "large.nc", 500, (256, 512))  # 131 MB
    arguments = [sys.executable, "-c", MEASURE, str(small), str(large), str(tmp_path / "out")]
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    before, after = map(int, done.stdout.split())
    assert after - before < 40, (before, after)


def test_workers_do_not_start_as_many_threads_as_there_are_cores(job):
    def threads(line):
        names = (
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "NUMEXPR_NUM_THREADS",
            "NUMBA_NUM_THREADS",
        )
        return np.full_like(line, max(int(os.environ.get(name, "99")) for name in names))

    before = dict(os.environ)
    result = _result(job(threads, workers="processes", n_procs=2, block_lines=3))
    with open_cube(result.path) as made:
        assert np.unique(made.lines[:]).tolist() == [1]
    assert dict(os.environ) == before


def test_a_file_says_its_calibration_and_parameters(raw_job, tmp_path):
    made = raw_job(4, rows=slice(2, 9), stages=["bin_bands:n=2"])
    result = _result(made)
    again = PipelineJob.from_output(result.path)
    assert (again["processing_lvl"], again["rows"], again["cal_path"]) == (4, slice(2, 9), made["cal_path"])
    assert "level:level=4" in result.ppid
    assert "bin_bands:n=2" in result.ppid
    assert "calibration:" in result.ppid
    copied = _result(again.replace(path_out=tmp_path / "again"))
    assert copied.ppid_hash == result.ppid_hash
    with open_cube(result.path) as first, open_cube(copied.path) as second:
        assert first.lines[:].tobytes() == second.lines[:].tobytes()


NOTEBOOK = """
import sys, numpy as np
from pathlib import Path
from openhsi_shared.jobs import JobRunner, PipelineJob
gain = np.float32(0.5)
def corrected(line, offset=[3]):
    return line * gain - offset[0]
job = PipelineJob(sys.argv[1], sys.argv[2], stages=[corrected, lambda line: line + 1], workers="processes", n_procs=1)
print(JobRunner(job).run().path)
"""


def test_a_function_of_a_notebook_works_elsewhere(job_files, tmp_path):
    program = [sys.executable, "-", str(job_files / "numbers.nc"), str(tmp_path / "one")]
    done = subprocess.run(
        program, input=NOTEBOOK, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    first = Path(done.stdout.strip())
    again = PipelineJob.from_output(first, allow_functions=True).replace(path_out=tmp_path / "two", workers="threads")
    result = _result(again)
    with open_cube(first) as one, open_cube(result.path) as two, open_cube(job_files / "numbers.nc") as source:
        expected = source.lines[:] * np.float32(0.5) - 3 + 1
        assert one.lines[:].tobytes() == two.lines[:].tobytes() == expected.tobytes()
        assert one.attributes["pipeline_hash"] == two.attributes["pipeline_hash"]


def test_what_functions_log_and_print_is_in_the_file(job):
    of_user = logging.getLogger("openhsi_shared.of_a_user")

    def talks(line):
        of_user.warning("line of %d", line[0, 0])
        sys.stdout.write(f"printed {line[0, 0]}\n")
        return line

    for workers in ("threads", "processes"):
        result = _result(job(talks, workers=workers, n_procs=1, path_out=f"{job()['path_out']}_{workers}"))
        with open_cube(result.path) as made:
            log = made.attributes["pipeline_log"]
        assert all(f"line of {_value_of(line)}" in log for line in range(N_LINES)), workers
        if workers == "processes":  # threads share the standard output of the program
            assert all(f"printed {_value_of(line)}" in log for line in range(N_LINES))


def test_a_failing_line_ends_the_run_and_says_all(job):
    bad = _value_of(6)

    def fails(line):
        if line[0, 0] == bad:
            raise RuntimeError("no light")
        return line

    with pytest.raises(JobError, match=r"numbers.nc: line 6, stage 'function': RuntimeError: no light") as caught:
        _result(job(fails, workers="processes", n_procs=2, block_lines=2))
    assert "in fails" in caught.value.worker_traceback
    assert caught.value.line == 6


def test_nothing_is_left_of_a_job_that_has_ended(job):
    import psutil

    result = _result(job(lambda line: line, workers="processes", n_procs=2))
    wait_for(lambda: not [child for child in psutil.Process().children() if "spawn_main" in " ".join(_command(child))])
    assert verify(result.path).ok
    assert sorted(path.suffix for path in result.path.parent.iterdir()) == [".nc", ".png"]


def _command(process):
    with contextlib.suppress(Exception):
        return process.cmdline()
    return []
