"""A ring in shared memory: indices as expected, nothing torn, nothing left behind, no crash."""

import sys

import numpy as np
import pytest

from openhsi_shared import SharedRing
from openhsi_shared.buffers.ring_memory import BEGUN, MAX_ROWS
from openhsi_shared.errors import (
    ArgumentError,
    FrameError,
    FrameTimeout,
    MemoryShortage,
    OverrunError,
    RingExists,
    RingNotFound,
)
from tests.support.helpers import child, receive
from tests.support.rings import follow_from, put_constants

linux = pytest.mark.skipif(sys.platform != "linux", reason="locks that say who lives, /dev/shm")


def some(n, value, dtype=np.uint16):
    return np.full(n, value, dtype)


# ---- indices ----


def test_indices_are_those_of_the_predecessor(ring):
    assert ring.put(some(5, 1)) == (0, 5)
    assert ring.put(some(4, 2)) == (-3, 1)
    assert ring.put(some(1, 3)) == (1, 2)
    assert ring[:].tolist() == [2, 3, 1, 1, 1, 2, 2, 2]
    assert ring.put(some(6, 4)) == (-6, 0)
    assert ring.put(some(8, 5)) == (-8, 0)
    assert ring[:].tolist() == [5] * 8
    assert ring.n_put == 5


def test_random_items_lie_where_a_list_of_indices_finds_them():
    random = np.random.default_rng(5)
    model, begin = np.zeros(23, np.int32), 0
    with SharedRing(23 * 4, create=True, dtype="int32") as ring:
        for number in range(300):
            item = random.integers(-1000, 1000, random.integers(1, 24), dtype=np.int32)
            indices = (begin + np.arange(item.size)) % 23
            expected = (begin, begin + item.size) if begin + item.size < 23 else (begin - 23, begin + item.size - 23)
            begin = (begin + item.size) % 23
            model[indices] = item

            start, stop = ring.put(item)

            assert (start, stop) == expected
            assert np.asarray(ring).tolist() == model.tolist()
            assert ring.read(start, stop).tolist() == item.tolist()
            assert ring[start:stop].tolist() == item.tolist()
            assert ring[list(range(start, stop))].tolist() == item.tolist()
            newest = ring.latest()
            assert (newest.number, newest.start, newest.stop) == (number, start, stop)
            assert np.asarray(newest).tolist() == item.tolist()


def test_slices_that_numpy_knows_mean_what_they_mean_there(ring):
    ring.put(np.arange(8, dtype=np.uint16))
    model = np.arange(8)
    for key in (
        slice(None),
        slice(-3, None),
        slice(2, 5),
        slice(-5, -2),
        slice(-3, 7),
        slice(None, None, -1),
        4,
        [1, 6],
    ):
        assert np.asarray(ring[key]).tolist() == model[key].tolist()
    assert len(ring) == ring.size == 8
    assert ring.shape == (8,)


def test_a_frame_is_flattened_also_one_that_does_not_lie_in_order(ring):
    frame = np.arange(6, dtype=np.uint16).reshape(2, 3)
    assert ring.read(*ring.put(frame.T)).tolist() == frame.T.ravel().tolist()
    assert ring.read(*ring.put(frame.T)).tolist() == frame.T.ravel().tolist()  # this one goes over the end
    assert ring.put(np.uint16(9)) == (4, 5)
    assert ring.put(some(0, 0)) == (5, 5)
    assert ring.n_put == 3


