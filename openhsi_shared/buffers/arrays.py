"""Circular arrays of the newest lines, private or shared between processes.

In memory the circular axis is always first, so that a line is one contiguous copy; `data` is a view with the requested
order of axes::

    size (cross-track 3, along-track 5, wavelength 4), axis 1
    in memory  (5, 3, 4)      one line after the other
    data       (3, 5, 4)      a view of the same bytes
"""

import ctypes
import math
from collections.abc import Callable, Sequence
from multiprocessing.sharedctypes import synchronized
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from openhsi_shared.buffers.memory import shared_array
from openhsi_shared.errors import ArgumentError, FrameError
from openhsi_shared.masked import unmasked

__all__ = ["CircArrayBuffer", "SharedCircArrayBuffer", "copy_without_wrapping", "read_only"]

N_PUT, N_GOT = 0, 1


def copy_without_wrapping(out: NDArray[Any], values: ArrayLike) -> None:
    """Copy `values` into `out`, broadcasting as numpy does; FrameError if the cast would overflow.

    >>> copy_without_wrapping(np.zeros(2, np.uint8), [255, 256])
    Traceback (most recent call last):
    ...
    openhsi_shared.errors.FrameError: a line with values from 255 to 256 does not fit into uint8 (0 to 255)
    """
    array = unmasked(values, "a line has")
    if array.dtype != out.dtype and array.size and not np.can_cast(array.dtype, out.dtype, "safe"):
        if array.dtype.kind not in "iufb":  # else texts would be copied up to the first non-number
            raise FrameError(f"a line of {array.dtype} does not fit into {out.dtype}")
        if out.dtype.kind in "iu":
            _check_limits(array, out.dtype)
    try:
        np.copyto(out, array, casting="unsafe")
    except (ValueError, TypeError) as error:
        raise FrameError(
            f"a line of shape {array.shape} and type {array.dtype} does not fit into {out.shape} {out.dtype}"
        ) from error


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """View of `array` that cannot be written."""
    view = array.view()
    view.flags.writeable = False
    return view


def _check_limits(array: NDArray[Any], dtype: np.dtype[Any]) -> None:
    limits = np.iinfo(dtype)
    low, high = array.min(), array.max()
    # compared as Python's integers: as a float, the largest 64-bit integer is rounded up to one that does not fit
    fits = bool(np.isfinite(low) and np.isfinite(high))  # a NaN makes both of them NaN
    if fits and array.dtype.kind == "f":
        fits = limits.min <= math.floor(float(low)) and math.ceil(float(high)) <= limits.max
    elif fits:
        fits = limits.min <= int(low) and int(high) <= limits.max
    if not fits:
        raise FrameError(
            f"a line with values from {low} to {high} does not fit into {dtype} ({limits.min} to {limits.max})"
        )


