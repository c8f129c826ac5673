"""Runs a job: all its cubes, one after the other, by one team of workers."""

import logging
import os
import signal
import threading
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from openhsi_shared.errors import ArgumentError, ClosedError, JobError
from openhsi_shared.jobs.recipes.arguments import JobArguments
from openhsi_shared.jobs.result import JobResult
from openhsi_shared.jobs.running.cubes_run import CubesRun
from openhsi_shared.jobs.running.log import JobLog
from openhsi_shared.jobs.running.status import Account, JobState, JobStatus
from openhsi_shared.jobs.workers.control import Control
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.at_exit import finish_at_exit, forget
from openhsi_shared.processes.interrupts import Interrupts

if TYPE_CHECKING:
    from openhsi_shared.jobs.recipe import PipelineJob

__all__ = ["JobRunner"]

logger = safe_logger(__name__)

MAX_SUFFIX = 40
"""Characters of a `tmp_suffix`."""


class JobRunner:
    """Runs a job once: `run()`, or `start()` and `join()`, or `start()` in a `with` block, at whose end it is joined.

    `pause`, `resume`, `stop`, `state` and `get_status` work from any thread meanwhile.
    """

    def __init__(
        self,
        job: "PipelineJob",
        tmp_suffix: str | None = None,
        executor: Any = None,
        *,
        cubes: "Iterable[PipelineJob | None] | None" = None,
        resume: bool = False,
    ) -> None:
        """`tmp_suffix`: distinguishes two runs that make the same result at the same time, of which one fails; a part
        of a name. ArgumentError if it cannot be one, or if `job` is none.

        `executor`: a client of dask.distributed, or what else has `submit`: the work is done there. `cubes`: recipes of
        one cube each, taken one after the other, such as while they are recorded; by default those of `job`. If it
        waits for cubes it must give None from time to time: only then can the job be stopped meanwhile. `resume`: what
        a run that fails has finished is kept, and continued by the next one with the same id.
        """
        if not isinstance(job, JobArguments):
            raise ArgumentError(
                f"a JobRunner runs a PipelineJob, got {job!r}: make one, PipelineJob(path_in, path_out)"
            )
        if tmp_suffix is not None and not _is_part_of_name(tmp_suffix):
            raise ArgumentError(
                f"tmp_suffix must be at most {MAX_SUFFIX} letters of a file's name, such as 'b', got {tmp_suffix!r:.80}"
            )
        self._job, self._control, self._account = job, Control(), Account()
        self._cubes = CubesRun(
            job.cubes if cubes is None else lambda: cubes,
            self._control,
            self._account,
            tmp_suffix=tmp_suffix,
            executor=executor,
            resume=resume,
            is_of_one=cubes is None and isinstance(job.path_in, Path) and not job.path_in.is_dir(),
            is_known=cubes is None,
        )
        self._state: JobState | None = "created"
        """None while it works."""
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()  # `Thread.join` may mistake the thread for ended when a signal interrupts it
        self._interrupts = Interrupts(self._stop_by_signal)
        self._is_reported = False
        self.error: BaseException | None = None
        """What `run` or `join` raises."""
        self.error_tb: str | None = None
        """Its traceback, with that of the worker that failed."""

    # ---- what users call ----

    def run(self) -> JobResult | list[JobResult]:
        """Process all cubes, and return the result, or a list for several cubes; blocks.

        A cube that fails does not keep others from being processed: at the end JobError names all that failed. Of one
        cube its own error is raised. Ctrl-C and SIGTERM stop the job first: then KeyboardInterrupt, SystemExit.
        ClosedError if it was run or started before.
        """
        self._begin()
        signals = (signal.SIGTERM,) if self._job.debug else (signal.SIGINT, signal.SIGTERM)
        self._is_reported = True
        with self._interrupts.install(*signals):
            self._run()
        return self.result

    def start(self) -> None:
        """Begin to process the cubes in a thread; returns at once. A job that is not joined is stopped at exit.

        ClosedError if it was run or started before; RuntimeError if the system has no threads left.
        """
        self._begin()
        self._thread = threading.Thread(target=self._run_in_thread, name="openhsi_shared job", daemon=True)
        self._interrupts.install(signal.SIGTERM)
        finish_at_exit(self)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread, self._state, self.error, self.error_tb = None, "failed", error, _traceback_of(error)
            self._is_reported = True
            self._account.end()
            self._finish()
            raise

    def join(self, timeout: float | None = None) -> None:
        """Block until it has ended, and raise what `run` would; returns at the timeout, too (see `is_alive`).

        Ctrl-C stops the job, and is raised when it has ended.
        """
        if self._thread is None:
            return
        try:
            self._ended.wait(timeout)
        except BaseException as error:  # noqa: BLE001 - Ctrl-C, SIGTERM: raised below
            self._control.stop(error)
            self._ended.wait()
        if not self._ended.is_set():
            return
        self._finish()
        if self.error is not None:
            self._is_reported = True
            raise self.error

    def is_alive(self) -> bool:
        """Whether it runs in its thread."""
        return self._thread is not None and not self._ended.is_set()

    def pause(self) -> None:
        """Begin no more work until `resume`; what has begun is finished. Does not block."""
        self._control.pause()
        self._account.pause()

    def resume(self) -> None:
        """Continue after `pause`."""
        self._account.resume()
        self._control.resume()

    def stop(self) -> None:
        """End the job: nothing is left of the cube that is processed now. `run` and `join` raise JobError.

        Does not block. Idempotent.
        """
        self._control.stop()

    @property
    def state(self) -> JobState:
        """In one word; "done", "failed" and "stopped" are final."""
        if self._state is not None:
            return self._state
        if self._control.state == "ending":
            return "stopping"
        if self._control.state == "paused":
            return "paused"
        phase = self._cubes.phase
        return "surveying" if phase == "processing" and self._account.is_surveying else phase

    @property
    def results(self) -> Mapping[Path, JobResult]:
        """Of the cubes that are done, by the path of the cube."""
        return MappingProxyType(self._cubes.results)

    @property
    def failures(self) -> Mapping[Path, Exception]:
        """What was raised for cubes that failed, by the path of the cube."""
        return MappingProxyType(self._cubes.failures)

    @property
    def result(self) -> JobResult | list[JobResult]:
        """The result of one cube, or those of several in their order. JobError before there is one."""
        found = self._cubes.in_order()
        if not self._cubes.is_of_one:
            return found
        if not found:
            raise JobError(f"{self._job.path_in} has no result: the job is {self.state}") from self.error
        return found[0]

    def get_status(self) -> JobStatus:
        """A snapshot. Does not block."""
        return self._account.status(self.state)

    def close(self) -> None:
        """Stop it, and wait until it has ended. Idempotent; raises nothing."""
        if self._thread is not None:
            self.stop()
            self._ended.wait()
            self._finish()

    def shutdown(self, crashed: bool) -> list[BaseException]:
        """Stop it when the interpreter exits. Returns the error that has not been raised yet."""
        was_running = self.is_alive()
        self.close()
        if was_running and crashed:  # the program reports why it ends
            return []
        is_due = isinstance(self.error, Exception) and not self._is_reported  # else the program ends by that signal
        return [self.error] if is_due and self.error is not None else []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.close()
        elif not self._is_reported:
            self.join()

    def __repr__(self) -> str:
        return f"<JobRunner of {self._job.path_in}: {self.get_status()}>"

    # ---- its life ----

    def _begin(self) -> None:
        if self._state != "created":
            raise ClosedError(f"this JobRunner is {self.state}: make a new one to run the job again")
        self._state = None
        self._account.begin()

    def _run_in_thread(self) -> None:
        try:
            self._run()
        except BaseException:
            logger.debug("the job has failed", exc_info=True)
        finally:
            self._ended.set()

    def _run(self) -> None:
        this_thread = threading.get_ident()
        self._control.thread_ids.add(this_thread)
        try:
            with JobLog(self._control.thread_ids, logging.DEBUG if self._job.debug else self._job.log_level) as log:
                self._cubes.run(log)
            self._state = "done"
        except BaseException as error:
            self._state = "stopped" if self._control.state == "ending" else "failed"
            self.error, self.error_tb = error, _traceback_of(error)
            raise
        finally:
            self._control.thread_ids.discard(this_thread)
            self._account.end()

    def _finish(self) -> None:
        self._interrupts.restore()
        forget(self)

    def _stop_by_signal(self, error: BaseException) -> bool:
        """Whether `run` raises the error, once all is in order. Else, and at a second signal, it is raised at once."""
        is_raised_by_run = self._thread is None and self._cubes.is_working and self._control.state != "ending"
        self._control.stop(error)
        return is_raised_by_run


def _is_part_of_name(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= MAX_SUFFIX and text.isprintable() and not {"/", os.sep} & {*text}


def _traceback_of(error: BaseException) -> str:
    """The traceback as text, and those of workers."""
    causes = [error, error.__cause__]
    of_workers = [one.worker_traceback for one in causes if isinstance(one, JobError) and one.worker_traceback]
    return "\n".join(["".join(traceback.format_exception(error)), *of_workers])
