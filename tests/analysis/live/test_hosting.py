"""Readers of slots as children: leases of each slot, and what ends them."""

import os
import signal

import pytest

from openhsi_shared.analysis.live.hosting import HostedReaders, SlotReader
from openhsi_shared.analysis.live.messages import NoMoreLines, ReaderEnded, Ready, Released
from openhsi_shared.buffers.slot_memory import SlotState, Word
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.errors import AnalysisError
from tests.support.helpers import wait_for
from tests.support.slots import owner_of, put


def follow(parent, memory, name):
    """Release each cube as soon as it is closed; end when no more come."""
    slots = SlotView.of(memory)
    parent.tell(Ready())
    released = 0
    while not isinstance(message := parent.receive(0.01), NoMoreLines):
        assert message is None
        for slot in slots.slots_in(SlotState.FULL, SlotState.SAVING, SlotState.LENT):
            cube = slots.word(slot, Word.CUBE)
            if cube > released:
                released = cube
                parent.tell(Released(slot, cube))
                parent.tell(AnalysisStatus(name=name, mode="lossless", state="running", events=cube))
    parent.tell(ReaderEnded(status=AnalysisStatus(name=name, mode="lossless", state="ended", events=released)))


def refuse(parent):
    parent.tell(ReaderEnded(status=AnalysisStatus(name="a", mode="tap"), error=AnalysisError("it does not fit")))


def reader(slots, name, **keywords):
    args = (slots.memory, name)
    given = {"kind": "analysis", "mode": "lossless", "target": follow, "args": args, "patience_s": 60.0}
    return SlotReader(name=name, **{**given, **keywords})


def one_cube(slots):
    slot = slots.begin(0)
    put(slots, slot, 0)
    slots.close(slot)
    slots.save(slot)
    slots.free(slot)
    return slot


def test_each_cube_is_lent_until_the_child_releases_it_and_the_end_is_awaited():
    slots = owner_of()
    readers = HostedReaders(slots, [reader(slots, "a"), reader(slots, "b")], {"analysis b": 7})
    readers.wait_until_ready(lambda: False)
    for _ in range(5):
        wait_for(lambda: slots.slots_in(SlotState.FREE))
        one_cube(slots)
    wait_for(lambda: not slots.leases())
    wait_for(lambda: readers.statuses()["b"].events == 5)
    assert readers.statuses()["b"].lines_lost == 7
    readers.finish("", frozenset())
    assert {name: (s.state, s.events) for name, s in readers.statuses().items()} == {
        "a": ("ended", 5),
        "b": ("ended", 5),
    }


@pytest.mark.parametrize(
    ("number", "patience_s", "why"),
    [(signal.SIGKILL, 60.0, "was killed by SIGKILL"), (signal.SIGSTOP, 0.5, "did not respond for 0 s")],
)
def test_a_child_that_dies_or_hangs_loses_its_leases_and_is_reported(number, patience_s, why, caplog):
    slots = owner_of()
    readers = HostedReaders(slots, [reader(slots, "a", patience_s=patience_s)], {})
    readers.wait_until_ready(lambda: False)
    os.kill(readers._hosted[0].child.pid, number)
    one_cube(slots)
    wait_for(lambda: len(slots.slots_in(SlotState.FREE)) == 2)
    status = readers.statuses()["a"]
    assert (status.state, why in status.why, slots.leases()) == ("failed", True, [])
    wait_for(lambda: f"analysis a has failed, the recording continues: analysis a: {status.why}" in caplog.text)
    slots.free(slots.begin(0))  # nothing is lent to it any more
    readers.finish("", frozenset())


def test_one_that_does_not_start_is_raised_and_nothing_is_left():
    slots = owner_of()
    readers = HostedReaders(slots, [reader(slots, "a", target=refuse, args=())], {})
    with pytest.raises(AnalysisError, match="it does not fit"):
        readers.wait_until_ready(lambda: False)
    readers.close()
    assert slots.leases() == []


def test_if_the_thread_that_receives_fails_all_are_ended_and_no_slot_stays_lent(monkeypatch, caplog):
    slots, usual, n_failed = owner_of(), SlotOwner.give_back_all, []
    readers = HostedReaders(slots, [reader(slots, name) for name in ("a", "b")], {})
    readers.wait_until_ready(lambda: False)

    def fail_twice(self, name):
        if len(n_failed) < 2:  # in the thread, and once more when it ends the first one
            n_failed.append(name)
            raise ZeroDivisionError("injected")
        usual(self, name)

    monkeypatch.setattr(SlotOwner, "give_back_all", fail_twice)
    os.kill(readers._hosted[0].child.pid, signal.SIGKILL)
    one_cube(slots)
    wait_for(lambda: len(n_failed) == 2)
    readers.finish("", frozenset())
    assert [status.state for status in readers.statuses().values()] == ["failed", "failed"]
    assert slots.leases() == []
    wait_for(lambda: "the thread that receives from analyses has failed" in caplog.text)
