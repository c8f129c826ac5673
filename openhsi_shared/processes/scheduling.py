"""Scheduling of the thread that captures: in real time while it does, on request, with a limit.

A thread in real time (SCHED_FIFO) preempts every ordinary one. A thread or process that it starts is an ordinary one,
with the niceness of the process (SCHED_RESET_ON_FORK). One that no longer waits would take its processor from all
others: after `RUNAWAY_S` of processor time without a wait the kernel sends SIGXCPU, upon which it becomes ordinary, and
after `KILL_S` it kills the process (RLIMIT_RTTIME). See sched(7), getrlimit(2).
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from openhsi_shared.errors import ArgumentError, RealTimeRefused
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.time_slices import CAPTURE_US, slice_for_a_while

__all__ = ["PRIORITY", "CaptureScheduling", "scheduling_of"]

logger = safe_logger(__name__)

PRIORITY = 10
"""Above all ordinary threads, below those of the kernel that serve interrupts (50)."""
RUNAWAY_S, KILL_S = 2.0, 5.0
SWITCH_INTERVAL_S = 0.0005
"""How long another thread may hold the interpreter's lock while the thread that captures waits; Python's is 5 ms."""
WAYS = (
    f"allow it by a limit (`@video - rtprio {PRIORITY}` in /etc/security/limits.d), by LimitRTPRIO={PRIORITY} in the "
    f"unit of systemd, or for a container by --cap-add=SYS_NICE or --ulimit rtprio={PRIORITY}; see docs/platforms.md; "
    "or leave realtime out"
)


class _ShortSwitches:
    """The interval after which a thread gives the interpreter's lock to one that waits for it, of this process."""

    def __init__(self) -> None:
        self._changing = threading.RLock()  # a signal handler may collect, too
        self._n_users, self._before = 0, 0.0

    @contextmanager
    def for_a_while(self) -> Iterator[None]:
        """Shorten it in the block; several threads may be in one."""
        with self._changing:
            if self._n_users == 0:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, SWITCH_INTERVAL_S))
            self._n_users += 1
        try:
            yield
        finally:
            with self._changing:
                self._n_users -= 1
                if self._n_users == 0:
                    sys.setswitchinterval(self._before)


class _Limits:
    """RLIMIT_RTTIME of this process while any of its threads is in real time."""

    def __init__(self) -> None:
        self._changing = threading.RLock()
        self._n_users, self._before = 0, (0, 0)

    @contextmanager
    def for_a_while(self, has_handler: bool) -> Iterator[None]:
        """Limit it in the block; several threads may be in one. `has_handler`: SIGXCPU does not end the process now."""
        from resource import RLIMIT_RTTIME, getrlimit, setrlimit

        with self._changing:
            soft, hard = getrlimit(RLIMIT_RTTIME)
            if self._n_users == 0:
                self._before = soft, hard
            self._n_users += 1
            setrlimit(RLIMIT_RTTIME, (_lower(soft, RUNAWAY_S if has_handler else KILL_S), _lower(hard, KILL_S)))
        try:
            yield
        finally:
            with self._changing:
                self._n_users -= 1
                soft, hard = self._before
                try:
                    if self._n_users == 0:
                        setrlimit(RLIMIT_RTTIME, self._before)
                    elif has_handler:  # for the others, which have none
                        setrlimit(RLIMIT_RTTIME, (_lower(soft, KILL_S), _lower(hard, KILL_S)))
                except ValueError:  # only root may raise the hard one again
                    hard = getrlimit(RLIMIT_RTTIME)[1]
                    setrlimit(RLIMIT_RTTIME, (_lower(soft, hard / 1e6), hard))


_short_switches, _limits = _ShortSwitches(), _Limits()