class CircArrayBuffer:
    """A circular array of the newest `size[axis]` lines: first in, first out; when full, the oldest is overwritten."""

    def __init__(
        self,
        size: Sequence[int] = (100, 100),
        axis: int = 0,
        dtype: DTypeLike = np.uint8,
        show_func: Callable[[NDArray[Any]], Any] | None = None,
    ) -> None:
        """Make a zeroed array of `size`; `axis` is the circular one; `show` calls `show_func(data)` if given.

        ArgumentError for a `size` or `axis` that is not valid.
        """
        self._describe(size, axis, show_func)
        self._attach(np.zeros(self._memory_shape(), dtype), np.zeros(2, np.int64))

    def _describe(self, size: Sequence[int], axis: int, show_func: Callable[[NDArray[Any]], Any] | None) -> None:
        try:
            self.size = tuple(int(n) for n in size)
            whole = all(n == m for n, m in zip(self.size, size, strict=True))
        except (TypeError, ValueError, OverflowError) as error:
            raise ArgumentError(f"size must be a sequence of whole numbers > 0, got {size!r}") from error
        if not self.size or min(self.size) < 1 or not whole:
            raise ArgumentError(f"size must be a sequence of whole numbers > 0, got {size!r}")
        if (
            isinstance(axis, bool)
            or not isinstance(axis, int | np.integer)
            or not -len(self.size) <= axis < len(self.size)
        ):
            raise ArgumentError(f"axis {axis!r} does not exist in an array of size {self.size}")
        self.axis = int(axis) % len(self.size)
        self.show_func = show_func

    def _memory_shape(self) -> tuple[int, ...]:
        return (self.size[self.axis], *self.size[: self.axis], *self.size[self.axis + 1 :])

    def _attach(self, lines: NDArray[Any], counts: Any) -> None:
        """Use `lines` (circular axis first) and `counts` (n_put, n_got: 64-bit words, each with one writer)."""
        self._lines = lines
        self._counts = counts

    @classmethod
    def of(cls, lines: NDArray[Any], axis: int) -> "CircArrayBuffer":
        """A full array of `lines` (circular axis first) that cannot be changed; `data` is a read-only view of them."""
        made = cls.__new__(cls)
        made._describe((*lines.shape[1 : axis + 1], len(lines), *lines.shape[axis + 1 :]), axis, None)  # noqa: SLF001 - its own
        made._attach(read_only(lines), [len(lines), 0])  # noqa: SLF001
        return made

    @property
    def data(self) -> NDArray[Any]:
        """The array with the requested order of axes: a view; unused lines are zero."""
        return np.moveaxis(self._lines, 0, self.axis)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an item."""
        return self._lines.dtype

    @property
    def n_put(self) -> int:
        """Number of lines ever put; a line counts once its bytes are stored."""
        return int(self._counts[N_PUT])

    @property
    def _n_read(self) -> int:
        """Number of the oldest unread line: how many were got or overwritten."""
        return max(int(self._counts[N_GOT]), self.n_put - len(self._lines))

    @property
    def slots_left(self) -> int:
        """Number of lines that can be put before an unread one is overwritten."""
        return len(self._lines) - (self.n_put - self._n_read)

    @property
    def write_pos(self) -> list[slice | int]:
        """Index into `data` of the line that the next `put` writes."""
        return self._position(self.n_put)

    @property
    def read_pos(self) -> list[slice | int]:
        """Index into `data` of the line that the next `get` returns."""
        return self._position(self._n_read)

    def _position(self, n: int) -> list[slice | int]:
        position: list[slice | int] = [slice(None)] * len(self.size)
        position[self.axis] = n % len(self._lines)
        return position

    def put(self, line: ArrayLike) -> None:
        """Copy `line`, an array without the circular axis or a scalar; when full, overwrite the oldest line.

        FrameError if its shape does not fit, or if the cast would overflow.
        """
        n_put = int(self._counts[N_PUT])
        copy_without_wrapping(self._lines[n_put % len(self._lines), ...], line)
        self._counts[N_PUT] = n_put + 1  # last, so that no reader counts a half-written line

    def get(self) -> Any:
        """Return the oldest unread line as a view (copy it before it is overwritten), or None if there is none."""
        if self.is_empty():
            return None
        n_read = self._n_read
        line = self._lines[n_read % len(self._lines)]
        self._counts[N_GOT] = n_read + 1
        return line

    def is_empty(self) -> bool:
        """Whether every line that was put has been read."""
        return self._n_read == self.n_put

    def __getitem__(self, key: Any) -> Any:
        return self.data[key]

    def __len__(self) -> int:
        return len(self._lines)

    def show(self) -> Any:
        """Show the data with `show_func`, or as a grey picture (3-D: summed over the last axis), or as text (1-D)."""
        if self.show_func is not None:
            return self.show_func(self.data)
        from openhsi_shared.show import show_array

        return show_array(self.data)

    def __repr__(self) -> str:
        unread = self.n_put - self._n_read
        return f"{type(self).__name__}(size={self.size}, axis={self.axis}, dtype={self.dtype}, unread={unread})"


class _NoLock:
    """Lock that does nothing. A real one would leave its name in /dev/shm after a `kill -9`."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:  # noqa: ARG002 - the lock's interface
        """Always succeeds."""
        return True

    def release(self) -> None:
        """No-op."""

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *_: object) -> None:
        pass


class SharedCircArrayBuffer(CircArrayBuffer):
    """A circular array on `multiprocessing.Array`: children that get it as an argument share bytes and counters.

    One process puts, one gets, without locks: a process that died holding one would block the other. Pass it to a child
    as an argument of its spawned `Process`.
    """

    def __init__(
        self,
        size: Sequence[int] = (100, 100),
        axis: int = 0,
        c_dtype: Any = ctypes.c_uint8,
        show_func: Callable[[NDArray[Any]], Any] | None = None,
    ) -> None:
        """Make a zeroed shared array; `c_dtype` is a ctypes type.

        Raises MemoryShortage if it does not fit, ArgumentError for arguments that are not valid.

        `shared_data` is this array, with `get_obj()` as of a `multiprocessing.Array`. Its lock does nothing.
        """
        self._describe(size, axis, show_func)
        self.c_dtype = _number_type(c_dtype)
        """Type of an item, of ctypes."""
        raw = shared_array(self.c_dtype, math.prod(self.size), f"SharedCircArrayBuffer of size {self.size}")
        self.shared_data = synchronized(raw, cast(Any, _NoLock()))
        """The memory, as a `multiprocessing.Array`."""
        self._shared_counts = shared_array("q", 2, "counters")
        self._attach_shared()

    def _attach_shared(self) -> None:
        lines = np.frombuffer(self.shared_data.get_obj(), np.dtype(self.c_dtype)).reshape(self._memory_shape())
        self._attach(lines, np.frombuffer(self._shared_counts, np.int64))

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the views: a pickled view would become a silent copy."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_lines", "_counts")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._attach_shared()


def _number_type(c_dtype: Any) -> Any:
    """Return `c_dtype` if it is a numeric ctypes type, else raise ArgumentError."""
    try:
        is_simple = isinstance(c_dtype, type) and issubclass(c_dtype, ctypes._SimpleCData)  # noqa: SLF001 - of ctypes
        code = np.dtype(c_dtype) if is_simple else None
    except (TypeError, NotImplementedError):  # such as c_void_p
        code = None
    if code is None or code.kind not in "uif":
        raise ArgumentError(f"c_dtype must be a numeric ctypes type such as ctypes.c_uint16, got {c_dtype!r}")
    return c_dtype
