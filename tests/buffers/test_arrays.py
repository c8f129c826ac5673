"""Circular arrays: first in, first out, the oldest overwritten; nothing wraps round, nothing is half written."""

import ctypes
import doctest
import pickle
import random
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared.buffers import arrays
from openhsi_shared.buffers.arrays import CircArrayBuffer, SharedCircArrayBuffer, copy_without_wrapping
from openhsi_shared.errors import ArgumentError, FrameError, MemoryShortage
from tests.support.buffers import get_all, put_all, put_then_wait
from tests.support.helpers import child, in_child, receive, wait_for

C_TYPES = {"uint8": ctypes.c_uint8, "uint16": ctypes.c_uint16, "int32": ctypes.c_int32, "float32": ctypes.c_float}


@pytest.fixture(params=["private", "shared"])
def make(request):
    """Make a buffer of either kind: make(size, axis, dtype)."""

    def of_kind(size, axis=0, dtype="uint8", show_func=None):
        if request.param == "private":
            return CircArrayBuffer(size, axis, dtype, show_func)
        return SharedCircArrayBuffer(size, axis, C_TYPES[dtype], show_func)

    return of_kind


class Model:
    """The rule, as openhsi states it: a write position, a read position, and how many slots are left between them."""

    def __init__(self, size, axis, dtype):
        self.size, self.axis = size, axis
        self.data = np.zeros(size, dtype)
        self.write_pos = [slice(None)] * len(size)
        self.write_pos[axis] = 0
        self.read_pos = list(self.write_pos)
        self.slots_left = size[axis]

    def _advance(self, position):
        position[self.axis] = (position[self.axis] + 1) % self.size[self.axis]

    def put(self, line):
        self.data[tuple(self.write_pos)] = line
        if self.slots_left == 0:
            self._advance(self.read_pos)
        else:
            self.slots_left -= 1
        self._advance(self.write_pos)

    def get(self):
        if self.slots_left == self.size[self.axis]:
            return None
        line = self.data[tuple(self.read_pos)].copy()
        self.slots_left += 1
        self._advance(self.read_pos)
        return line


def test_documented_example_of_openhsi_gives_what_it_says(make):
    buffer = make((7,))
    for value in range(9):
        buffer.put(value)
    assert buffer.data.tolist() == [7, 8, 2, 3, 4, 5, 6]
    assert [buffer.get() for _ in range(9)] == [2, 3, 4, 5, 6, 7, 8, None, None]


@pytest.mark.parametrize(
    ("size", "axis"),
    [
        ((5,), 0),
        ((1,), 0),
        ((3, 4), 0),
        ((3, 4), 1),
        ((3, 4), -1),
        ((4, 2, 3), 0),
        ((2, 4, 3), 1),
        ((2, 3, 4), 2),
        ((2, 1, 3), 1),
        ((1, 1, 1), 0),
    ],
)
def test_any_walk_of_puts_and_gets_goes_as_the_rule_says(make, size, axis):
    choose = random.Random(f"{size} {axis}")
    buffer, model = make(size, axis, "uint16"), Model(size, axis % len(size), "uint16")
    line_shape = model.data[tuple(model.write_pos)].shape
    for step in range(200):
        if choose.random() < 0.6:
            line = np.arange(np.prod(line_shape, dtype=int)).reshape(line_shape) + 100 * step
            buffer.put(line)
            model.put(line)
        else:
            ours, theirs = buffer.get(), model.get()
            assert (ours is None) == (theirs is None)
            assert theirs is None or np.array_equal(ours, theirs)
        assert buffer.data.shape == size
        assert np.array_equal(buffer.data, model.data)
        assert buffer.write_pos == model.write_pos
        assert buffer.read_pos == model.read_pos
        assert buffer.slots_left == model.slots_left
        assert buffer.is_empty() == (model.slots_left == len(buffer))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_line_is_one_contiguous_copy_whatever_the_axis(make, axis):
    buffer = make((3, 4, 5), axis, "uint16")
    line = np.arange(60).reshape(3, 4, 5).take(0, axis)
    buffer.put(line)
    got = buffer.get()
    assert got.flags.c_contiguous
    assert np.shares_memory(got, buffer.data)
    assert np.array_equal(buffer.data.take(0, axis), line)
    line[...] = 0
    assert got.any(), "the caller's own array is not kept"


