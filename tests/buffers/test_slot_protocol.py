"""The hand-over of slots, explored exhaustively: two readers, deaths of writer, reader and main, retries, standby."""

import functools

import pytest

from openhsi_shared.buffers import slot_owner
from openhsi_shared.buffers.slot_memory import SlotState
from openhsi_shared.buffers.slot_moves import MOVES
from openhsi_shared.buffers.slot_owner import SlotOwner
from tests.support.slot_protocol import Explorer, Sizes, Violation
from tests.support.slots import owner_of

SIZES = {  # the smallest models first: what is wrong is mostly found in these
    "one stands by": Sizes(n_leases=0, n_failures=0, stands_by=True),
    "recording before an event": Sizes(n_cubes=4, n_slots=3, n_deaths=0, n_failures=0, n_leases=0, retains=True),
    "a lossless analysis, main and writer die": Sizes(n_failures=0, n_leases=0, analysis="lossless"),
    "a writer that dies or hangs, and a reader": Sizes(n_cubes=2, n_readers=1),
    "three cubes, main and writer die": Sizes(n_leases=0),
    "a reader twice, and a save that fails": Sizes(n_deaths=0, n_leases=1, main_dies=False),
    "an analysis that yields, and a reader": Sizes(n_deaths=0, n_readers=1, main_dies=False, analysis="yields"),
    "save and put within a line": Sizes(n_failures=0, n_leases=0, n_nested=2),
    "an event while a cube is read": Sizes(
        n_cubes=3, n_deaths=0, n_failures=1, n_leases=1, retains=True, main_dies=False
    ),
}


@functools.cache
def explored(name):
    explorer = Explorer(SIZES[name])
    explorer.explore()
    return explorer.n_states, frozenset(explorer.moves)


def explore_all(make):
    for sizes in SIZES.values():
        Explorer(sizes, make).explore()


@pytest.mark.parametrize("name", SIZES)
def test_in_every_history_each_cube_is_saved_once_and_each_slot_gets_free(name):
    n_states, _ = explored(name)
    assert n_states > 100


def test_every_step_of_the_model_is_taken():
    taken = set().union(*(explored(name)[1] for name in SIZES))
    assert taken >= {"begin", "close", "save", "retry", "discard", "recycle", "lend", "give-back", "reader-dies"}
    assert taken >= {"take", "publish", "fail", "answer", "writer-dies", "writer-hangs", "exit-of-hung", "rescue"}
    assert taken >= {"main-dies", "standby-rescues", "begin-line", "commit-line", "nested-save", "nested-put"}
    assert taken >= {"analysis-releases", "analysis-dies"}


@pytest.mark.parametrize("guard", ["defers_saves", "refuses_puts"])
def test_a_save_or_put_that_takes_effect_within_a_line_is_found_out(guard, monkeypatch):
    monkeypatch.setattr(Explorer, guard, False)
    with pytest.raises(Violation, match="where another one was begun"):
        Explorer(SIZES["save and put within a line"]).explore()


@pytest.mark.parametrize(
    ("move", "state"), [(move, state) for move, states in MOVES.items() for state in states], ids=str
)
def test_a_move_that_is_taken_out_of_the_table_is_missed(move, state, monkeypatch):
    fewer = {name: {a: b for a, b in states.items() if (name, a) != (move, state)} for name, states in MOVES.items()}
    monkeypatch.setattr(slot_owner, "MOVES", fewer)
    if (move, state) == ("free", SlotState.FILLING):
        slots = owner_of()
        with pytest.raises(slot_owner.IllegalMove):  # lines that are never saved: at the end only, not in the model
            slots.free(slots.begin(0))
        return
    with pytest.raises(Violation):
        explore_all(owner_of)


class FreesAtOnce(SlotOwner):
    """Does not wait for the last lease."""

    def leases(self, slot=None):
        return [] if slot is not None else super().leases()


class ForgetsTheDead(SlotOwner):
    """Leases of readers that died do not end."""

    def give_back_all(self, reader):
        pass


class LendsNothing(SlotOwner):
    """Does not note what it lends."""

    def lend(self, slot, reader):
        lease = super().lend(slot, reader)
        if reader.startswith("reader"):
            self._leases.discard(lease)
        return lease

    def give_back(self, lease):
        if lease in self._leases:
            super().give_back(lease)


class TakesBackFromAll(SlotOwner):
    """Does not ask whether a standing reader yields."""

    def _taken_back(self):
        self._standing = dict.fromkeys(self._standing, True)
        return super()._taken_back()


@pytest.mark.parametrize("owner", [FreesAtOnce, ForgetsTheDead, LendsNothing, TakesBackFromAll])
def test_an_owner_that_breaks_the_protocol_is_found_out(owner):
    def make(**sizes):
        return owner(owner_of(**sizes).memory)

    with pytest.raises((Violation, ValueError)):
        explore_all(make)
