"""The one worker of an analysis that runs in the calling process, so that breakpoints work in it."""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.parameters import Parameters
from openhsi_shared.analysis.streams.source import Reader, Source
from openhsi_shared.analysis.work.batches import events_of
from openhsi_shared.analysis.work.messages import Batch, BatchResult
from openhsi_shared.analysis.work.worker import WorkerRunner, end_work
from openhsi_shared.analysis.work.workers import SumsLost

__all__ = ["InProcess", "Workers"]


class Workers(Protocol):
    """Who processes batches: see `Crew`."""

    tick_interval_s: float | None

    @property
    def n_waiting(self) -> int:
        """Tasks that are not done."""

    def begin(self, pair: Pair, source: Source, parameters: Parameters, *, debug: bool = False) -> None:
        """Begin another run; `context` survives."""

    def wait_ready(self) -> None:
        """Block until all workers are made."""

    def set_parameters(self, parameters: Parameters) -> None:
        """Make the values of a version known, before its first batch."""

    def submit(self, batch: Batch, worker: int | None = None) -> None:
        """Let a worker process a batch."""

    def flush(self) -> None:
        """Let each worker end its run."""

    def wait(self, timeout_s: float) -> list[BatchResult | SumsLost]:
        """Return what was done."""

    def close(self) -> None:
        """End the workers. Idempotent."""


class InProcess(Workers):
    """A worker in this process; `wait` lets it work."""

    def __init__(
        self,
        pair: Pair,
        source: Source,
        context: dict[Any, Any],
        parameters: Parameters,
        *,
        debug: bool = False,
        on_exception: Callable[[int, BaseException], None] | None = None,
    ) -> None:
        """Make it. AnalysisError if its constructor fails. `on_exception`: see `WorkerRunner`."""
        self._context, self._on_exception = context, on_exception
        self._runner: WorkerRunner | None = None
        self._reader: Reader | None = None
        self.begin(pair, source, parameters, debug=debug)

    def begin(self, pair: Pair, source: Source, parameters: Parameters, *, debug: bool = False) -> None:
        """Begin another run; `context` survives."""
        self.close()
        self._todo: deque[Batch | None] = deque()
        self._versions = {parameters.version: parameters}
        self._newest = parameters
        self._reader = source.reader()
        self._runner = WorkerRunner(
            pair, "worker0", self._context, parameters, debug=debug, on_exception=self._on_exception
        )
        self.tick_interval_s = self._runner.tick_interval_s

    @property
    def n_waiting(self) -> int:
        """Tasks that are not done."""
        return len(self._todo)

    def wait_ready(self) -> None:
        """It is made."""

    def set_parameters(self, parameters: Parameters) -> None:
        """Make the values of a version known."""
        self._versions[parameters.version] = self._newest = parameters

    def submit(self, batch: Batch, worker: int | None = None) -> None:  # noqa: ARG002 - there is one worker
        """Process it in `wait`."""
        self._todo.append(batch)

    def flush(self) -> None:
        """Let it end its run."""
        self._todo.append(None)

    def wait(self, timeout_s: float) -> list[BatchResult | SumsLost]:  # noqa: ARG002 - it works meanwhile
        """Process one batch."""
        runner, reader = self._runner, self._reader
        if not self._todo or runner is None or reader is None:
            return []
        batch = self._todo.popleft()
        if batch is None:
            runner.set_parameters(self._newest)
            found = runner.flush()
            self.close()
            return [] if found is None else [found]
        if batch.version != runner.parameters.version:
            runner.set_parameters(self._versions[batch.version])
        return [runner.process(batch, events_of(reader, batch.part))]

    def close(self) -> None:
        """Close worker and source. AnalysisError if `close` of the worker raises. Idempotent."""
        runner, reader = self._runner, self._reader
        self._runner = self._reader = None
        end_work(runner, reader)
