"""Discarded cubes: each of their frames is declared in exactly one later file, whatever was lost before."""

import random

import pytest

from openhsi_shared.buffers.discarded_cubes import Discarded, DiscardedCubes, n_numbers
from openhsi_shared.buffers.memory import shared_array
from openhsi_shared.buffers.slot_memory import Word
from openhsi_shared.frames.losses import IdRange, gaps_between, merged
from tests.support.filler_bench import Bench


@pytest.fixture
def cubes():
    return DiscardedCubes(shared_array("q", n_numbers(2), "sets"))


def test_what_was_noted_is_told_in_stretches(cubes):
    cubes.note(1, Discarded((IdRange(0, 4),), 2))
    assert cubes.open == Discarded((IdRange(0, 4),), 2)
    assert (cubes.has(1), cubes.has(3)) == (True, False)
    cubes.note(3, Discarded((IdRange(5, 9), IdRange(20, 24)), 1))
    assert cubes.open == Discarded((IdRange(0, 9), IdRange(20, 24)), 3)
    assert cubes.open.n_lost == 18
    assert (cubes.has(1), cubes.has(3)) == (False, True), "the slot of cube 1 was freed before cube 3 was discarded"


def test_a_closed_cube_keeps_its_frames_whatever_is_noted_later(cubes):
    cubes.note(1, Discarded((IdRange(0, 4),), 2))
    cubes.assign(0)
    cubes.clear()
    assert (cubes.open, cubes.of(1)) == (Discarded(), Discarded())
    for cube in range(2, 1502):
        cubes.note(cube, Discarded((IdRange(10 * cube, 10 * cube + 4),)))
    cubes.assign(1)
    cubes.clear()
    assert cubes.of(0) == Discarded((IdRange(0, 4),), 2)
    assert cubes.of(1).ranges[0] == (20, 24)
    assert (len(cubes.of(1).ranges), cubes.of(1).n_lost) == (1500, 5 * 1500)


def test_ranges_beyond_those_that_are_listed_are_counted_exactly(cubes, monkeypatch):
    monkeypatch.setattr("openhsi_shared.buffers.discarded_cubes.MAX_RANGES", 100)
    for cube in range(150):
        cubes.note(cube, Discarded((IdRange(10 * cube, 10 * cube + 4),)))
    cubes.assign(1)
    cubes.clear()
    assert (len(cubes.of(1).ranges), cubes.of(1).n_without_id, cubes.of(1).n_lost) == (100, 250, 750)


def test_a_change_takes_effect_by_one_store(cubes):
    cubes.note(1, Discarded((IdRange(0, 4),)))
    before = cubes._numbers[0]
    cubes.note(2, Discarded((IdRange(8, 9),)))
    cubes._numbers[0] = before  # the process died just before its last store
    assert (cubes.open, cubes.has(1), cubes.has(2)) == (Discarded((IdRange(0, 4),)), True, False)


class Books:
    """Takes frames, saves cubes and gives some up, at random; notes what files and status come to tell."""

    def __init__(self, seed, wraps_around):
        self.choose = random.Random(seed)
        self.bench = Bench("drop", n_slots=self.choose.choice([2, 3, 4]), n_lines=4)
        self.first = self.last = 9
        self.bench.take(9)
        self.saved, self.declared = [], []
        self.n_declared = self.n_discarded = 0
        self.discarded = ()
        most = 7 if wraps_around else 4
        for _ in range(1500):
            self.last += self.choose.choice([1, 1, 1, 1, 3])
            self.bench.take(self.last)
            if self.bench.filler.n_lines() and self.choose.random() < 1 / most:
                self.bench.save()
            if not wraps_around and self.bench.filler.n_lines() == 4:
                self.bench.save()
            if self.bench.supervisor.pending and self.choose.random() < 0.15:
                self.settle(self.choose.choice([self.publish, self.discard]))
        self.settle(self.discard)
        while self.bench.supervisor.pending:
            self.settle(self.publish)
        self.bench.take(self.last + 1)
        self.bench.save()
        self.settle(self.publish)
        self.last += 1

    def settle(self, how):
        """End a cube that waits, be it the oldest or not, and free its slot."""
        if self.bench.supervisor.pending:
            slot = self.choose.choice(self.bench.supervisor.pending)
            how(slot)
            self.bench.supervisor.pending.remove(slot)
            self.bench.slots.free(slot)

    def publish(self, slot):
        """As the writer does: the next file has the lines, and names what is missing."""
        slots = self.bench.slots
        ids = slots.column(slot, "frame_id").tolist()
        discarded = slots.discarded_before(slot)
        n_gone = slots.n_overwritten(slot)
        gaps = gaps_between(ids[0] if n_gone else slots.word(slot, Word.EXPECTED_ID), ids)
        self.saved += ids
        self.declared += [*ids_of(discarded.ranges), *ids_of(gaps)]
        self.n_declared += discarded.n_lost + slots.word(slot, Word.N_LOST)

    def discard(self, slot):
        """As `discard` does."""
        self.n_discarded += self.bench.slots.extent(slot)[1]
        self.discarded = merged((*self.discarded, self.bench.slots.note_discarded(slot)))
        assert self.bench.slots.is_discarded(slot)


def ids_of(ranges):
    return [frame_id for ids in ranges for frame_id in range(ids.first, ids.last + 1)]


@pytest.mark.parametrize("wraps_around", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_every_frame_is_saved_or_lost_once_whatever_is_discarded(seed, wraps_around):
    books = Books(seed, wraps_around)
    ledger = books.bench.filler.ledger
    lost = ids_of(merged((*ledger.lost_ids(), *books.discarded)))
    assert books.n_discarded > 100
    assert len(lost) == ledger.n_lost + books.n_discarded == books.n_declared
    assert len(set(books.saved)) == len(books.saved)
    assert len(set(books.declared)) == len(books.declared)
    assert set(lost).isdisjoint(books.saved)
    assert set(lost).issuperset(books.declared)
    n_offered = books.last - books.first + 1
    assert len(books.saved) + len(lost) + books.bench.filler.n_overwritten == n_offered
    if not wraps_around:  # else the ids of some are not known, only how many they are
        assert sorted([*books.saved, *books.declared]) == list(range(books.first, books.last + 1))