def test_scalar_or_row_fills_the_whole_line(make):
    buffer = make((2, 3, 4), 1, "uint16")
    buffer.put(7)
    buffer.put(np.arange(4))
    assert (buffer[:, 0] == 7).all()
    assert buffer[:, 1].tolist() == [[0, 1, 2, 3]] * 2
    assert len(buffer) == 3


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("dtype", "line", "words"),
    [
        ("uint8", 300, "from 300 to 300 does not fit into uint8 \\(0 to 255\\)"),
        ("uint8", -1, "from -1 to -1 does not fit into uint8"),
        ("uint8", 255.5, "255.5 does not fit into uint8"),
        ("uint8", -0.5, "-0.5 does not fit into uint8"),
        ("uint8", [1, 2, 3, 256], "from 1 to 256 does not fit"),
        ("uint8", NAN, "nan does not fit into uint8"),
        ("uint8", [1, NAN, 2, 3], "nan does not fit into uint8"),
        ("uint8", INF, "inf does not fit into uint8"),
        ("uint16", -INF, "-inf does not fit into uint16"),
        ("uint16", np.float16(-1), "does not fit into uint16"),
        ("int32", 2**31, "2147483648 does not fit into int32"),
        ("int32", 2.0**31, "does not fit into int32"),
        ("uint8", 10**30, "a line of object does not fit into uint8"),
        ("uint8", "7", "a line of <U1 does not fit into uint8"),
        ("uint8", None, "a line of object does not fit into uint8"),
        ("uint8", 1j, "a line of complex128 does not fit into uint8"),
        ("float32", ["1", "2", "3", "x"], "a line of <U1 does not fit into float32"),
        ("float32", [1, 2, None, 4], "a line of object does not fit into float32"),
        ("float32", 1j, "a line of complex128 does not fit into float32"),
        ("float32", np.array("2020", "datetime64[s]"), "a line of datetime64\\[s\\] does not fit"),
        ("uint8", [1, 2, 3], "shape \\(3,\\) and type int64 does not fit into \\(4,\\) uint8"),
        ("uint8", np.zeros((2, 4)), "shape \\(2, 4\\) and type float64 does not fit"),
        ("uint8", [], "shape \\(0,\\)"),
        ("float32", [[1], [1, 2]], "expected an array or a number"),
    ],
)
def test_line_that_does_not_fit_is_refused_and_changes_nothing(make, dtype, line, words):
    buffer = make((3, 4), 0, dtype)
    for value in (1, 2, 3, 4):
        buffer.put(value)
    before = buffer.data.copy(), buffer.write_pos, buffer.read_pos, buffer.slots_left
    with pytest.raises(FrameError, match=words):
        buffer.put(line)
    assert np.array_equal(buffer.data, before[0])
    assert (buffer.write_pos, buffer.read_pos, buffer.slots_left) == before[1:]


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_float_just_above_the_largest_whole_number_does_not_wrap(dtype):
    out = np.zeros(1, dtype)
    with pytest.raises(FrameError, match=f"does not fit into {dtype}"):
        copy_without_wrapping(out, float(np.iinfo(dtype).max))  # rounded up: one too large
    copy_without_wrapping(out, float(np.iinfo(dtype).min))
    assert out[0] == np.iinfo(dtype).min


@pytest.mark.parametrize(
    ("dtype", "line", "expected"),
    [
        ("uint8", 255, 255),
        ("uint8", 0.0, 0),
        ("uint8", 3.7, 3),
        ("uint8", True, 1),
        ("uint8", np.int64(200), 200),
        ("uint16", np.float32(65535), 65535),
        ("int32", np.uint8(9), 9),
        ("float32", 0.5, 0.5),
        ("float32", NAN, NAN),
    ],
)
def test_value_that_fits_is_taken_whatever_its_type(make, dtype, line, expected):
    buffer = make((2, 3), 0, dtype)
    buffer.put(line)
    assert np.array_equal(buffer[0], np.full(3, expected, dtype), equal_nan=True)


def test_frame_of_the_other_byte_order_keeps_its_values(make):
    buffer = make((2, 3), 0, "uint16")
    buffer.put(np.array([1, 256, 65535], ">u2"))
    assert buffer[0].tolist() == [1, 256, 65535]


