"""Runs of a job in a child, with a disk that fails: apart from their tests, whose imports take as long as the runs."""

import errno
import shutil
from pathlib import Path

from openhsi_shared import verify
from openhsi_shared.jobs import JobRunner
from tests.support.faulty_calls import Control
from tests.support.job_programs import job_of

N_LINES = 8


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def fail_and_resume(folder, control_file, output):
    """Run the job in a child, with a disk that is full from the k-th call on, for every third k, and again."""
    found = []
    control = Control(Path(control_file))
    job = job_of(Path(folder), path_out=Path(folder, "bad_disk"), output=output)
    while True:
        control.inject(errno.ENOSPC, "write allocate truncate sync rename renameat2 lock", first=3 * len(found) + 1)
        error = None
        try:
            JobRunner(job, resume=True).run()
        except OSError as raised:
            error = raised.errno
        control.stop()
        n_calls = control.n_calls
        assert JobRunner(job, resume=True).run().n_lines == N_LINES  # in the same program: nothing is locked any more
        found.append((error, files_in(job.path_out)))
        if n_calls < 3 * len(found) - 2:
            return found
        shutil.rmtree(job.path_out)


def fail_at_each_call(folder, control_file, number):
    """Run the job in a child, with a fault at the k-th call, for all k: the errors, and what is left."""
    found = []
    control = Control(Path(control_file))
    out = Path(folder, "bad_disk")
    job = job_of(Path(folder), path_out=out / "cube.nc")
    kinds = "open write allocate truncate sync rename renameat2 link"
    while True:
        control.inject(number, kinds, first=len(found) + 1, last=len(found) + 1)
        error = None
        try:
            JobRunner(job).run()
        except OSError as raised:
            error = raised.errno
        control.stop()
        if control.n_calls < len(found) + 1:
            return found
        found.append((error, files_in(out)))
        for path in out.iterdir():
            if path.suffix == ".nc":
                assert verify(path).ok
            path.unlink()
