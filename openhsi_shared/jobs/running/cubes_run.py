"""All cubes of a job: each is planned, skipped if its result exists, processed, and counted if it fails."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from openhsi_shared.errors import JobError, SaveError
from openhsi_shared.files.exporting.envi_finishing import finish_envi
from openhsi_shared.files.journal import Journal
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.planning.existing import existing_result, with_preview
from openhsi_shared.jobs.planning.plans import check_kinds, check_room
from openhsi_shared.jobs.result import JobResult
from openhsi_shared.jobs.running.continuing import with_blocks_of
from openhsi_shared.jobs.running.cube_run import CubeRun
from openhsi_shared.jobs.running.log import JobLog
from openhsi_shared.jobs.running.status import Account, CubeAccount, JobState
from openhsi_shared.jobs.workers.control import Control
from openhsi_shared.jobs.workers.progress import Progress
from openhsi_shared.jobs.workers.team import Team, kind_for
from openhsi_shared.loggers import safe_logger

if TYPE_CHECKING:
    from openhsi_shared.jobs.recipe import PipelineJob

__all__ = ["CubesRun"]

logger = safe_logger(__name__)

MAX_NAMED = 20
"""Failed cubes that an error names with their reasons."""


class _Planned(NamedTuple):
    """A cube that is to be processed."""

    plan: CubePlan
    account: CubeAccount
    log: str
    """Of its planning."""


class CubesRun:
    """The cubes of a job, processed one after the other by one team. Other threads only read its attributes."""

    def __init__(
        self,
        cubes: "Callable[[], Iterable[PipelineJob | None]]",
        control: Control,
        account: Account,
        *,
        tmp_suffix: str | None,
        executor: Any,
        resume: bool,
        is_of_one: bool,
        is_known: bool,
    ) -> None:
        """`is_of_one`: the error of its only cube is raised as it is. `is_known`: all are planned before any work."""
        self._cubes, self._control, self._account = cubes, control, account
        self._tmp_suffix, self._executor, self._resume = tmp_suffix, executor, resume
        self.is_of_one, self._is_known = is_of_one, is_known
        self.phase: JobState = "checking"
        self.is_working = False
        """Whether a cube is processed: then it is to be stopped by its control, rather than interrupted anywhere."""
        self._targets: dict[Path, Path] = {}
        """With the cube whose result each one is, in the order of the cubes."""
        self.results: dict[Path, JobResult] = {}
        self.failures: dict[Path, Exception] = {}

    def run(self, log: JobLog) -> None:
        """Process all of them. Blocks. JobError that names those that failed, or that the job was stopped."""
        ready: Iterable[_Planned] = self._all_planned(log)
        if self._is_known:
            ready = list(ready)
            check_kinds([planned.plan.source for planned in ready])
            check_room(planned.plan for planned in ready)
        with ExitStack() as stack:
            team = None
            last = ready[-1] if isinstance(ready, list) and ready else None
            for planned in ready:
                if self._control.state == "ending":
                    break
                self.phase = "preparing"
                is_first = team is None
                if team is None:
                    team = self._make_team(planned.plan)
                    stack.callback(team.close)
                self.is_working = True
                self._process(planned, team, log, is_first=is_first, is_last=planned is last)
                self.is_working = False
        if self._control.state == "ending":
            raise self._control.error or JobError(f"the job was stopped after {len(self.results)} cubes")
        self._raise_failures()

    def in_order(self) -> list[JobResult]:
        """The results, in the order of the cubes."""
        return [self.results[path] for path in self._targets.values() if path in self.results]

    def _make_team(self, plan: CubePlan) -> Any:
        job = plan.job
        if self._executor is not None:
            from openhsi_shared.jobs.workers.remote import RemoteTeam

            return RemoteTeam(self._executor, control=self._control)
        return Team(n_procs=job.n_workers, kind=kind_for([plan], job.workers), debug=job.debug, control=self._control)

    def _all_planned(self, log: JobLog) -> Iterator[_Planned]:
        for job in self._cubes():
            if self._control.state == "ending":
                return
            if job is None:  # none is there yet
                continue
            log.restart("")
            planned: _Planned | None = None
            with self._failure_noted(job.cube):
                planned = self._plan(job, log)
            if planned is not None:
                yield planned

    def _plan(self, job: "PipelineJob", log: JobLog) -> _Planned | None:
        """Plan one cube; None if its result exists already."""
        plan = job.plan()
        path = plan.source.path
        if (other := self._targets.setdefault(plan.target, path)) != path:
            text = f"{path} and {other} would both become {plan.target}: process them into two folders"
            raise JobError(text, path=str(path))
        if plan.job.output == "envi":
            finish_envi(plan.target)
        found = existing_result(plan)
        account = self._account.add(plan)
        if found is None:
            return _Planned(plan, account, log.text)
        logger.info("%s exists already, of the same job: %s is skipped", found.path, path)
        with suppress(SaveError):  # a run that lives removes its own
            Journal.discard(plan.target, plan.ppid_hash, tmp_suffix=self._tmp_suffix)
        self.results[path] = with_preview(found, plan)
        account.is_done = True
        return None

    def _process(self, planned: _Planned, team: Any, log: JobLog, *, is_first: bool, is_last: bool) -> None:
        plan, account, text = planned
        log.restart(text)
        if self._resume:
            plan = with_blocks_of(plan, tmp_suffix=self._tmp_suffix)

        def working(n_resumed: int) -> Progress:
            self.phase = "processing"
            return self._account.begin_cube(account, n_resumed)

        def publishing() -> None:
            self.phase = "publishing"

        run = CubeRun(
            plan=plan,
            log=log,
            tmp_suffix=self._tmp_suffix,
            resume=self._resume,
            is_first=is_first,
            is_last=is_last,
            working=working,
            publishing=publishing,
        )
        with self._failure_noted(plan.source.path, account):
            self.results[plan.source.path] = run.run(team)
            account.is_done = True

    @contextmanager
    def _failure_noted(self, path: Path, account: CubeAccount | None = None) -> Iterator[None]:
        """Of several cubes, the others are processed."""
        try:
            yield
        except Exception as error:
            if account is None:
                self._account.add_failed()
            else:
                account.is_failed = True
            self.failures[path] = error
            if self.is_of_one or self._control.state == "ending":
                raise
            logger.info("failed: %s", _named(path, error))

    def _raise_failures(self) -> None:
        if not self.failures:
            return
        named = [_named(path, error) for path, error in list(self.failures.items())[:MAX_NAMED]]
        named += [f"and {len(self.failures) - MAX_NAMED} more"] if len(self.failures) > MAX_NAMED else []
        n_all = len(self.failures) + len(self.results)
        error = JobError("\n".join([f"{len(self.failures)} of {n_all} cubes failed:", *named]))
        raise error from next(iter(self.failures.values()))


def _named(path: Path, error: Exception) -> str:
    """The error with the cube that it is of."""
    text = str(error) or type(error).__name__
    return text if str(path) in text else f"{path}: {text}"
