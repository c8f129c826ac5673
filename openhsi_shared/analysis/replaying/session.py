"""The runs of a replay, by the same workers: one, or one for each cube."""

import pdb
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.parameter_log import ParameterLog
from openhsi_shared.analysis.parameters import Parameters
from openhsi_shared.analysis.replaying.served import ServedReplay
from openhsi_shared.analysis.streams.source import Ranges, Source
from openhsi_shared.analysis.work.batches import LINES_IN_BATCH
from openhsi_shared.analysis.work.in_process import InProcess, Workers
from openhsi_shared.analysis.work.on_dask import OnDask
from openhsi_shared.analysis.work.reduce import ReduceRunner
from openhsi_shared.analysis.work.run import OnError, Run, Shuffle
from openhsi_shared.analysis.work.workers import Crew
from openhsi_shared.errors import AnalysisError, ArgumentError
from openhsi_shared.given_numbers import is_number, is_whole
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.dask_client import client_of
from openhsi_shared.processes.interrupts import Interrupts
from openhsi_shared.processes.progress import progress_bar

__all__ = ["ReplayOptions", "ReplaySession", "Replayed"]

logger = safe_logger(__name__)

MAX_IN_BATCH = 512
SMALL_BYTES = 1 << 16
"""Of an event: of smaller ones, more are in a batch."""


@dataclass(kw_only=True, eq=False)
class Replayed:
    """What a replay gave; with `per`, of the last run."""

    reducer: Any
    """The object; None without a reducer."""
    published: Mapping[Any, Any]
    """What it publishes."""
    n_events: int
    """Processed, failed ones included."""
    n_results: int
    """Delivered to the reducer."""
    n_failed: int
    """Events for which the worker or the reducer failed."""
    parameters: Parameters
    """As they were at the end."""
    changes: ParameterLog
    """Their versions."""
    seconds: float
    """From the first batch to the end of `finish`."""
    pair: Pair
    """The classes."""
    runs: list["Replayed"] = field(default_factory=list)
    """With `per` each run, else this one."""


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """How to replay, checked: see `replay`."""

    n_workers: int
    ordered: bool
    shuffle: int | None
    on_error: OnError
    pdb: bool
    debug: bool
    patience_s: float
    batch_size: int | None
    progress: bool
    publish: Path | None
    port: int | str | None
    keep_alive: bool
    scheduler: str | None

    def __post_init__(self) -> None:
        for name, least in (("n_workers", 1), ("batch_size", 1), ("shuffle", 0)):
            value = getattr(self, name)
            if value is not None and (not is_whole(value) or value < least):
                raise ArgumentError(f"{name} must be a whole number, {least} or more, got {value!r}")
        for name in ("ordered", "pdb", "debug", "progress", "keep_alive"):
            if not isinstance(getattr(self, name), bool):
                raise ArgumentError(f"{name} must be True or False, got {getattr(self, name)!r}")
        if self.on_error not in ("raise", "log"):
            raise ArgumentError(f"on_error is 'raise' or 'log', got {self.on_error!r}")
        if self.pdb and self.n_workers > 1:
            raise ArgumentError(f"pdb needs the worker in this process: n_workers=1, got {self.n_workers}")
        if self.pdb and self.scheduler is not None:
            raise ArgumentError(f"pdb needs the worker in this process, got scheduler={self.scheduler!r}")
        if self.keep_alive and self.port is None:
            raise ArgumentError("keep_alive serves what is published: give a port; 0 is any free one")
        if self.publish is not None and not self.publish.absolute().parent.is_dir():
            raise ArgumentError(f"publish: there is no folder {self.publish.absolute().parent}")
        if self.publish is not None and self.publish.is_dir():
            raise ArgumentError(f"publish: {self.publish.absolute()} is a directory: expected the name of a file")
        if not is_number(self.patience_s) or not self.patience_s > 0:
            raise ArgumentError(f"patience_s must be a number of seconds > 0, got {self.patience_s!r}")