def test_capacity_is_rounded_down_to_whole_items():
    with SharedRing(17, create=True, dtype=np.float64) as ring:
        assert (ring.size, ring.nbytes, ring.dtype) == (2, 16, np.dtype("f8"))
        assert ring.put([1.5, 2.5]) == (-2, 0)
        assert ring[:].tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((1,), ArgumentError, "a ring of 1 bytes cannot hold one item of uint16, which has 2"),
        ((0,), ArgumentError, "a ring of 0 bytes"),
        (("16",), ArgumentError, "capacity_bytes must be a whole number of bytes, got '16'"),
        ((True,), ArgumentError, "got True"),
        ((16, "a/b"), ArgumentError, "the name of a ring must be 1 to 100 letters, .* got 'a/b'"),
        ((16, ".hidden"), ArgumentError, "got '.hidden'"),
        ((16, 5), ArgumentError, "the name of a ring must be 1 to 100 letters, .* got 5"),
        ((16, None, True, object), ArgumentError, "a ring holds numbers"),
        ((16, None, True, "nonsense"), ArgumentError, "dtype must be a numeric type such as 'uint16', got 'nons"),
        ((16, None, True, ">u2"), ArgumentError, "in native byte order"),
        ((1 << 50,), MemoryShortage, "the ring 'ring-.*' needs 1,125,"),
    ],
)
def test_what_makes_no_ring_is_refused(arguments, error, text):
    capacity, name, create, dtype = (*arguments, *(None, None, True, "uint16")[len(arguments) :])
    with pytest.raises(error, match=text):
        SharedRing(capacity, name, create, dtype)


def test_attaching_needs_a_name_and_the_same_size_and_type(name):
    with pytest.raises(ArgumentError, match="attaching to a ring needs its name; to create a ring, pass create=True"):
        SharedRing(16)
    with pytest.raises(RingNotFound, match=f"there is no ring '{name}'"):
        SharedRing(16, name)
    with SharedRing(17, name, create=True):
        with pytest.raises(ArgumentError, match=r"has room for 8 items \(16 bytes\), not for 9"):
            SharedRing(18, name)
        with pytest.raises(ArgumentError, match="holds uint16, not int16: pass dtype='uint16'"):
            SharedRing(16, name, dtype="int16")
        with pytest.raises(RingExists, match=f"a live process has a ring '{name}'"):
            SharedRing(16, name, create=True)
        SharedRing(17, name).close()
        SharedRing(None, name).close()


def test_an_item_that_does_not_fit_is_refused_and_changes_nothing(ring):
    ring.put(some(3, 1))
    with pytest.raises(FrameError, match=r"9 items \(18 bytes\) do not fit into the ring .* of 8 \(16 bytes\)"):
        ring.put(some(9, 2))
    with pytest.raises(ValueError, match="holds uint16, not int64: convert it first"):
        ring.put([1, 2])
    assert ring[:].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert ring.latest().number == 0


# ---- reading ----


def test_an_empty_ring_has_no_newest_item(ring):
    assert ring.latest() is None
    with pytest.raises(ArgumentError, match="nothing has been put yet from 0 to 2"):
        ring.read(0, 2)
    ring.put(some(2, 1))
    assert ring.latest().number == 0
    assert ring.latest(after=0) is None
    with pytest.raises(ArgumentError, match="nothing has been put yet from 1 to 4"):
        ring.read(1, 4)


@pytest.mark.parametrize("places", [(0, 9), (-9, 0), (8, 9), (3, 2), (-8, 1)])
def test_indices_that_do_not_exist_are_refused(ring, places):
    ring.put(some(8, 1))
    with pytest.raises(ArgumentError, match=r"do not exist in the ring .* of 8"):
        ring.read(*places)


def test_parts_of_two_items_are_not_given_as_one(ring):
    first = ring.put(some(5, 1))
    ring.put(some(5, 2))  # (-3, 2)
    with pytest.raises(OverrunError, match=r"indices 0 to 5 .* have been overwritten, at least in part"):
        ring.read(*first)  # of two laps
    assert ring.read(2, 5).tolist() == [1, 1, 1]
    ring.put(some(5, 3))  # (2, 7)
    with pytest.raises(OverrunError):
        ring.read(*first)  # of one lap, but two items
    assert ring.read(0, 2).tolist() == [2, 2]
    assert ring.read(2, 4).tolist() == [3, 3]
    ring.put(some(1, 4))  # (-1, 0)
    assert ring.read(2, 8).tolist() == [3] * 5 + [4]  # two whole ones


def test_what_is_just_being_changed_is_not_given(ring):
    place = ring.put(some(5, 1))
    words = ring._memory.words
    words[BEGUN] += 5  # as in the middle of the next put
    with pytest.raises(OverrunError, match="overwritten faster than it can be copied: make the ring larger than 16"):
        ring.latest(patience_s=0.01)
    with pytest.raises(OverrunError, match="indices 0 to 5"):
        ring.read(*place, patience_s=0.01)
    assert ring.read(2, 5).tolist() == [1, 1, 1]
    words[BEGUN] -= 5
    assert ring.latest().data.tolist() == ring.read(*place).tolist() == [1] * 5


