"""Marks in shared memory: which cube has each of them, whatever happens to cubes and processes."""

import json

import pytest

from openhsi_shared.buffers.marks import MARKS, MAX_MARKS, MarkRing, fits
from openhsi_shared.buffers.slot_memory import Word
from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.writer.cube_marks import marks_of
from tests.support.helpers import in_child
from tests.support.slots import owner_of, put


@pytest.fixture
def slots():
    return owner_of(n_slots=3, side_buffers=(MARKS,))


def texts(slots, slot):
    """Texts of the marks in the file of a cube, with their lines."""
    marks = marks_of(slots, slot, slots.column(slot, "time_ns")).get("marks", "[]")
    return [(mark["text"], mark["line"]) for mark in json.loads(marks)]


def fill(slots, *numbers):
    """Begin a cube with these lines; line k is at 1000 k."""
    slot = slots.begin(numbers[0])
    for k in numbers:
        put(slots, slot, k)
    return slot


def texts_in_child(memory):
    slots = SlotView.of(memory)
    return texts(slots, 0)


def test_a_mark_is_in_the_file_of_the_first_line_that_is_not_before_it(slots):
    slots.mark("before all lines", 10)
    first = fill(slots, 1, 2, 3)
    slots.mark("on line 1", 1500)
    slots.mark("exactly on line 2", 3000)
    slots.mark("after the last line", 3001)
    slots.mark("on the line that it still lasted", 3300, lead_ns=300)
    slots.close(first)
    second = fill(slots, 4, 5)
    slots.mark("on line 0, of a cube that is not sent yet", 900)
    slots.save(first)
    assert texts(slots, first) == [
        ("before all lines", 0),
        ("on line 0, of a cube that is not sent yet", 0),
        ("on line 1", 1),
        ("exactly on line 2", 2),
        ("on the line that it still lasted", 2),
    ]
    assert texts(slots, second) == [("after the last line", 0)], "also while it is filled, for a rescue"
    slots.mark("late", 2000)
    slots.close(second)
    assert texts(slots, second) == [("late", 0), ("after the last line", 0)], "its own cube is sent"
    assert len(texts(slots, first)) == 5


def test_a_child_reads_them_with_texts_in_any_language(slots):
    slots.mark("Anfang \u2192 \u00fcber\nder K\u00fcste\0", 500)
    slot = fill(slots, 1)
    assert (
        in_child(texts_in_child, slots.memory)
        == [("Anfang \u2192 \u00fcber\nder K\u00fcste\0", 0)]
        == texts(slots, slot)
    )


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("x" * 10_000, "x" * 200),
        ("\u00e4" * 150, "\u00e4" * 100),
        ("x" + "\u00e4" * 150, "x" + "\u00e4" * 99),
        ("\udcff", "?"),
        ("", ""),
    ],
)
def test_long_texts_are_cut_at_a_character(slots, text, kept):
    slots.mark(text, 500)
    assert texts(slots, fill(slots, 1)) == [(kept, 0)]
    assert fits(text) == (text == kept)


def test_of_too_many_marks_the_newest_are_kept_and_each_cube_counts_its_own_that_are_not(slots):
    slots.mark("of the first cube", 500)
    first = fill(slots, 1, 2)
    slots.close(first)
    slots.mark("kept for the second", 2500)
    second = fill(slots, 3, 4)
    for k in range(10 * MAX_MARKS):
        slots.mark(str(k), 3001 + k // 100)
    slots.close(second)
    last = [str(k) for k in range(9 * MAX_MARKS, 10 * MAX_MARKS)]
    assert [text for text, _ in texts(slots, second)] == last
    assert {line for _, line in texts(slots, second)} == {1}
    assert marks_of(slots, second, slots.column(second, "time_ns"))["marks_pushed_out"] == 9 * MAX_MARKS + 1
    assert marks_of(slots, first, slots.column(first, "time_ns")) == {"marks_pushed_out": 1}
    third = fill(slots, 5)
    assert marks_of(slots, third, slots.column(third, "time_ns")) == {}


def test_what_is_pushed_out_between_two_cubes_counts_for_the_next_one(slots):
    for k in range(MAX_MARKS + 3):
        slots.mark(str(k), 10 + k)
    slot = fill(slots, 5)
    assert slots.word(slot, Word.N_MARKS_PUSHED_OUT) == 3


def test_marks_and_pauses_before_a_cube_that_is_recycled_are_those_of_the_next_one(slots):
    slots.mark("a", 500)
    slots.add_pause(2_000_000_000, 7)
    recycled = fill(slots, 1, 2)
    slots.close(recycled)
    next_one = fill(slots, 3, 4)
    slots.mark("b", 3500)
    assert slots.recycle() == recycled
    slots.close(next_one)
    times = slots.column(next_one, "time_ns")
    assert texts(slots, next_one) == [("a", 0), ("b", 1)]
    about = marks_of(slots, next_one, times)
    assert (about["paused_before_s"], about["frames_paused"]) == (2.0, 7)
    assert slots.recycle() == next_one
    last = fill(slots, 5)
    assert texts(slots, last) == [("a", 0), ("b", 0)], "also if none was begun when it was recycled"
    assert slots.word(last, Word.N_FRAMES_PAUSED) == 7


def test_a_reader_never_sees_what_is_overwritten_meanwhile(slots):
    ring = MarkRing(slots.side("marks"))
    for k in range(MAX_MARKS + 1):
        ring.put(k + 1, k + 1, str(k))
    ring._words[0] += 2  # as if two more were begun
    assert next(mark.text for mark in ring.between(0, 10**6)) == "3"


def test_a_cube_that_outlives_its_slots_keeps_its_marks(slots):
    slot = fill(slots, 1, 2)
    slots.mark("here", 1500)
    again = owner_of(n_slots=3, side_buffers=(MARKS,))
    assert texts(again, again.fill_from(slots.copy_of(slot))) == [("here", 1)]
