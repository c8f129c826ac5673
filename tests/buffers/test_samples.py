"""Rings of samples: whole, counted, readable while they are filled, and after their process has died."""

import signal
import time

import pytest

from openhsi_shared.buffers.samples import Counts, SampleLayout, SampleMemory
from openhsi_shared.errors import ArgumentError
from openhsi_shared.matching.states import State
from openhsi_shared.processes.spawning import SPAWN, spawn
from tests.support.helpers import child, in_child, receive, wait_for
from tests.support.sampling import N_VALUES, check, die_in_put, fill, fill_in_grandchild, fill_some, sample


@pytest.fixture
def memory():
    return SampleMemory.allocate([SampleLayout("other", 1, 2), SampleLayout("a", N_VALUES, 64)])


def test_what_is_put_is_read(memory):
    ring, view = memory.ring("a"), memory.view("a")
    assert view.newest() is None
    assert len(view.snapshot()) == 0
    for k in range(10):
        ring.put(*sample(k))
    samples = view.snapshot()
    check(samples)
    assert (len(samples), samples.first_index, samples.counts) == (10, 0, Counts(10, 0, 0))
    assert view.newest() == sample(9)
    assert view.snapshot(newest=3).id.tolist() == [7, 8, 9]
    assert memory.view("other").newest() is None


def test_what_is_overwritten_is_counted(memory):
    ring, view = memory.ring("a"), memory.view("a")
    for k in range(1000):
        ring.put(*sample(k))
    samples = view.snapshot()
    check(samples)
    assert (len(samples), samples.first_index) == (64, 936)
    assert view.snapshot(newest=500).first_index == 936


def test_a_sample_that_cannot_be_stored_adds_nothing(memory):
    ring, view = memory.ring("a"), memory.view("a")
    ring.put(*sample(0))
    for wrong in ((0, 0, 0, 0, (1.0,)), (0, 0, 0, 0, ("text", 1.0, 2.0)), (2**63, 0, 0, 0, (1.0, 2.0, 3.0))):
        with pytest.raises(Exception, match=r".+"):
            ring.put(*wrong)
    ring.put(*sample(1))
    check(view.snapshot())
    assert view.counts == (2, 0, 0)


def test_refused_squashed_and_saved_samples_are_counted(memory):
    ring, view = memory.ring("a"), memory.view("a")
    ring.refuse()
    ring.refuse(3)
    ring.squash(5)
    assert view.counts == (0, 4, 5)
    assert view.saved() == (0, 0, 0)
    view.note_saved(view.counts)
    assert memory.view("a").saved() == (0, 4, 5)


def test_states_and_description_are_read_and_the_oldest_states_give_way(memory):
    ring, view = memory.ring("a"), memory.view("a")
    assert (view.state(), view.states(), view.description()) == (State.CONNECTING, (), {})
    for k in range(300):
        ring.note_state(k, State(k % 12))
    assert view.state() is State(299 % 12)
    assert view.states() == tuple((k, State(k % 12)) for k in range(44, 300))
    ring.describe({"unit": "µm", "flags": ["closed", "open"]})
    assert view.description() == {"unit": "µm", "flags": ["closed", "open"]}
    for wrong in ({"a": object()}, {"text": "x" * 4096}):
        with pytest.raises(ArgumentError, match="description"):
            ring.describe(wrong)
    assert view.snapshot().description["unit"] == "µm"


@pytest.mark.parametrize("sizes", [(0, 10), (1, 1), (1.5, 10), (True, 10)])
def test_a_layout_that_is_none_is_refused(sizes):
    with pytest.raises(ArgumentError, match="whole number"):
        SampleLayout("a", *sizes)


def test_a_reader_gets_no_torn_sample_from_a_process_at_full_speed(memory):
    view = memory.view("a")
    with child(fill, memory, "a") as (_, connection):
        receive(connection)
        n_read = n_overtaken = 0
        end = time.monotonic() + 0.5
        while time.monotonic() < end or n_read <= 1000:
            samples = view.snapshot()
            check(samples)
            n_read += len(samples)
            n_overtaken += samples.counts.delivered - samples.first_index > len(samples)
            assert all(state is State(time_ns // 250 % 2) for time_ns, state in samples.states)
            if (description := samples.description) and description:
                assert len(description["text"]) == description["k"] % 1000
            newest = view.newest()
            assert newest is None or newest == sample(newest.id)
        connection.send("stop")
    samples = view.snapshot()
    assert samples.first_index == samples.counts.delivered - 64


def test_a_killed_process_leaves_whole_samples_and_the_next_one_goes_on(memory):
    view = memory.view("a")
    for _ in range(3):
        with child(fill, memory, "a") as (process, connection):
            begun_with = receive(connection)
            wait_for(lambda begun_with=begun_with: view.counts.delivered > begun_with + 500)
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
        check(view.snapshot())
        assert view.newest() == sample(view.counts.delivered - 1)


def test_a_process_killed_within_a_put_costs_the_oldest_sample_only(memory):
    ring, view = memory.ring("a"), memory.view("a")
    for k in range(100):
        ring.put(*sample(k))
    process = SPAWN.Process(target=die_in_put, args=(memory, "a"))
    spawn(process)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    samples = view.snapshot()
    check(samples)
    assert (len(samples), samples.counts.delivered) == (63, 100)
    next_ring = memory.ring("a")
    next_ring.put(*sample(100))
    check(view.snapshot())
    assert len(view.snapshot()) == 64


def test_it_is_the_same_memory_in_a_child_and_in_its_child(memory):
    assert in_child(fill_some, memory, "a", 10) == (10, 0, 0)
    check(memory.view("a").snapshot())
    with child(fill_in_grandchild, memory, "other", 0) as (_, connection):
        assert receive(connection) == 0
    fresh = SampleMemory.allocate([SampleLayout("a", N_VALUES, 64)])
    with child(fill_in_grandchild, fresh, "a", 1000) as (_, connection):
        assert receive(connection) == 0
    samples = fresh.view("a").snapshot()
    check(samples)
    assert samples.counts.delivered == 1000


def test_ctrl_c_between_the_two_calls_of_a_barrier_does_not_stop_later_ones(memory):
    ring, view = memory.ring("a"), memory.view("a")

    ring.put(*sample(0))
    ring._release()  # and then Ctrl-C
    ring.put(*sample(1))
    check(view.snapshot())
    assert view.counts.delivered == 2
