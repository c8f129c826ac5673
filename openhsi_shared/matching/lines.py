"""Values of a series at other times: those of lines.

Between two samples, a number is interpolated; an angle goes the shorter way round the circle; a quaternion is turned at
an even rate (slerp: K. Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985). Nothing is extrapolated.
Imports nothing but numpy: the writer loads this module.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.errors import ArgumentError
from openhsi_shared.given_numbers import is_number
from openhsi_shared.line_times import UNKNOWN_TIME_NS, ns_of
from openhsi_shared.matching.interpolating import between, unit_quaternions
from openhsi_shared.matching.means import means_of
from openhsi_shared.matching.states import State

__all__ = ["HOWS", "KINDS", "How", "Kind", "Matched", "Ordered", "in_order", "match", "match_ids"]

How = Literal["nearest", "previous", "linear", "cubic", "mean"]
Kind = Literal["number", "angle", "quaternion", "flags"]
HOWS = ("nearest", "previous", "linear", "cubic", "mean")
KINDS = ("number", "angle", "quaternion", "flags")
IMPOSSIBLE = {("flags", "linear"), ("flags", "cubic"), ("flags", "mean"), ("quaternion", "cubic")}

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


class Matched(NamedTuple):
    """Values of lines."""

    values: Floats
    """(n,), or (n, k) for a series of k values each; NaN where there is none."""
    age_s: Floats
    """(n,): time of the line minus that of the sample that was used, which is the earlier one of two; NaN if there is
    no earlier sample. Negative where the nearest sample is a later one."""
    state: NDArray[np.int8]
    """(n,): numbers of `State`."""


class Ordered(NamedTuple):
    """A series in the order of time, each time once."""

    times_ns: Times
    values: Floats
    n_equal: int
    """Samples left out because a later one has the same time."""
    n_backward: int
    """Samples that came after one with a later time."""
    n_without_time: int
    """Samples left out because their time is unknown."""


def in_order(times_ns: ArrayLike, values: ArrayLike) -> Ordered:
    """Sort a series by its times; of samples with the same time, the last one counts.

    `times_ns` are whole ns (or datetime64), `values` (n,) or (n, k). ArgumentError for other types and shapes.
    """
    times, numbers = _times("times_ns", times_ns), _numbers(values)
    if numbers.ndim not in (1, 2) or len(numbers) != len(times):
        raise ArgumentError(f"values have shape {numbers.shape}, expected ({len(times)},) or ({len(times)}, k)")
    steps_up = times[1:] > times[:-1]
    if steps_up.all() and (len(times) == 0 or times[0] != UNKNOWN_TIME_NS):
        return Ordered(times, numbers, 0, 0, 0)
    is_known = times != UNKNOWN_TIME_NS
    times, numbers = times[is_known], numbers[is_known]
    n_backward = int((times < np.maximum.accumulate(times)).sum()) if len(times) else 0
    order = np.argsort(times, kind="stable")
    times, numbers = times[order], numbers[order]
    is_last = np.append(times[1:] != times[:-1], True)[: len(times)]
    n_equal, n_without = int((~is_last).sum()), int((~is_known).sum())
    return Ordered(times[is_last], numbers[is_last], n_equal, n_backward, n_without)


def match(
    times_ns: ArrayLike,
    values: ArrayLike,
    at_ns: ArrayLike,
    *,
    how: How,
    kind: Kind = "number",
    tolerance_s: float | None = None,
    gap_s: float | None = None,
    max_age_s: float | None = None,
    until_ns: ArrayLike | None = None,
    period: float = 360.0,
) -> Matched:
    """Values of a series at other times.

    `times_ns` (n,) are UTC ns as int64, or datetime64, in any order: the last of equal times counts. `values` are (n,)
    or (n, k), for a quaternion (n, 4) in any order of its components. `at_ns` (m,) are the times of the lines,
    `until_ns` those of the ends of their exposures, for `mean`.

    | how      | value                                                                                             |
    |----------|---------------------------------------------------------------------------------------------------|
    | nearest  | of the nearest sample; of two, the earlier                                                          |
    | previous | of the last sample at or before the line                                                            |
    | linear   | on the straight line between its two neighbours                                                     |
    | cubic    | of the polynomial through two neighbours on each side, or four on one side at the ends; where a hole|
    |          | is among them, linear                                                                               |
    | mean     | mean of the samples from `at_ns` to `until_ns`, both included; if there is none, linear in the middle|

    A kind "angle" is in degrees, or has another `period`; results are in the range 0 to `period`, or from minus to plus
    half of it if some of the values are negative. Quaternions have the length 1, also if they were interpolated.

    The limits, none by default: `tolerance_s`, the largest distance of the line to the nearer of the samples that are
    used; `gap_s`, for linear, cubic and mean, the longest time between two samples that is no hole; `max_age_s`, for
    nearest and previous. What is beyond a limit is NaN, and its state GAP, or STALE if the sample is too old. Without a
    later sample, the state is EDGE, and the value is NaN where both neighbours are needed.

    Raises ArgumentError for other types, shapes and words, and where a kind has no such interpolation.
    """
    at, until = _checked_lines(how, kind, at_ns, until_ns)
    times, numbers, *_ = in_order(times_ns, values)
    if kind == "quaternion" and (numbers.ndim != 2 or numbers.shape[1] != 4):
        raise ArgumentError(f"quaternions have shape {numbers.shape}, expected (n, 4)")
    if not (is_number(period) and period > 0):
        raise ArgumentError(f"period must be > 0, such as 360.0 for degrees, got {period!r}")
    for name, limit in (("tolerance_s", tolerance_s), ("gap_s", gap_s), ("max_age_s", max_age_s)):
        if limit is not None and not (is_number(limit) and limit >= 0):
            raise ArgumentError(f"{name} must be a number of seconds >= 0, or None, got {limit!r}")
    times, numbers = _near(times, numbers, at, until)
    if kind == "quaternion":
        numbers = unit_quaternions(numbers)
    if len(times) == 0:
        return _nothing(len(at), numbers.shape[1:])
    if how in ("nearest", "previous"):
        return _of_one_sample(times, numbers, at, how, tolerance_s, max_age_s)
    if how == "mean":
        return Matched(*means_of(times, numbers, at, until, kind, gap_s, tolerance_s, period))
    return Matched(*between(times, numbers, at, how, kind, gap_s, tolerance_s, period))


def match_ids(ids: ArrayLike, values: ArrayLike, at_ids: ArrayLike) -> Matched:
    """Values with exactly these ids, such as pulse ids or frame ids; the last of equal ids counts.

    `ids` (n,) and `at_ids` (m,) are whole numbers, `values` (n,) or (n, k). Negative ids are unknown. Where no sample
    has the id, the value is NaN, and the state GAP. Ages are NaN: ids have no time. ArgumentError for ids that are no
    whole numbers, or other numbers of values.
    """
    wanted = _times("at_ids", at_ids)
    numbered, numbers, *_ = in_order(ids, values)
    found = np.searchsorted(numbered, wanted)
    is_there = (found < len(numbered)) & (wanted >= 0)
    is_there[is_there] = numbered[found[is_there]] == wanted[is_there]
    result = np.full((len(wanted), *numbers.shape[1:]), np.nan)
    result[is_there] = numbers[found[is_there]]
    state = np.where(is_there, np.int8(State.GOOD), np.int8(State.GAP))
    return Matched(result, np.full(len(wanted), np.nan), state)


def _numbers(values: ArrayLike) -> Floats:
    array = np.asarray(values)
    try:
        if array.dtype.kind in "biufO":
            return array.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        pass
    raise ArgumentError(f"values are of type {array.dtype}, expected numbers, got {array!r:.60}")


def _times(name: str, times: ArrayLike) -> Times:
    array = np.asarray(times)
    if array.dtype.kind == "M":
        array = ns_of(array, name)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ArgumentError(
            f"{name} is of shape {array.shape} and type {array.dtype}, expected (n,) whole numbers: float64 cannot "
            "contain nanoseconds since 1970"
        )
    return array.astype(np.int64, copy=False)


def _checked_lines(how: str, kind: str, at_ns: ArrayLike, until_ns: ArrayLike | None) -> tuple[Times, Times]:
    if how not in HOWS:
        raise ArgumentError(f"how={how!r} is unknown, expected one of {', '.join(HOWS)}")
    if kind not in KINDS:
        raise ArgumentError(f"kind={kind!r} is unknown, expected one of {', '.join(KINDS)}")
    if (kind, how) in IMPOSSIBLE:
        also = "" if kind == "flags" else ", linear, mean"
        raise ArgumentError(f"how={how!r} is impossible for kind={kind!r}: use previous, nearest{also}")
    at = _times("at_ns", at_ns)
    if (until_ns is None) == (how == "mean"):
        raise ArgumentError("until_ns is for how='mean' only, which needs it: the end of each exposure")
    if until_ns is None:
        return at, at
    until = _times("until_ns", until_ns)
    if until.shape != at.shape or (until < at).any():
        raise ArgumentError("until_ns must be as long as at_ns, and not earlier than it")
    return at, until


def _near(times: Times, numbers: Floats, at: Times, until: Times) -> tuple[Times, Floats]:
    """The part of a series that lines can use: four more samples at either end."""
    if len(at) == 0:
        return times[:0], numbers[:0]
    low, high = at.min(), until.max()
    if low == UNKNOWN_TIME_NS:
        if high == UNKNOWN_TIME_NS:
            return times[:0], numbers[:0]
        low = at[at != UNKNOWN_TIME_NS].min()
    first = max(0, int(times.searchsorted(low)) - 4)
    stop = int(times.searchsorted(high, side="right")) + 4
    return times[first:stop], numbers[first:stop]


def _nothing(n: int, shape: tuple[int, ...]) -> Matched:
    return Matched(np.full((n, *shape), np.nan), np.full(n, np.nan), np.full(n, State.GAP, np.int8))


def _of_one_sample(
    times: Times, numbers: Floats, at: Times, how: str, tolerance_s: float | None, max_age_s: float | None
) -> Matched:
    last = len(times) - 1
    used = times.searchsorted(at, side="right") - 1
    has_one = used >= 0
    is_edge = np.zeros(len(at), bool)
    if how == "nearest":
        later = np.minimum(used + 1, last)
        earlier = np.maximum(used, 0)
        is_edge = (used == last) & (at > times[last])
        used = np.where(has_one & (at - times[earlier] <= times[later] - at) | (used == last), earlier, later)
        has_one = at != UNKNOWN_TIME_NS
    used = np.maximum(used, 0)
    age_s = np.where(has_one, (at - times[used]) * 1e-9, np.nan)
    state = np.full(len(at), State.GOOD, np.int8)
    state[is_edge] = State.EDGE
    too_far = ~has_one
    if tolerance_s is not None:
        too_far |= np.abs(at - times[used]) > _ns(tolerance_s)
    state[too_far] = State.GAP
    is_old = np.zeros(len(at), bool)
    for limit in (max_age_s, tolerance_s if how == "previous" else None):
        if limit is not None:
            is_old |= has_one & (at - times[used] > _ns(limit))
    state[is_old] = State.STALE
    values = numbers[used]
    values[too_far | is_old] = np.nan
    return Matched(values, age_s, state)


def _ns(seconds: Any) -> float:
    return float(np.rint(seconds * 1e9))
