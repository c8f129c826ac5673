"""A model checker of the slot protocol: the real slot owner, with processes that can die at each step.

The model contains a real `SlotOwner`, a capture loop, a writer (and optionally a standby writer), two readers, a user
and a disk, each as a few steps in any order. Each reachable state is visited once. Checked in each: no process reads
another cube than the one that it was given, no cube is published twice or mixed, no committed cube is lost, and an end
state is reachable, in which every slot is free.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from openhsi_shared.buffers.discarded_cubes import place_of
from openhsi_shared.buffers.lease import Lease
from openhsi_shared.buffers.slot_memory import SlotState, Word
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.errors import IllegalMove
from tests.support.slots import owner_of, put

__all__ = ["Explorer", "Sizes", "Violation"]

FREE, FILLING, FULL, SAVING, HELD, LENT = SlotState


class Violation(AssertionError):
    """The model found a forbidden state; its text contains the history."""


class Read(NamedTuple):
    """A slot that is being read, and the cube that the reader expects in it."""

    slot: int
    cube: int
    lease: Lease | None


class Line(NamedTuple):
    """A line in progress: where its bytes are."""

    slot: int
    cube: int
    at: int


class Writer(NamedTuple):
    """A writer process: its queued requests, and the current one."""

    name: str
    orders: tuple[tuple[int, int], ...] = ()
    at: Read | None = None
    published: bool = False
    """The current cube is published, and the reply is not sent."""
    is_hung: bool = False


FIRST = Writer("writer 1")


class State(NamedTuple):
    """Everything that is not in the slot owner."""

    slot: int | None = None
    n_begun: int = 0
    """Cubes begun so far."""
    writer: Writer | None = FIRST
    hung: tuple[Writer, ...] = ()
    n_deaths: int = 0
    n_failures: int = 0
    n_discards: int = 0
    readers: tuple[Read | None, ...] = (None, None)
    n_leases: tuple[int, ...] = (0, 0)
    analysis: tuple[Read, ...] | None = None
    """What it was lent, in order; None without one, or after its death."""
    has_died: bool = False
    """The analysis."""
    line: Line | None = None
    n_nested: int = 0
    """Calls within lines."""
    is_save_deferred: bool = False
    main: str = "alive"
    disk: frozenset[int] = frozenset()
    discarded: frozenset[int] = frozenset()
    recycled: frozenset[int] = frozenset()


class Sizes(NamedTuple):
    """Limits of one history."""

    n_slots: int = 2
    n_cubes: int = 3
    n_deaths: int = 1
    n_failures: int = 1
    n_readers: int = 2
    n_leases: int = 1
    """Of each reader."""
    main_dies: bool = True
    stands_by: bool = False
    retains: bool = False
    """FULL cubes can stay unsaved, and be recycled."""
    analysis: str = ""
    """"lossless", or "yields": its leases are taken back when no slot is free."""
    n_nested: int = 0
    """Calls of `save` and `put` in the same thread within a line, the second one of its cube."""


Snapshot = tuple[bytes, frozenset[Lease], int, Any, Any, bytes, bytes]
Step = tuple[str, Callable[[State], State | None]]
Found = list[tuple[str, int | None]]
"""Of each state the step that led to it first, and the number of the state before."""


class Explorer:
    """Visits every state of one size."""

    defers_saves = True
    """A `save` within a line takes effect at its end, as `LineTurn` makes it."""
    refuses_puts = True
    """A `put` within a line is refused."""

    def __init__(self, sizes: Sizes, make: Callable[..., SlotOwner] = owner_of) -> None:
        self.sizes = sizes
        self.slots = make(n_slots=sizes.n_slots, n_lines=4 if sizes.n_nested else 1)
        sets = [8 * place_of(slot) for slot in range(-2, sizes.n_slots)]
        arrays = {name: memoryview(array).cast("B") for name, array in self.slots.memory.arrays.items()}
        self._words = arrays["words"]
        self._pieces = [arrays["column frame_id"][:256], arrays["discarded"][:8]]
        self._pieces += [arrays["discarded"][begin : begin + 8 * 5] for begin in sets]  # one range at most
        """Bytes that change besides the words."""
        self.n_states = 0
        self.moves: set[str] = set()

    # ---- snapshots of the real owner ----

    def _save(self) -> Snapshot:
        slots = self.slots
        return (
            bytes(self._words),
            frozenset(slots._leases),
            slots._n_cubes,
            frozenset(slots._standing.items()),
            (slots._marks._from_ns, slots._marks._until_ns, *slots._marks._kept.items()),
            *map(bytes, self._pieces),
        )

    def _restore(self, snapshot: Snapshot) -> None:
        words, leases, n_cubes, standing, (from_ns, until_ns, *kept), *more = snapshot
        slots = self.slots
        self._words[:] = words
        for piece, content in zip(self._pieces, more, strict=True):
            piece[:] = content
        slots._leases, slots._n_cubes, slots._standing = set(leases), n_cubes, dict(standing)
        slots._marks._from_ns, slots._marks._until_ns, slots._marks._kept = from_ns, until_ns, dict(kept)

    @staticmethod
    def _key(state: State, snapshot: Snapshot) -> Any:
        words, leases, *rest = snapshot
        return state, words, frozenset((lease.reader, lease.slot, lease.cube) for lease in leases), *rest

    # ---- the search ----

    def explore(self) -> None:
        """Visit every state. Violation, with the history, at the first forbidden state."""
        if self.sizes.analysis:
            self.slots.lend_each("analysis", yields=self.sizes.analysis == "yields")
        start = (State(analysis=() if self.sizes.analysis else None), self._save())
        numbers = {self._key(*start): 0}
        found: Found = [("", None)]
        before: list[list[int]] = [[]]
        todo, ends = [(0, start)], []
        while todo:
            at, (state, snapshot) = todo.pop()
            is_end = True
            self._restore(snapshot)
            for name, step in self._steps(state):
                try:
                    following = step(state)
                except (IllegalMove, Violation) as error:
                    raise Violation(f"{error}\n{self._history(found, at)} -> {name}") from error
                if following is None:
                    if self._save() != snapshot:
                        raise Violation(f"what was not done has changed slots\n{self._history(found, at)} -> {name}")
                    continue
                is_end = False
                self.moves.add(name.split()[0])
                next_snapshot = self._save()
                number = numbers.setdefault(self._key(following, next_snapshot), len(found))
                if number == len(found):
                    found.append((name, at))
                    before.append([])
                    self._check(following, found, number)
                    todo.append((number, (following, next_snapshot)))
                before[number].append(at)
                self._restore(snapshot)
            if is_end:
                ends.append(at)
                self._check_end(state, found, at)
        self.n_states = len(found)
        self._check_that_ends_are_reached(before, ends, found)

    @staticmethod
    def _history(found: Found, number: int) -> str:
        names, at = [], number
        while at is not None:
            name, at = found[at]
            names.append(name)
        return " -> ".join(reversed(names))

    def _check(self, state: State, found: Found, number: int) -> None:
        """Every process reads its own cube, and no committed cube is lost."""
        processes = [w.at for w in (state.writer, *state.hung) if w is not None and w.at]
        reads = state.analysis or () if self.sizes.analysis == "lossless" else ()  # one that yields looks afterwards
        for read in [*processes, *(read for read in state.readers if read), *reads]:
            if self.slots.word(read.slot, Word.CUBE) != read.cube:
                raise Violation(f"a reader of cube {read.cube} reads another one\n{self._history(found, number)}")
        states = {slot: self.slots.state(slot) for slot in range(self.sizes.n_slots)}
        if list(states.values()).count(FILLING) > 1:
            raise Violation(f"two slots are filled\n{self._history(found, number)}")
        in_memory = {self.slots.word(slot, Word.CUBE) for slot, its in states.items() if its not in (FREE, LENT)}
        expected = set(range(1, state.n_begun + 1))
        lost = expected - in_memory - state.disk - state.discarded - state.recycled
        if lost:
            raise Violation(f"cubes {lost} are lost\n{self._history(found, number)}")

    def _check_end(self, state: State, found: Found, number: int) -> None:
        """In an end state every cube is on the disk or discarded, and all slots are free."""
        expected = set(range(1, state.n_begun + 1))
        if expected != state.disk | state.discarded | state.recycled:
            raise Violation(f"in the end {expected - state.disk} are in no file\n{self._history(found, number)}")
        if state.main == "alive" and any(self.slots.state(s) is not FREE for s in range(self.sizes.n_slots)):
            raise Violation(f"in the end a slot is not free\n{self._history(found, number)}")

    def _check_that_ends_are_reached(self, before: list[list[int]], ends: list[int], found: Found) -> None:
        good, todo = set(ends), list(ends)
        while todo:
            for number in before[todo.pop()]:
                if number not in good:
                    good.add(number)
                    todo.append(number)
        without_end = set(range(len(found))) - good
        if without_end:
            raise Violation(
                f"no end is reachable from {len(without_end)} states\n{self._history(found, without_end.pop())}"
            )

    # ---- possible steps ----

    def _steps(self, state: State) -> Iterator[Step]:
        if state.main == "alive":
            yield from self._steps_of_main(state)
            for number in range(self.sizes.n_readers):
                yield from self._steps_of_reader(state, number)
            if state.analysis:
                yield "analysis-releases", self._analysis_releases
                yield "analysis-dies", self._analysis_dies
            if self.sizes.main_dies and state.n_begun == self.sizes.n_cubes:  # the latest time has the most cases
                yield "main-dies", lambda s: s._replace(main="dead", readers=(None, None), analysis=None)
        yield from self._steps_of_writer(state)
        for number in range(len(state.hung)):
            yield f"exit-of-hung {number}", lambda s, number=number: self._exit_of_hung(s, number)

    def _steps_of_main(self, state: State) -> Iterator[Step]:
        if state.line is not None:  # the thread is at it: what else it does comes from a call within the line
            yield "commit-line", self._commit_line
            if state.n_nested < self.sizes.n_nested:
                yield "nested-save", self._nested_save
                yield "nested-put", self._nested_put
            return
        yield "begin", self._begin
        yield "begin-line", self._begin_line
        yield "close", self._close
        if self.sizes.retains:
            yield "recycle", self._recycle
        for slot in range(self.sizes.n_slots):
            yield f"save {slot}", lambda s, slot=slot: self._order(s, slot, FULL)
            yield f"retry {slot}", lambda s, slot=slot: self._order(s, slot, HELD)
            yield f"discard {slot}", lambda s, slot=slot: self._discard(s, slot)

    def _begin(self, state: State) -> State | None:
        if state.slot is not None or state.n_begun == self.sizes.n_cubes:
            return None
        slot = self.slots.begin(0)
        if slot is None:
            return None
        cube = self.slots.word(slot, Word.CUBE)
        put(self.slots, slot, cube)
        if state.analysis is not None:
            state = state._replace(analysis=(*state.analysis, Read(slot, cube, None)))
        return state._replace(slot=slot, n_begun=state.n_begun + 1)

    def _begin_line(self, state: State) -> State | None:
        if state.slot is None or not self.sizes.n_nested or self.slots.word(state.slot, Word.N_PUT) > 1:
            return None
        line = Line(state.slot, self.slots.word(state.slot, Word.CUBE), self.slots.word(state.slot, Word.N_PUT))
        self.slots.line_to_fill(line.slot)[...] = line.cube
        return state._replace(line=line)

    def _commit_line(self, state: State) -> State:
        """As the filler does it: into the slot that is being filled now."""
        line, slot = state.line, state.slot
        assert line is not None
        if slot is None or line != (slot, self.slots.word(slot, Word.CUBE), self.slots.word(slot, Word.N_PUT)):
            raise Violation("a line is committed where another one was begun")
        self.slots.commit(slot, 0, line.cube, 0, 0.0, 0)
        state = state._replace(line=None)
        return self._swap(state._replace(is_save_deferred=False)) if state.is_save_deferred else state

    def _nested_save(self, state: State) -> State | None:
        state = state._replace(n_nested=state.n_nested + 1)
        return state._replace(is_save_deferred=True) if self.defers_saves else self._swap(state)

    def _nested_put(self, state: State) -> State | None:
        if not self.refuses_puts:
            assert state.slot is not None
            put(self.slots, state.slot, self.slots.word(state.slot, Word.CUBE))
        return state._replace(n_nested=state.n_nested + 1)

    def _swap(self, state: State) -> State:
        closed = self._close(state)
        assert closed is not None
        return self._begin(closed) or closed

    def _close(self, state: State) -> State | None:
        if state.slot is None:
            return None
        self.slots.close(state.slot)
        return state._replace(slot=None)

    def _order(self, state: State, slot: int, wanted: SlotState) -> State | None:
        if self.slots.state(slot) is not wanted or state.writer is None:
            return None
        self.slots.save(slot)
        self.slots.lend(slot, state.writer.name)
        return self._send(state, slot)

    def _send(self, state: State, slot: int) -> State:
        writer = state.writer
        assert writer is not None
        order = (slot, self.slots.word(slot, Word.CUBE))
        return state._replace(writer=writer._replace(orders=(*writer.orders, order)))

    def _recycle(self, state: State) -> State | None:
        full = [self.slots.word(slot, Word.CUBE) for slot in self.slots.slots_in(FULL) if not self.slots.leases(slot)]
        slot = self.slots.recycle()
        if slot is None:
            return None
        if self.slots.word(slot, Word.CUBE) != full[0]:
            raise Violation("not the oldest cube was recycled")
        return state._replace(recycled=state.recycled | {full[0]})

    def _discard(self, state: State, slot: int) -> State | None:
        if self.slots.state(slot) is not HELD or state.n_discards:
            return None
        cube = self.slots.word(slot, Word.CUBE)
        self.slots.note_discarded(slot)
        self.slots.free(slot)
        return state._replace(discarded=state.discarded | {cube}, n_discards=1)

    # ---- readers ----

    def _steps_of_reader(self, state: State, number: int) -> Iterator[Step]:
        if state.readers[number] is None and state.n_leases[number] < self.sizes.n_leases:
            for slot in range(self.sizes.n_slots):
                yield f"lend {number} {slot}", lambda s, slot=slot: self._lend(s, number, slot)
        if state.readers[number] is not None:
            yield f"give-back {number}", lambda s: self._give_back(s, number)
            yield f"reader-dies {number}", lambda s: self._reader_dies(s, number)

    def _lend(self, state: State, number: int, slot: int) -> State | None:
        if self.slots.state(slot) not in (FILLING, FULL, SAVING, HELD):
            return None
        lease = self.slots.lend(slot, f"reader {number}")
        readers, n_leases = list(state.readers), list(state.n_leases)
        readers[number] = Read(slot, lease.cube, None)
        n_leases[number] += 1
        return state._replace(readers=tuple(readers), n_leases=tuple(n_leases))

    def _give_back(self, state: State, number: int) -> State:
        (lease,) = [lease for lease in self.slots.leases() if lease.reader == f"reader {number}"]
        self.slots.give_back(lease)
        return self._without_reader(state, number)

    def _reader_dies(self, state: State, number: int) -> State:
        self.slots.give_back_all(f"reader {number}")
        return self._without_reader(state, number)

    @staticmethod
    def _without_reader(state: State, number: int) -> State:
        return state._replace(readers=tuple(None if k == number else read for k, read in enumerate(state.readers)))

    def _analysis_releases(self, state: State) -> State | None:
        """It has processed all lines of its oldest cube, which is closed."""
        assert state.analysis
        first, *others = state.analysis
        if first.slot == state.slot and len(state.analysis) == 1:
            return None
        is_lent = self.slots.end_lease("analysis", first.slot, first.cube)
        if not is_lent and self.sizes.analysis == "lossless":
            raise Violation("a lease was taken back from a lossless analysis")
        return state._replace(analysis=tuple(others))

    def _analysis_dies(self, state: State) -> State:
        self.slots.give_back_all("analysis")
        return state._replace(analysis=None, has_died=True)

    # ---- writers ----

    def _steps_of_writer(self, state: State) -> Iterator[Step]:
        writer = state.writer
        if writer is None:
            if state.main == "dead" and self.sizes.stands_by:
                yield "standby-rescues", self._rescue
            return
        if writer.at is None and writer.orders:
            yield "take", self._take
        if writer.at is not None and not writer.published:
            yield "publish", self._publish
            if state.main == "alive" and state.n_failures < self.sizes.n_failures:
                yield "fail", self._fail
        if writer.published:
            yield "answer", self._answer
        if state.n_deaths < self.sizes.n_deaths and (writer.at is not None or writer.orders):
            if state.main == "alive" or self.sizes.stands_by:
                yield "writer-dies", self._writer_dies
            if state.main == "alive":
                yield "writer-hangs", self._writer_hangs
        if state.main == "dead" and writer.at is None and not writer.orders:
            yield "rescue", self._rescue

    def _take(self, state: State) -> State:
        writer = state.writer
        assert writer is not None
        (slot, cube), *rest = writer.orders
        return state._replace(writer=writer._replace(orders=tuple(rest), at=Read(slot, cube, None)))

    def _publish(self, state: State) -> State:
        """The file is published, unless one of the same uuid exists."""
        writer = state.writer
        assert writer is not None
        assert writer.at is not None
        return state._replace(writer=writer._replace(published=True), disk=state.disk | {self._content(writer.at.slot)})

    def _content(self, slot: int) -> int:
        """The cube whose pixels are in the slot."""
        return int(self.slots.column(slot, "frame_id")[0])

    def _answer(self, state: State) -> State:
        writer = state.writer
        assert writer is not None
        assert writer.at is not None
        slot = writer.at.slot
        idle = state._replace(writer=writer._replace(at=None, published=False))
        if state.main == "alive":
            self._end_lease_of(writer, slot)
            self.slots.free(slot)
        return idle

    def _fail(self, state: State) -> State:
        writer = state.writer
        assert writer is not None
        assert writer.at is not None
        self._end_lease_of(writer, writer.at.slot)
        self.slots.hold(writer.at.slot)
        return state._replace(writer=writer._replace(at=None), n_failures=state.n_failures + 1)

    def _end_lease_of(self, writer: Writer, slot: int) -> None:
        (lease,) = [lease for lease in self.slots.leases(slot) if lease.reader == writer.name]
        self.slots.give_back(lease)

    def _writer_dies(self, state: State) -> State:
        """A new writer gets the requests of the dead one."""
        dead = state.writer
        assert dead is not None
        if state.main == "dead":
            return state._replace(writer=None, n_deaths=state.n_deaths + 1)
        self.slots.give_back_all(dead.name)
        return self._take_over(state._replace(n_deaths=state.n_deaths + 1), dead)

    def _writer_hangs(self, state: State) -> State:
        """It cannot be killed, and keeps its leases."""
        hung = state.writer
        assert hung is not None
        aside = state._replace(hung=(*state.hung, hung._replace(is_hung=True)), n_deaths=state.n_deaths + 1)
        return self._take_over(aside, hung)

    def _take_over(self, state: State, before: Writer) -> State:
        cubes = [*([(before.at.slot, before.at.cube)] if before.at else []), *before.orders]
        state = state._replace(writer=Writer(f"writer {state.n_deaths + 1}"))
        for slot, _ in cubes:
            assert state.writer is not None
            self.slots.lend(slot, state.writer.name)
            state = self._send(state, slot)
        return state

    def _exit_of_hung(self, state: State, number: int) -> State:
        """The kernel lets it go: it may publish what it was at, or exit at once."""
        hung = state.hung[number]
        disk = state.disk
        if hung.at is not None:
            cube = self._content(hung.at.slot)
            if cube != hung.at.cube:
                raise Violation(f"a hung writer publishes cube {cube} as cube {hung.at.cube}")
            if cube not in state.discarded:
                disk |= {cube}
        if state.main == "alive":
            self.slots.give_back_all(hung.name)
        return state._replace(hung=tuple(w for k, w in enumerate(state.hung) if k != number), disk=disk)

    def _rescue(self, state: State) -> State | None:
        """The main process is dead: every cube that is still in memory is saved."""
        from openhsi_shared.writer.slot_cubes import slots_to_rescue

        cubes = {self._content(slot) for slot in slots_to_rescue(self.slots)}
        writer = state.writer or Writer("writer 2")
        if cubes <= state.disk and state.writer is None:
            return None
        return None if cubes <= state.disk else state._replace(disk=state.disk | cubes, writer=writer)
