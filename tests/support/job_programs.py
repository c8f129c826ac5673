"""Programs that run a job, for tests that interrupt them: `python -m tests.support.job_programs FOLDER HOW KIND`.

They must be started in a process group of their own, which `kill` kills.
"""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openhsi_shared.durable import PartFile
from openhsi_shared.jobs import JobRunner, PipelineJob, Stage


@dataclass
class Marking(Stage):
    """Marks each line that it is given in a folder, and does there what a file with the number of the line says.

    "kill" kills the program and its workers, "fail" fails, both when all blocks of two lines before are written, which
    a thread beside it does. "die" kills the process that it runs in, once. With "wait", lines are slow; with "gate",
    each waits for a file "sent".
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
            asked = {what for what in ("kill", "fail", "die") if Path(self.folder, f"{what}{number}").exists()}
            if asked & {"kill", "fail"}:
                wait_for(lambda n=number: n_written(Path(self.folder)) == n - n % 2)
            if "kill" in asked:
                os.killpg(os.getpgrp(), signal.SIGKILL)
            if "fail" in asked:
                raise ValueError("it is too hot")
            if "die" in asked:
                Path(self.folder, f"die{number}").unlink()
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


def kill_at_publication(number: int) -> None:
    """Kill this program before it publishes a file for the n-th time, counted from 0."""
    published: list[Path] = []
    publish_as = PartFile.publish_as

    def counted(part: PartFile, target: Path, **how: Any) -> None:
        if len(published) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        published.append(target)
        publish_as(part, target, **how)

    PartFile.publish_as = counted  # type: ignore[method-assign]


def main(folder: str, how: str, kind: str) -> None:
    """Run it: `how` is "run", "start" or "resume"; with "envi" as well, killed at a publication, such as "envi1"."""
    options = {"output": "envi"} if "envi" in how else {}
    if options:
        kill_at_publication(int(how[-1]))
    runner = JobRunner(job_of(Path(folder), kind, **options), resume="resume" in how)
    if "start" in how:
        runner.start()
        runner.join()
    else:
        runner.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
