"""A worker process, which may die: it is replaced when it is used again."""

import contextlib
import signal
import threading
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from openhsi_shared.buffers.memory import aligned_bytes
from openhsi_shared.errors import JobError, OpenHSIError
from openhsi_shared.files.reading import open_cube
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.workers.block_memory import BlockLayout, BlockMemory
from openhsi_shared.jobs.workers.block_worker import BlockWorker, Processed, Surveyed
from openhsi_shared.jobs.workers.work import WorkerDied
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.logs import forward_logs
from openhsi_shared.processes.printing import LoggedPrints
from openhsi_shared.processes.spawning import pack, unpack
from openhsi_shared.processes.workers import end_with_parent, how_it_ended, single_threaded

__all__ = ["Begin", "WorkerProcess"]

logger = safe_logger(__name__)

MAX_STARTS = 3
START_TIMEOUT_S = 120.0
"""To start, and to open a cube: also on a machine that is overloaded."""
END_TIMEOUT_S = 2.0


class Begin(NamedTuple):
    """To a worker: work on this cube from now on. Answered by None, in `Answer`."""

    plan: bytes
    n_places: int


class Call(NamedTuple):
    """To a worker: call this method of its `BlockWorker`. Answered by what it returns, in `Answer`."""

    name: str
    arguments: tuple[Any, ...]


class Answer(NamedTuple):
    """From a worker."""

    content: Any


class Raised(NamedTuple):
    """From a worker: what its work raised, packed, and the traceback."""

    error: bytes
    text: str
    where: str


# ---- in the parent -------------------------------------------------------------------


class WorkerProcess:
    """A process with a `BlockWorker`. One thread uses it; only `kill` and `end` may be called by others."""

    def __init__(self, number: int, memory: Any, n_bytes: int, patience_s: float) -> None:
        """`memory`: a shared array of bytes, of which it uses `n_bytes` from the first page on. Starts nothing yet."""
        self._number, self._memory, self._n_bytes, self._patience_s = number, memory, n_bytes, patience_s
        self._child: Child | None = None
        self._begin: Begin | None = None
        self._has_begun = False
        self._starting = threading.Lock()
        self._may_start = True

    def start(self) -> None:
        """Start the process unless it lives; returns before it is ready. OSError if the system cannot start it.

        WorkerDied after `end` and `close`, until `begin` is called: else one that is ended while it starts would go on.
        """
        with self._starting:
            if not self._may_start:
                raise WorkerDied(f"job worker {self._number} was ended")
            self._start()

    def _start(self) -> None:
        if self._child is not None and self._child.exit_code is not None:
            self._drop()
        if self._child is None:
            with single_threaded():
                arguments = self._memory, self._n_bytes
                self._child = Child(_serve, arguments, name=f"job worker {self._number}", logger=logger, daemon=True)
            self._has_begun = False

    def begin(self, begin: Begin) -> None:
        """Set the cube that the following calls are about."""
        self._begin, self._has_begun, self._may_start = begin, False, True

    def process(self, number: int, place: int, first: int, stop: int) -> Processed:
        """As in `BlockWorker.process`. WorkerDied."""
        found: Processed = self._call("process", number, place, first, stop)
        return found

    def survey(self, at: int, parts: Sequence[range]) -> Surveyed:
        """As in `BlockWorker.survey`. WorkerDied."""
        found: Surveyed = self._call("survey", at, parts)
        return found

    def hang_up(self) -> None:
        """Let the process end by itself. Idempotent."""
        if self._child is not None:
            self._child.hang_up()

    def kill(self) -> None:
        """Kill the process: the call that waits for it raises WorkerDied."""
        if (child := self._child) is not None:
            child.kill()

    def end(self) -> None:
        """As `kill`, and it is not started again until `begin` is called."""
        with self._starting:
            self._may_start = False
        self.kill()

    def close(self) -> None:
        """End the process. Idempotent."""
        with self._starting:
            self._may_start = False
        if (child := self._child) is not None:
            child.hang_up()
            child.end(END_TIMEOUT_S)
            self._drop()

    def _call(self, name: str, *arguments: Any) -> Any:
        self._make_ready()
        return self._ask(Call(name, arguments), self._patience_s)

    def _make_ready(self) -> None:
        """Start it, and let it open the cube, if it has not. JobError if it dies of that again and again."""
        for attempt in range(MAX_STARTS):
            self.start()
            if self._has_begun:
                return
            try:
                self._ask(self._begin, max(START_TIMEOUT_S, self._patience_s))
            except WorkerDied as death:
                if attempt + 1 == MAX_STARTS:
                    raise JobError(
                        f"worker processes die while they start: {death}; see their messages in the log, and "
                        "whether there is enough memory; workers='threads' needs no processes"
                    ) from death
            else:
                self._has_begun = True

    def _ask(self, message: Any, timeout_s: float) -> Any:
        child = self._child
        if child is None:
            raise WorkerDied(f"job worker {self._number} does not run")
        child.send(message)
        answer = child.receive(timeout_s)
        if answer is None:
            child.kill()
            self._drop()
            raise WorkerDied(f"job worker {self._number} ({child.pid}) gave no answer for {timeout_s:g} s")
        if answer is GONE:
            child.end(END_TIMEOUT_S)
            self._drop()
            raise WorkerDied(f"job worker {self._number} ({child.pid}) {how_it_ended(child.exit_code)}")
        if isinstance(answer, Raised):
            raise _error_of(answer)
        return answer.content

    def _drop(self) -> None:
        if self._child is not None:
            self._child.close()
        self._child = None


def _error_of(raised: Raised) -> BaseException:
    """What the work raised, if it can be unpacked and is of a known kind; else a JobError about it."""
    with contextlib.suppress(Exception):
        error = unpack(raised.error)
        if isinstance(error, OpenHSIError | OSError):
            error.add_note(f"in a worker process:\n{raised.where}")
            return error
    return JobError(f"a worker failed: {raised.text}", where=raised.where)


# ---- in the child --------------------------------------------------------------------


def _serve(parent: Parent, memory: Any, n_bytes: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group: the parent handles it
    end_with_parent(parent)
    forward_logs(parent)
    service = _Service(memory, n_bytes)
    with contextlib.redirect_stdout(LoggedPrints()), service:
        while (message := parent.receive()) is not GONE:
            if message is not None:
                service.answer(message, parent)


class _Service(ExitStack):
    """The work on one cube after the other."""

    def __init__(self, memory: Any, n_bytes: int) -> None:
        super().__init__()
        self._memory = aligned_bytes(memory, n_bytes)
        self._worker: BlockWorker | None = None

    def answer(self, message: Begin | Call, parent: Parent) -> None:
        """Do what is asked, and send what it gives, or what it raises."""
        try:
            if isinstance(message, Begin):
                self._begin(message)
                parent.tell(Answer(None))
            else:
                parent.tell(Answer(getattr(self._worker, message.name)(*message.arguments)))
        except BaseException as error:  # noqa: BLE001 - not swallowed: the parent raises it
            text, where = f"{type(error).__name__}: {error}", traceback.format_exc()
            try:
                packed = pack(error)
            except OpenHSIError:
                packed = b""
            parent.tell(Raised(packed, text, where))

    def _begin(self, message: Begin) -> None:
        self._worker = None
        self.close()
        plan: CubePlan = unpack(message.plan)
        cube = self.enter_context(open_cube(plan.source.path))
        self._worker = BlockWorker(plan, cube.lines, BlockMemory(BlockLayout(plan, message.n_places), self._memory))