class ReplaySession(ExitStack):
    """One run or several, by the same workers."""

    def __init__(self, pair: Pair, options: ReplayOptions, paths: Sequence[Path]) -> None:
        super().__init__()
        self._pair, self._options, self._paths = pair, options, paths
        self._workers: Workers | None = None
        self._n_workers = options.n_workers
        self._context: dict[Any, Any] = {}
        self._runs: list[Replayed] = []
        self._stopped: BaseException | None = None
        self._is_killed = False
        self._is_over = threading.Event()
        self._served: ServedReplay | None = None
        self._shuffle = None if options.shuffle is None else Shuffle(options.shuffle)
        self.enter_context(Interrupts(self._stop).install(signal.SIGINT, signal.SIGTERM))

    @property
    def replayed(self) -> Replayed:
        """The last run."""
        last = self._runs[-1]
        last.runs = self._runs
        return last

    def run(self, source: Source, log: ParameterLog) -> None:
        """Do a run."""
        began = time.perf_counter()
        ranges = source.ranges()
        self.callback(ranges.close)
        reducer = ReduceRunner(self._pair, self._context, log.at(0), self._options.ordered)
        workers = self._workers_for(source, log.at(0))
        run = Run(
            pair=self._pair,
            ranges=ranges,
            workers=workers,
            reducer=reducer,
            log=log,
            n_workers=self._n_workers,
            size=self._options.batch_size or self._size(ranges),
            on_error=self._options.on_error,
            shuffle=self._shuffle,
            is_stopped=lambda: self._stopped is not None,
        )
        self._serve(run)
        failed: BaseException | None = None
        try:
            with progress_bar(ranges.n_events, "replaying", "event", self._options.progress) as bar:
                run.on_progress = bar.update
                run.run()
        except BaseException as error:
            failed = error
            if self._is_killed and not isinstance(error, KeyboardInterrupt | SystemExit):
                raise KeyboardInterrupt from error  # it was raised in code of the user, and counted as its failure
            raise
        finally:
            self._end(run, reducer, failed, time.perf_counter() - began)
        if self._stopped is not None:
            raise self._stopped

    def _end(self, run: Run, reducer: ReduceRunner, failed: BaseException | None, seconds: float) -> None:
        """Finish the reducer, and note the result."""
        reducer.set_parameters(run.log.newest)
        raised: Exception | None = None
        try:
            run.fail(reducer.finish(failed or self._stopped), self._pair.reducer_name)
            reducer.close()
        except Exception as error:  # noqa: BLE001 - not swallowed: raised below, when what is published is saved
            raised = error
        if self._options.publish is not None:
            self._save(self._options.publish, run, failed or self._stopped or raised)
        if raised is not None:
            if failed is None:
                raise raised
            failed.add_note(str(raised))
        self._runs.append(
            Replayed(
                reducer=reducer.reducer,
                published=reducer.publish,
                n_events=run.n_events,
                n_results=reducer.n_results,
                n_failed=run.failures.n_failed,
                parameters=run.log.newest,
                changes=run.log,
                seconds=seconds,
                pair=self._pair,
            )
        )

    def _workers_for(self, source: Source, parameters: Parameters) -> Workers:
        """Workers for the next run: the same ones as for the last, whose context survives."""
        options = self._options
        if self._workers is not None:
            self._workers.begin(self._pair, source, parameters, debug=options.debug)
            return self._workers
        if options.scheduler is not None:
            client = self.enter_context(client_of(options.scheduler, AnalysisError))
            on_dask = OnDask(client, self._pair, source, parameters, patience_s=options.patience_s, debug=options.debug)
            self._workers, self._n_workers = on_dask, on_dask.n_workers
        elif options.n_workers == 1:
            debugger = _post_mortem if options.pdb else None
            self._workers = InProcess(self._pair, source, {}, parameters, debug=options.debug, on_exception=debugger)
        else:
            self._workers = Crew(
                self._pair,
                source,
                options.n_workers,
                {},
                parameters,
                patience_s=options.patience_s,
                debug=options.debug,
                redo_sums=True,
            )
        self.callback(self._workers.close)
        return self._workers

    def _serve(self, run: Run) -> None:
        """Serve this run from now on, if asked for."""
        if self._options.port is None:
            return
        if self._served is not None:
            self._served.run = run
            return
        from openhsi_shared.analysis.publishing.server import serve

        self._served = ServedReplay(run)
        server = self.enter_context(serve(self._served, self._options.port, has_socket=False))
        logger.info("what the reducer publishes is at %s%s", server.url, f", token {server.token}" * bool(server.token))

    def serve_until_interrupt(self) -> None:
        """With `keep_alive`, block until Ctrl-C."""
        if self._options.keep_alive and self._served is not None:
            self._served.is_ended = True
            logger.info("all events are done: serving until Ctrl-C")
            while not self._is_over.wait(1.0):
                pass

    def _save(self, path: Path, run: Run, failed: BaseException | None) -> None:
        from openhsi_shared.analysis.publishing.result_file import save_result
        from openhsi_shared.analysis.publishing.snapshots import take_snapshot

        counts: dict[str, int | float | str] = {
            "n_events": run.n_events,
            "n_results": run.reducer.n_results,
            "n_failed": run.failures.n_failed,
            "failed": "" if failed is None else str(failed) or type(failed).__name__,
        }
        saved = save_result(path.absolute(), take_snapshot(run.reducer), self._pair, run.log, counts)
        logger.info("saved what is published as %s", saved)

    def _size(self, ranges: Ranges) -> int:
        """Events in a batch: small ones cost less than their way to a worker."""
        n = ranges.n_events or 0
        n_bytes = sum(path.stat().st_size for path in self._paths if path.is_file())
        return LINES_IN_BATCH if n_bytes > n * SMALL_BYTES else max(LINES_IN_BATCH, min(MAX_IN_BATCH, n // 64))

    def _stop(self, error: BaseException) -> bool:
        if self._served is not None and self._served.is_ended:
            self._is_over.set()
            return True
        if self._stopped is not None:
            self._is_killed = True
            return False
        self._stopped = error
        logger.warning("interrupted: the events that workers have are finished; again to end at once")
        return True


def _post_mortem(event_number: int, error: BaseException) -> None:
    logger.error("event %d: %s: %s", event_number, type(error).__name__, error)
    pdb.post_mortem(error.__traceback__)