@pytest.mark.parametrize("how", ["latest", "read"])
def test_what_is_overwritten_while_it_is_copied_is_not_given(ring, monkeypatch, how):
    place = ring.put(some(4, 1))
    memory, copied = ring._memory, []

    def copy(position, n):
        data = type(memory).copy(memory, position, n)
        if not copied:
            ring.put(some(6, 2))  # over half of it, in the middle of the first copy
        copied.append(data.tolist())
        return data

    monkeypatch.setattr(memory, "copy", copy)
    if how == "latest":
        assert ring.latest().data.tolist() == [2] * 6
        assert copied == [[1] * 4, [2] * 6]
    else:
        with pytest.raises(OverrunError):
            ring.read(*place)
        assert copied == [[1] * 4]


def test_a_put_that_was_interrupted_is_not_forgotten_by_the_next(ring):
    ring.put(some(5, 1))
    ring._memory.words[BEGUN] += 8  # it was to be one that fills the ring, and ended somewhere
    ring.put(some(2, 2))
    assert ring.latest().data.tolist() == [2, 2]
    with pytest.raises(OverrunError):
        ring.read(0, 5, patience_s=0.01)


def test_no_copy_is_torn_however_fast_is_put(name):
    shape, n = (512, 512), 3000
    with child(put_constants, name, 512 * 512 * 2 * 3 // 2, shape, n) as (_, connection):
        receive(connection)
        with SharedRing(None, name) as ring:
            connection.send("go")
            seen, after = 0, -1
            while after < n - 1:
                try:
                    item = ring.latest(after)
                    if item is None:
                        continue
                    assert (item.data == item.number % 65536).all()
                    after = item.number
                    data = ring.read(item.start, item.stop)
                    assert (data == data[0]).all()  # this one, or a later one at its place
                    seen += 1
                except OverrunError:
                    continue
            assert seen
            receive(connection)
            connection.send("end")


# ---- following ----


def test_who_follows_gets_every_item_in_order(name):
    with SharedRing(2 * 10 * 50, name, create=True) as ring:
        ring.put(some(10, 100))
        with child(follow_from, ring, 0) as (_, connection):
            receive(connection)
            for number in range(1, 30):
                ring.put(some(10, 100 + number))
            ring.close()
            assert receive(connection) == [(number, 0, 100 + number) for number in range(30)]


def test_an_overrun_reader_gets_the_number_of_missed_items(ring):
    follower = ring.follow(0, patience_s=0.0)
    for number in range(3):
        ring.put(some(3, number))
    assert next(follower).number == 1  # of 8 places, 2 are enough for no third
    for number in range(3, 20):
        ring.put(some(3, number))
    items = [next(follower), next(follower)]
    assert [(item.number, item.missed, item.data.tolist()) for item in items] == [(18, 16, [18] * 3), (19, 0, [19] * 3)]
    with pytest.raises(FrameTimeout, match=r"nothing was put into the ring .* for 0.0 s"):
        next(follower)


def test_the_first_to_follow_is_the_next_one_unless_said_otherwise(ring):
    ring.put(some(1, 1))
    follower = ring.follow()
    ring.put(some(1, 2))
    assert next(follower).number == 1
    missed = ring.follow(-5)
    assert next(missed).number == 0


def test_more_small_items_than_are_known_by_number_count_as_missed():
    n = MAX_ROWS + 100
    with SharedRing(2 * n, create=True) as ring:
        for number in range(n):
            ring.put(np.uint16(number % 7))
        first = next(ring.follow(0))
        assert (first.number, first.missed) == (100, 100)


def test_items_at_the_end_that_cannot_be_had_raise(ring):
    ring.put(some(5, 1))
    ring._memory.words[BEGUN] += 8  # the creator died during a put
    follower = ring.follow(0)
    ring._memory.words[4] = 1  # closed
    with pytest.raises(
        OverrunError, match=r"the last 1 items of the ring .* were overwritten before they could be read"
    ):
        next(follower)
