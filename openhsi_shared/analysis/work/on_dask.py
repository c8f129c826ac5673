"""Batches as futures of Dask: each worker of the cluster reads the files itself, at the same path as here."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.parameters import Parameters
from openhsi_shared.analysis.streams.source import Source
from openhsi_shared.analysis.work.batches import events_of
from openhsi_shared.analysis.work.messages import Batch, BatchResult, EventFailure
from openhsi_shared.analysis.work.worker import WorkerRunner
from openhsi_shared.analysis.work.workers import SumsLost
from openhsi_shared.errors import AnalysisError
from openhsi_shared.processes.dask_client import DEATHS
from openhsi_shared.processes.spawning import pack, unpack

__all__ = ["OnDask"]


@dataclass(frozen=True, eq=False)
class _RemoteRun:
    """What a worker needs to know of a run: it is sent with each batch, so it is small."""

    id: str
    content: bytes
    """Packed pair, source, parameters at the start, and debug."""
    folder: str
    """Where modules of the user are found."""
    version: str


class _Flushed(NamedTuple):
    """The end of a run in a worker."""

    result: BatchResult | None
    numbers: list[int]
    """Batches that it has processed."""


# ---- here ----------------------------------------------------------------------------


class OnDask:
    """Workers of a cluster. The interface of `Crew`. For one thread."""

    def __init__(
        self, client: Any, pair: Pair, source: Source, parameters: Parameters, *, patience_s: float, debug: bool = False
    ) -> None:
        """Use all workers that there are now. AnalysisError if there are none."""
        self._client, self._patience_s = client, patience_s
        self._addresses: Sequence[str] = sorted(client.scheduler_info(n_workers=-1)["workers"])
        if not self._addresses:
            raise AnalysisError("the scheduler has no workers: start some, such as `dask worker ADDRESS --nthreads 1`")
        self.n_workers = len(self._addresses)
        self.begin(pair, source, parameters, debug=debug)

    def begin(self, pair: Pair, source: Source, parameters: Parameters, *, debug: bool = False) -> None:
        """Begin another run; `context` survives in each worker."""
        content = pack((pair, source, parameters, debug))
        self._run = _RemoteRun(uuid4().hex, content, str(Path.cwd()), _version())
        self._sums = callable(getattr(pair.worker, "flush", None))
        self._versions = {parameters.version: parameters}
        self._newest = parameters
        self._first_of_streams: list[Batch] = []
        self._submitted: list[int] = []
        self._futures: dict[Any, Batch | None] = {}
        self._flushed: list[_Flushed] = []
        self._progress = time.monotonic()
        self.tick_interval_s: float | None = None

    @property
    def n_waiting(self) -> int:
        """Tasks that are not done."""
        return len(self._futures)

    def wait_ready(self) -> None:
        """Make all workers. AnalysisError if one cannot be made."""
        tasks = [self._submit(_make, address, self._run, pinned=True) for address in self._addresses]
        for task in tasks:
            try:
                self.tick_interval_s = task.result(timeout=max(300.0, self._patience_s))
            except ImportError as error:
                raise AnalysisError(f"a worker cannot import what the analysis needs: {error}") from error
            except TimeoutError as error:
                raise AnalysisError("a worker of the cluster is not ready in time: is it busy?") from error

    def set_parameters(self, parameters: Parameters) -> None:
        """Make the values of a version known."""
        self._versions[parameters.version] = self._newest = parameters

    def submit(self, batch: Batch, worker: int | None = None) -> None:
        """Let a worker process it: this one, unless it has died. Others get first events before their next batch."""
        address = self._addresses[(batch.number if worker is None else worker) % self.n_workers]
        parameters = self._versions[batch.version]
        task = self._submit(_process, address, self._run, tuple(self._first_of_streams), batch, parameters)
        if batch.part.is_for_all:
            self._first_of_streams.append(replace(batch, is_repeated_for_state=True))
        else:
            self._submitted.append(batch.number)
        self._futures[task] = batch

    def flush(self) -> None:
        """Let each worker end its run."""
        present = self._client.scheduler_info(n_workers=-1)["workers"]
        for address in self._addresses:
            if address in present:
                arguments = self._run, tuple(self._first_of_streams), self._newest
                self._futures[self._submit(_flush, address, *arguments, pinned=True)] = None

    def wait(self, timeout_s: float) -> list[BatchResult | SumsLost]:
        """Return what was done. AnalysisError if nothing is done for `patience_s`, or if a worker cannot work."""
        try:
            with self._client.as_current():
                done = _wait_first(list(self._futures), timeout_s) if self._futures else ()
        except TimeoutError:
            if time.monotonic() - self._progress > self._patience_s:
                raise AnalysisError(
                    f"no worker of the cluster has finished a batch within {self._patience_s:g} s: are there workers, "
                    "and do they reach the files?"
                ) from None
            return []
        self._progress = time.monotonic()
        found: list[BatchResult | SumsLost] = []
        for task in done:
            batch = self._futures.pop(task)
            result = self._result(task, batch)
            if isinstance(result, _Flushed):
                self._flushed.append(result)
                found += [] if result.result is None else [result.result]
            else:
                found.append(result)
        if self._flushed and not self._futures:
            self._check_sums()
        return found

    def close(self) -> None:
        """Cancel what has not begun. Idempotent."""
        self._client.cancel(list(self._futures))
        self._futures.clear()

    def _submit(self, function: Any, address: str, *arguments: Any, pinned: bool = False) -> Any:
        return self._client.submit(function, *arguments, workers=[address], allow_other_workers=not pinned, pure=False)

    def _result(self, task: Any, batch: Batch | None) -> BatchResult | _Flushed:
        try:
            result: BatchResult | _Flushed = task.result()
        except ImportError as error:
            raise AnalysisError(f"a worker cannot import what the analysis needs: {error}") from error
        except BaseException as error:
            if type(error).__name__ not in DEATHS:
                raise
            if batch is None:
                return _Flushed(None, [])  # what it has summed is missing: see `_check_sums`
            text = f"AnalysisError: workers of the cluster died of it: {error}"
            failures = [EventFailure(int(number), text, "") for number in batch.part.numbers]
            return BatchResult(
                number=batch.number, worker="", version=batch.version, failures=failures, n_events=len(failures)
            )
        return result

    def _check_sums(self) -> None:
        """AnalysisError if a batch is in the sums of no worker, because one died, or in those of two."""
        counts = Counter(number for one in self._flushed for number in one.numbers)
        wrong = [number for number in self._submitted if counts[number] != 1]
        if self._sums and wrong:
            raise AnalysisError(
                f"workers of the cluster died whose sums are lost, or done twice: those of {len(wrong)} batches, from "
                f"batch {wrong[0]} on; replay it again"
            )


def _wait_first(tasks: list[Any], timeout_s: float) -> Any:
    """Those that are done, one at least. TimeoutError."""
    from distributed import wait

    return wait(tasks, timeout_s, "FIRST_COMPLETED").done  # type: ignore[no-untyped-call]


def _version() -> str:
    return str(sys.modules["openhsi_shared"].__version__)  # an import of it would be upwards


# ---- in a worker of the cluster ------------------------------------------------------


class _Remote:
    """The worker of a run."""

    def __init__(self, run: _RemoteRun, context: dict[Any, Any]) -> None:
        if run.version != _version():
            raise AnalysisError(
                f"a worker of the cluster has openhsi_shared {_version()}, the caller {run.version}: results could "
                "differ; install the same version there"
            )
        if run.folder not in sys.path:
            sys.path.insert(0, run.folder)
        from distributed import get_worker

        pair, source, parameters, debug = unpack(run.content)
        self.id = run.id
        self.reader = source.reader()
        self.runner = WorkerRunner(pair, f"worker-{get_worker().address}", context, parameters, debug=debug)
        self.numbers: list[int] = []

    def process(self, batch: Batch, parameters: Parameters) -> BatchResult:
        """Process a batch."""
        if parameters.version != self.runner.parameters.version:
            self.runner.set_parameters(parameters)
        self.numbers.append(batch.number)
        return self.runner.process(batch, events_of(self.reader, batch.part))

    def close(self) -> None:
        """End the run."""
        try:
            self.runner.close()
        finally:
            self.reader.close()


_lock = threading.Lock()
"""A worker of a user is for one thread."""
_context: dict[Any, Any] = {}
_remote: _Remote | None = None


def _of(run: _RemoteRun) -> _Remote:
    """The worker of this run, made when it is first needed. The lock is held."""
    global _remote  # noqa: PLW0603 - of this process
    if _remote is None or _remote.id != run.id:
        _remote = _Remote(run, _context)
    return _remote


def _make(run: _RemoteRun) -> float | None:
    with _lock:
        return _of(run).runner.tick_interval_s


def _process(run: _RemoteRun, first: Sequence[Batch], batch: Batch, parameters: Parameters) -> BatchResult:
    with _lock:
        remote = _of(run)
        _process_first(remote, first, parameters)
        return remote.process(batch, parameters)


def _process_first(remote: _Remote, first: Sequence[Batch], parameters: Parameters) -> None:
    """Process those first events of streams that this worker has not had."""
    for one in first:
        if one.number not in remote.numbers:
            remote.process(replace(one, version=parameters.version), parameters)


def _flush(run: _RemoteRun, first: Sequence[Batch], parameters: Parameters) -> _Flushed:
    global _remote  # noqa: PLW0603 - of this process
    with _lock:
        remote = _of(run)
        _process_first(remote, first, parameters)
        remote.runner.set_parameters(parameters)
        result = remote.runner.flush()
        _remote = None
        remote.close()
        return _Flushed(result, remote.numbers)