@pytest.mark.parametrize(
    "size", [(), (0,), (3, 0), (-1, 2), 7, "ab", (2.5,), (float("inf"),), (float("nan"),), None, (None,)]
)
def test_impossible_size_is_refused(make, size):
    with pytest.raises(ArgumentError, match="size must be a sequence of whole numbers > 0, got"):
        make(size)


@pytest.mark.parametrize("axis", [2, -3, 0.0, None, True, "0"])
def test_impossible_axis_is_refused(make, axis):
    with pytest.raises(ArgumentError, match=r"axis .* does not exist in an array of size \(2, 3\)"):
        make((2, 3), axis)


def test_own_show_function_gets_the_data_in_the_order_asked_for(make):
    shown = []
    buffer = make((2, 3, 4), 1, "uint8", lambda data: shown.append(data.shape) or "a picture")
    assert buffer.show() == "a picture"
    assert shown == [(2, 3, 4)]


def test_repr_says_what_it_is(make):
    buffer = make((2, 3), 1)
    buffer.put(1)
    assert repr(buffer).endswith("CircArrayBuffer(size=(2, 3), axis=1, dtype=uint8, unread=1)")


# ---- shared ----


def test_lines_put_by_a_child_are_read_by_the_parent():
    buffer = SharedCircArrayBuffer((2, 3, 4), 1, ctypes.c_uint16)
    assert in_child(put_all, buffer, [1, 2, 3, 4, 5]) == 0
    assert buffer.n_put == 5
    assert buffer.slots_left == 0
    assert buffer.write_pos == [slice(None), 2, slice(None)]
    assert get_all(buffer) == [[[value] * 4] * 2 for value in (3, 4, 5)]
    assert buffer.is_empty()


def test_lines_put_by_the_parent_are_read_by_a_child_and_then_are_read_here_too():
    buffer = SharedCircArrayBuffer((3, 2), 0, ctypes.c_float)
    put_all(buffer, [0.5, 1.5])
    assert in_child(get_all, buffer) == [[0.5, 0.5], [1.5, 1.5]]
    assert buffer.is_empty()
    assert buffer.slots_left == 3
    assert buffer.get() is None


def test_shared_array_travels_at_birth_only():
    buffer = SharedCircArrayBuffer((3, 2))
    with pytest.raises(RuntimeError, match="through inheritance"):
        pickle.dumps(buffer)
    with child(get_all) as (_, connection), pytest.raises(RuntimeError, match="through inheritance"):
        connection.send(buffer)


def test_shared_array_is_one_of_multiprocessing():
    """As openhsi's users read it: `np.frombuffer(buffer.shared_data.get_obj())`."""
    buffer = SharedCircArrayBuffer((2, 3), 0, ctypes.c_uint16)
    buffer.put([1, 2, 3])
    with buffer.shared_data.get_lock():
        seen = np.frombuffer(buffer.shared_data.get_obj(), np.uint16)
    assert seen.tolist() == [1, 2, 3, 0, 0, 0] == buffer.shared_data[:]


@pytest.mark.parametrize("c_dtype", [np.uint16, "H", ctypes.c_char, 5, None])
def test_shared_array_of_what_are_no_numbers_is_refused(c_dtype):
    with pytest.raises(ArgumentError, match="c_dtype must be a numeric ctypes type such as"):
        SharedCircArrayBuffer((2, 3), 0, c_dtype)


def shared_files():
    folder = Path("/dev/shm")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_killed_child_leaves_nothing_and_the_parent_goes_on():
    before = shared_files()
    buffer = SharedCircArrayBuffer((3, 2))
    with child(put_then_wait, buffer, 7) as (process, connection):
        assert receive(connection) == "put"
        process.kill()
        wait_for(lambda: process.exitcode is not None)
    buffer.put(8)
    assert get_all(buffer) == [[7, 7], [8, 8]]
    wait_for(lambda: shared_files() <= before)  # others on this machine make some, too


def test_array_larger_than_memory_is_refused_with_the_figures():
    with pytest.raises(MemoryShortage, match=r"size \(1000000000, 1000000000\) needs 1,000,000,000,000.0 MB, but"):
        SharedCircArrayBuffer((10**9, 10**9))


def test_size_whose_product_overflows_64_bits_is_refused_too():
    with pytest.raises(MemoryShortage, match="but"):
        SharedCircArrayBuffer((2**33, 2**33))


def test_examples_in_the_documentation_are_true():
    result = doctest.testmod(arrays)
    assert result.attempted > 0
    assert result.failed == 0