class CaptureScheduling:
    """Real-time scheduling of the threads that capture with one camera, if it `is_wanted`."""

    def __init__(self, is_wanted: bool) -> None:
        """Try it at once. RealTimeRefused if the system refuses it, ArgumentError if it is no bool."""
        if not isinstance(is_wanted, bool):
            raise ArgumentError(f"realtime must be True or False, got {is_wanted!r}")
        self._is_wanted = is_wanted
        self._thread_id: int | None = None
        self._has_run_away = False
        if is_wanted:
            with _real_time():
                pass

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Schedule the thread, which captures in the block. RealTimeRefused if the system refuses it now.

        Without real time, it has a short time slice, and other threads of this process hand it the interpreter's lock
        sooner.
        """
        self._thread_id = threading.get_native_id()
        with _short_switches.for_a_while(), slice_for_a_while(CAPTURE_US):
            if not self._is_wanted or self._has_run_away:
                yield
                return
            with self._limited(self._thread_id), _real_time():
                yield

    @contextmanager
    def _limited(self, thread_id: int) -> Iterator[None]:
        """Set the limits. A thread other than the main one can have no handler: SIGXCPU would end the process."""

        def run_away(_number: int, _frame: object) -> None:
            self._has_run_away = True
            with suppress(ProcessLookupError):
                _schedule(thread_id, os.SCHED_OTHER, 0)
            logger.error(
                "real-time scheduling was ended: the capturing thread ran for %.0f s without a wait: frames arrive "
                "faster than they are processed, or the camera waits in a loop",
                RUNAWAY_S,
            )

        is_main = threading.current_thread() is threading.main_thread()
        handles = is_main and signal.getsignal(signal.SIGXCPU) is signal.SIG_DFL
        if handles:
            signal.signal(signal.SIGXCPU, run_away)
        try:
            with _limits.for_a_while(has_handler=handles):
                yield
        finally:
            if handles:
                signal.signal(signal.SIGXCPU, signal.SIG_DFL)

    def in_words(self) -> str:
        """How the thread that captures is scheduled now, or if there is none yet, this process."""
        now = scheduling_of(self._thread_id or os.getpid()) or scheduling_of(os.getpid())
        if self._has_run_away:
            return f"{now}, real time ended: it ran for {RUNAWAY_S:.0f} s without a wait"
        return f"{now}, real time while it collects" if self._is_wanted and "FIFO" not in now else now


def scheduling_of(thread_id: int | None) -> str:
    """Scheduling of a thread, or of a process's main thread, in words; empty if it does not exist."""
    if not hasattr(os, "getpriority") or thread_id is None:
        return ""
    try:
        niceness = f"niceness {os.getpriority(os.PRIO_PROCESS, thread_id)}"
        if sys.platform != "linux":
            return niceness
        policy = os.sched_getscheduler(thread_id) & ~os.SCHED_RESET_ON_FORK
        priority = os.sched_getparam(thread_id).sched_priority
    except OSError:
        return ""
    names = {os.SCHED_FIFO: "SCHED_FIFO", os.SCHED_RR: "SCHED_RR"}
    if policy in names:
        return f"real time ({names[policy]} {priority})"
    return f"{niceness}, SCHED_BATCH" if policy == os.SCHED_BATCH else niceness


@contextmanager
def _real_time() -> Iterator[None]:
    """Schedule this thread in real time, unless it is already. RealTimeRefused."""
    if sys.platform != "linux":
        raise RealTimeRefused(f"realtime=True needs Linux, this is {sys.platform}: leave realtime out")
    policy = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
    if policy not in (os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_IDLE):
        yield
        return
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
    except OSError as error:
        raise RealTimeRefused(
            f"realtime=True: the system refuses SCHED_FIFO with priority {PRIORITY} ({error.strerror}): {WAYS}"
        ) from error
    try:
        yield
    finally:
        _schedule(0, policy, 0)


def _schedule(thread_id: int, policy: int, priority: int) -> None:
    """Set the scheduling of a thread. Only root may clear the flag SCHED_RESET_ON_FORK again."""
    try:
        os.sched_setscheduler(thread_id, policy, os.sched_param(priority))
    except PermissionError:
        os.sched_setscheduler(thread_id, policy | os.SCHED_RESET_ON_FORK, os.sched_param(priority))


def _lower(limit_us: int, seconds: float) -> int:
    """The lower one of a limit in us, of which -1 is none, and `seconds`."""
    wanted = int(seconds * 1e6)
    return wanted if limit_us < 0 else min(limit_us, wanted)
