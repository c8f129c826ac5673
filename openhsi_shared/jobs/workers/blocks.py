"""Blocks of lines, each with one state, whose lines are reserved in ranges.

A block gets a place in memory when it is begun, in the order of lines, passes the stages one after the other, and gives
its place back at the end::

    free place ──▶ process ──▶ write ──▶ free place

The worker that finishes the last lines of a stage moves the block on, under the lock that all share. If writing is
slow, no place is free, and nothing more is read.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager

from openhsi_shared.errors import ArgumentError
from openhsi_shared.jobs.workers.control import Control
from openhsi_shared.jobs.workers.progress import Progress

__all__ = ["STAGES", "Block", "BlockRegister"]

STAGES = ("process", "write")
"""Processing begins with reading."""


Reserved = tuple["Block", int, int]


class Block:
    """Lines of a cube in one place of memory, at one stage. Changed by its register only."""

    def __init__(self, number: int, place: int) -> None:
        self.number = number
        """In the order of lines, from 0 on."""
        self.place = place
        self.stage = ""
        """It does not change while lines are reserved."""
        self.n_left = 0
        """Lines that are not done in this stage."""
        self._free: deque[tuple[int, int]] = deque()
        self._deaths: Counter[int] = Counter()

    def __repr__(self) -> str:
        return f"<Block {self.number} in place {self.place}: {self.stage}, {self.n_left} lines left>"

    def enter(self, stage: str, n_lines: int) -> None:
        """Begin a stage: all its lines are free."""
        self.stage, self.n_left = stage, n_lines
        self._free, self._deaths = deque([(0, n_lines)]), Counter()

    @property
    def has_free_lines(self) -> bool:
        """Whether there are lines to reserve."""
        return bool(self._free)

    def take(self, n: int | None) -> tuple[int, int]:
        """Reserve the first free lines, at most `n`."""
        first, stop = self._free.popleft()
        if n is not None and first + n < stop:
            self._free.appendleft((first + n, stop))
            stop = first + n
        return first, stop

    def give_back(self, first: int, stop: int) -> None:
        """Free reserved lines: one by one if a worker died of them, so that the guilty line is found."""
        is_suspect = any(line in self._deaths for line in range(first, stop))
        pieces = [(line, line + 1) for line in range(first, stop)] if is_suspect else [(first, stop)]
        self._free.extendleft(reversed(pieces))

    def note_death(self, first: int, stop: int) -> int:
        """Count the death of a worker that had reserved these lines; returns how many died of the worst of them."""
        self._deaths.update(range(first, stop))
        return max(self._deaths[line] for line in range(first, stop))


class BlockRegister:
    """All blocks of one cube, in the order of lines. Thread-safe."""

    def __init__(
        self,
        lengths: Sequence[Sequence[int]],
        n_places: int,
        control: Control,
        progress: Progress,
        *,
        stages: Sequence[str] = STAGES,
        whole: Sequence[str] = ("write",),
        in_order: Sequence[str] = (),
        skip: Container[int] = (),
    ) -> None:
        """`lengths`: for each block, the lines of each of the `stages`. At most `n_places` are in memory at a time.

        Blocks with a number in `skip` are done already. Lines of a stage in `whole` are reserved all at once; blocks
        pass a stage in `in_order`, which is in `whole`, too, one after the other in the order of lines.
        """
        if n_places < 1:
            raise ArgumentError(f"n_blocks must be 1 or more, got {n_places}")
        self._lengths, self._stages, self.n_places = lengths, tuple(stages), n_places
        self._whole, self._in_order = frozenset(whole), frozenset(in_order)
        self._control, self._changed, self._progress = control, control.changed, progress
        self._waiting = deque(number for number in range(len(lengths)) if number not in skip)
        self._active: dict[int, Block] = {}  # ordered by number: they begin in that order
        self._places = list(range(n_places))[::-1]  # the last one used is used next: its pages are in the caches
        self._reserved: dict[object, tuple[Block, int, int, float]] = {}
        self.error: BaseException | None = None
        """Why no more lines are reserved; None without a failure."""
        self._count()
        for stage in self._stages:
            progress.seconds.setdefault(stage, 0.0)

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[Block]:
        """Iterate over the blocks in memory, in the order of lines."""
        with self._changed:
            return iter(list(self._active.values()))

    @property
    def is_done(self) -> bool:
        """Whether all blocks have passed all stages."""
        return not self._waiting and not self._active

    @property
    def is_ended(self) -> bool:
        """Whether no more lines are reserved: all is done, or something failed, or the job is stopped."""
        return self.is_done or self.error is not None or self._control.state == "ending"

    def get_time(self, stage: str) -> float:
        """Seconds that all workers together have spent in a stage."""
        return self._progress.seconds[stage]

    # ---- for workers ----

    @contextmanager
    def reserve(self, *stages: str, n: int | None = None) -> Iterator[Reserved | None]:
        """Reserve lines of a block, at most `n`, for the first of these stages that has some; blocks until one has.

        Gives the block, its first line and the one behind its last, or None when there is nothing left to do. They are
        done after the `with`; if its body raises, they are free again.
        """
        token = self._reserve(stages, n)
        if token is None:
            yield None
            return
        is_done = False
        try:
            yield self._reserved[token][:3]
            is_done = True
        finally:
            with self._changed:
                self._release(*self._reserved.pop(token), is_done)

    def note_death(self, block: Block, first: int, stop: int) -> int:
        """Count the death of a worker that worked on reserved lines; returns how many died of the worst of them.

        If they are given back, they are reserved one by one from now on.
        """
        with self._changed:
            return block.note_death(first, stop)

    def leave_out(self, block: Block, first: int, seconds: float) -> None:
        """Do not count some of the time spent on reserved lines: it was spent on something else."""
        with self._changed:
            for token, (other, begin, stop, since) in self._reserved.items():
                if other is block and begin == first:
                    self._reserved[token] = other, begin, stop, since + seconds

    def fail(self, error: BaseException) -> None:
        """Reserve nothing from now on. The first error is kept."""
        with self._changed:
            self.error = self.error or error
            self._changed.notify_all()

    def _reserve(self, stages: Sequence[str], n: int | None) -> object | None:
        with self._changed:
            while not self.is_ended:
                if self._control.state == "working" and (block := self._find(stages)) is not None:
                    first, stop = block.take(None if block.stage in self._whole else n)
                    self._reserved[token := object()] = block, first, stop, time.monotonic()
                    self._count()
                    return token
                self._changed.wait()
        return None

    def _find(self, stages: Sequence[str]) -> Block | None:
        """The first block with free lines for the first of these stages."""
        for stage in stages:
            for block in self._active.values():
                if block.stage == stage and block.has_free_lines:
                    return block
                if stage in self._in_order:
                    break
            if stage == self._stages[0] and self._places and self._waiting:
                block = Block(self._waiting.popleft(), self._places.pop())
                block.enter(stage, self._lengths[block.number][0])
                self._active[block.number] = block
                return block
        return None

    def _release(self, block: Block, first: int, stop: int, since: float, is_done: bool) -> None:
        self._progress.seconds[block.stage] += time.monotonic() - since
        if is_done:
            block.n_left -= stop - first
            if block.n_left == 0:
                self._move_on(block)
        else:
            block.give_back(first, stop)
        self._count()
        self._changed.notify_all()

    def _move_on(self, block: Block) -> None:
        at = self._stages.index(block.stage) + 1
        if at < len(self._stages):
            block.enter(self._stages[at], self._lengths[block.number][at])
        else:
            del self._active[block.number]
            self._places.append(block.place)

    def _count(self) -> None:
        found = Counter(block.stage for block in self._active.values())
        self._progress.blocks = {stage: found[stage] for stage in self._stages} | {"free": len(self._places)}

    # ---- for the thread that waits for them ----

    def wait(self, patience_s: float, stages: Container[str] = STAGES) -> Reserved | None:
        """Block until nothing is left to do, or something failed, or the job is stopped.

        Returns what has been reserved for longer than `patience_s` for one of these stages, as soon as there is such.
        """
        with self._changed:
            while not self.is_ended:
                watched = [found for found in self._reserved.values() if found[0].stage in stages]
                oldest = min(watched, key=lambda found: found[3], default=None)
                left = patience_s if oldest is None else oldest[3] + patience_s - time.monotonic()
                if oldest is not None and left <= 0:
                    return oldest[:3]
                self._changed.wait(min(left, threading.TIMEOUT_MAX))
        return None

    def wait_released(self, timeout_s: float, stages: Container[str] | None = None) -> bool:
        """Block until nothing is reserved, or nothing for these stages; False at the timeout."""

        def is_released() -> bool:
            return not any(stages is None or found[0].stage in stages for found in self._reserved.values())

        with self._changed:
            return self._changed.wait_for(is_released, timeout_s)
