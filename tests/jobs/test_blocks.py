"""Lines of blocks are reserved and done once, in any order of completion, and their blocks move on exactly once."""

import threading
from contextlib import ExitStack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from openhsi_shared.errors import ArgumentError
from openhsi_shared.jobs.workers.blocks import STAGES, BlockRegister
from openhsi_shared.jobs.workers.control import Control
from openhsi_shared.jobs.workers.progress import Progress
from tests.support.helpers import wait_for


class _Failed(Exception):
    pass


class Register(RuleBasedStateMachine):
    """A register beside a model that knows of each block its stage and the lines that are free, reserved, done."""

    @initialize(
        lengths=st.lists(st.tuples(*[st.integers(1, 4)] * 2), max_size=6),
        n_places=st.integers(1, 3),
        is_ordered=st.booleans(),
        data=st.data(),
    )
    def begin(self, lengths, n_places, is_ordered, data):
        self.skip = data.draw(st.sets(st.sampled_from(range(len(lengths))))) if lengths else set()
        in_order = ("write",) if is_ordered else ()
        self.progress = Progress()
        self.register = BlockRegister(lengths, n_places, Control(), self.progress, in_order=in_order, skip=self.skip)
        self.lengths, self.n_places, self.is_ordered = lengths, n_places, is_ordered
        self.waiting = [number for number in range(len(lengths)) if number not in self.skip]
        self.active = {}  # number -> [stage, free lines, lines that are not done]
        self.suspects = set()  # (number, stage, line)
        self.open = []  # (manager, number, stage, lines)
        self.done = []  # (number, stage, line)

    def blocks_with_work(self, stage):
        found = [number for number, (at, free, _) in self.active.items() if STAGES[at] == stage and free]
        if stage == "write" and self.is_ordered:
            found = [number for number in found if number == min(self.active)]
        if not found and stage == "process" and self.waiting and len(self.active) < self.n_places:
            found = [self.waiting[0]]
        return found

    @rule(stages=st.permutations(STAGES), n_stages=st.integers(1, 2), n=st.none() | st.integers(1, 3))
    def reserve(self, stages, n_stages, n):
        possible = [(stage, self.blocks_with_work(stage)) for stage in stages[:n_stages]]
        expected = next(((stage, min(found)) for stage, found in possible if found), None)
        if expected is None and self.waiting + list(self.active):
            return  # it would block
        manager = self.register.reserve(*stages[:n_stages], n=n)
        reserved = manager.__enter__()
        if expected is None:
            assert reserved is None
            return
        block, first, stop = reserved
        assert (block.stage, block.number) == expected
        if block.number in self.waiting:
            self.waiting.remove(block.number)
            self.active[block.number] = [0, set(range(self.lengths[block.number][0])), self.lengths[block.number][0]]
        lines = set(range(first, stop))
        assert lines
        assert lines <= self.active[block.number][1]
        if block.stage == "write":
            assert self.suspects or len(lines) == self.lengths[block.number][1]
        elif n is not None:
            assert len(lines) <= n
        if len(lines) > 1:
            assert not any((block.number, block.stage, line) in self.suspects for line in lines)
        self.active[block.number][1] -= lines
        self.open.append((manager, block, lines))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def complete(self, data):
        manager, block, lines = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        number, state = block.number, self.active[block.number]
        self.done += [(number, block.stage, line) for line in lines]
        manager.__exit__(None, None, None)
        state[2] -= len(lines)
        if state[2] == 0:
            state[0] += 1
            if state[0] == len(STAGES):
                del self.active[number]
            else:
                state[2] = self.lengths[number][state[0]]
                state[1] = set(range(state[2]))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), dies=st.booleans())
    def fail(self, data, dies):
        manager, block, lines = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        if dies:
            self.register.note_death(block, min(lines), max(lines) + 1)
            self.suspects |= {(block.number, block.stage, line) for line in lines}
        assert not manager.__exit__(_Failed, _Failed(), None)  # raised again
        self.active[block.number][1] |= lines

    @invariant()
    def agrees(self):
        if not hasattr(self, "register"):
            return
        assert [block.number for block in self.register] == sorted(self.active)
        assert [STAGES.index(block.stage) for block in self.register] == [at for at, _, _ in self.active.values()]
        assert len({block.place for block in self.register}) == len(self.active) <= self.n_places
        assert self.progress.blocks["free"] == self.n_places - len(self.active)
        assert self.register.is_done == (not self.active and not self.waiting)
        assert len(self.done) == len(set(self.done))
        if self.register.is_done:
            expected = {
                (number, stage, line)
                for number in range(len(self.lengths))
                if number not in self.skip
                for stage, length in zip(STAGES, self.lengths[number], strict=True)
                for line in range(length)
            }
            assert set(self.done) == expected

    def teardown(self):
        for manager, _, _ in getattr(self, "open", []):
            manager.__exit__(None, None, None)


TestRegister = Register.TestCase
TestRegister.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


def register_of(n_blocks, n_places, control=None, **how):
    return BlockRegister([(2, 2)] * n_blocks, n_places, control or Control(), Progress(), **how)


def taken_in_thread(register, *stages):
    """What a thread that waits for work was given, as soon as it has it."""
    found = []

    def work():
        with register.reserve(*stages) as reserved:
            found.append(reserved)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return found, thread


def test_reading_waits_while_all_places_are_full():
    register = register_of(2, 1)
    with ExitStack() as stack:
        block, *_ = stack.enter_context(register.reserve("process"))
        found, thread = taken_in_thread(register, "process")
        stack.close()
        assert stack.enter_context(register.reserve("write"))[0] is block
        assert not found
    thread.join(60)
    assert found[0][0].number == 1
    assert found[0][0].place == 0


@pytest.mark.parametrize("how", ["fail", "stop"])
def test_who_waits_is_released_when_the_job_ends(how):
    control = Control()
    register = register_of(1, 1, control)
    with register.reserve("process"):
        found, thread = taken_in_thread(register, "write")
        register.fail(ValueError()) if how == "fail" else control.stop()
        thread.join(60)
    assert found == [None]
    assert register.is_ended


def test_nothing_begins_during_a_pause():
    control = Control()
    register = register_of(1, 1, control)
    control.pause()
    found, thread = taken_in_thread(register, "process")
    assert control.state == "paused"
    assert not found
    assert not list(register)
    control.resume()
    thread.join(60)
    assert found[0][1:] == (0, 2)


def test_what_takes_too_long_is_found():
    register = register_of(2, 2)
    with register.reserve("process") as reserved:
        assert register.wait(0.01) == reserved
        assert not register.wait_released(0.01)
    assert register.wait_released(0.01)


def test_the_end_is_waited_for():
    register = register_of(1, 1)
    waited = threading.Thread(target=register.wait, args=(60,), daemon=True)
    waited.start()
    for stage in STAGES:
        assert waited.is_alive()
        with register.reserve(stage):
            pass
    wait_for(lambda: not waited.is_alive())
    assert register.get_time("process") > 0


def test_no_place_at_all_is_refused():
    with pytest.raises(ArgumentError, match="n_blocks must be 1 or more, got 0"):
        register_of(1, 0)
