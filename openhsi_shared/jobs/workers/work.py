"""Work on the blocks of a register, by several threads, each with a worker of its own, which may die."""

import traceback
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from openhsi_shared.errors import JobError, OpenHSIError
from openhsi_shared.jobs.workers.block_worker import Processed, Surveyed
from openhsi_shared.jobs.workers.blocks import Block, BlockRegister
from openhsi_shared.loggers import safe_logger

__all__ = ["LineWorker", "Work", "WorkerDied"]

logger = safe_logger(__name__)

MAX_DEATHS = 3
"""Workers that may die of a line before it counts as failed."""


class WorkerDied(Exception):
    """A worker process died, or was killed because it hung; the text says how. It is replaced when it is used next."""


class LineWorker(Protocol):
    """What a thread works with: a `BlockWorker`, or a `WorkerProcess`, whose methods raise WorkerDied."""

    def process(self, number: int, place: int, first: int, stop: int) -> Processed:
        """See `BlockWorker.process`."""

    def survey(self, at: int, parts: Sequence[range]) -> Surveyed:
        """See `BlockWorker.survey`."""


class Work(ABC):
    """What workers do with the blocks of a register."""

    stages: tuple[str, ...]
    """What a worker does first if there is more than one thing to do."""
    stages_beside: tuple[str, ...] = ()
    """What one more thread does, without a worker: it waits for something else than a core."""

    def __init__(self, path: Path, register: BlockRegister) -> None:
        self.path, self.register = path, register
        self.n_at_once: int | None = None
        """Lines that a worker reserves at most; None: as many as there are."""

    def work(self, worker: LineWorker, stages: Sequence[str] = ()) -> None:
        """Work until nothing is left to do; called in each thread. What is raised is noted in the register.

        `stages`: in place of those of workers.
        """
        try:
            while self._work_on_next(worker, stages or self.stages):
                pass
        except (OpenHSIError, OSError) as error:
            self.register.fail(error)
        except Exception as error:  # noqa: BLE001 - not swallowed: the team raises it
            self.register.fail(_as_job_error(self.path, error))
        except BaseException as error:  # noqa: BLE001 - as above
            self.register.fail(error)

    def _work_on_next(self, worker: LineWorker, stages: Sequence[str]) -> bool:
        """Reserve lines and work on them; False if there are none left."""
        try:
            with self.register.reserve(*stages, n=self.n_at_once) as reserved:
                if reserved is None:
                    return False
                try:
                    self.do(worker, *reserved)
                except WorkerDied as death:
                    if self.register.note_death(*reserved) < MAX_DEATHS:
                        raise
                    self.give_up(*reserved, f"{MAX_DEATHS} workers died of it, the last one: {death}")
        except WorkerDied as death:  # its lines are free again
            if not self.register.is_ended:
                logger.warning("%s: %s: its lines are done again", self.path, death)
        return True

    @abstractmethod
    def do(self, worker: LineWorker, block: Block, first: int, stop: int) -> None:
        """Work on reserved lines."""

    @abstractmethod
    def give_up(self, block: Block, first: int, stop: int, why: str) -> None:
        """Count reserved lines as failed, in general one: workers died of it."""


def _as_job_error(path: Path, error: Exception) -> JobError:
    text = f"{path}: {type(error).__name__}: {error}"
    found = JobError(text, path=str(path), where="".join(traceback.format_exception(error)))
    found.__cause__ = error
    return found
