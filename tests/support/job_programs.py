"""Programs that run a job, for tests that interrupt them: `python -m tests.support.job_programs FOLDER HOW KIND`."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openhsi_shared.jobs import JobRunner, PipelineJob, Stage


@dataclass
class Marking(Stage):
    """Marks each line that it is given in a folder, and waits there, or kills the program, as files there say.

    It kills when the blocks of two lines before are written: a thread beside it does that.
    """

    code = "marking"
    releases_lock = True
    folder: str = ""
    first: int = 51037
    """First value of line 0 of `make_cube`, whose lines differ by 1000."""

    def apply(self, lines: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        import signal
        import threading

        from tests.support.helpers import wait_for

        for line, made in zip(lines, out, strict=True):
            number = (int(line[0, 0]) - self.first) // 1000
            if Path(self.folder, f"kill{number}").exists():
                wait_for(lambda n=number: n_written(Path(self.folder)) == n - n % 2)
                os.kill(os.getpid(), signal.SIGKILL)
            with Path(self.folder, "marks").open("a") as marks:
                marks.write(f"{number}\n")
            if Path(self.folder, "gate").exists():
                wait_for(Path(self.folder, "sent").exists)
            if Path(self.folder, "wait").exists():
                threading.Event().wait(0.2)  # a stage that is slow, and sees no signal
            made[:] = line


def n_written(folder: Path) -> int:
    """How many lines the journal of the run says to be finished."""
    from openhsi_shared.files.journal import unfinished

    return sum(unfinished(journal).n_finished for journal in (folder / "out").glob(".*.journal"))


@dataclass
class Gated(Stage):
    """Lines pass unchanged when the gate is open."""

    code = "gated"

    def apply(self, lines: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        from tests.support import gates  # not as a global, which would be part of the job's id

        gates.is_reached.set()
        assert gates.is_open.wait(60)
        out[:] = lines


def job_of(folder: Path, kind: str = "threads", **options: Any) -> PipelineJob:
    """The job that they run."""
    known = {"path_in": folder / "cube.nc", "path_out": folder / "out", "workers": kind, "block_lines": 2}
    return PipelineJob(**{**known, "n_procs": 1, **options}, stages=[Marking(folder=str(folder))])


def main(folder: str, how: str, kind: str) -> None:
    """Run it."""
    runner = JobRunner(job_of(Path(folder), kind), resume="resume" in how)
    if "start" in how:
        runner.start()
        runner.join()
    else:
        runner.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
