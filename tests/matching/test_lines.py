"""Values of lines, against what is computed one line at a time, from the rule."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhsi_shared.errors import ArgumentError
from openhsi_shared.line_times import UNKNOWN_TIME_NS
from openhsi_shared.matching import State, in_order, match, match_ids

S = 10**9
times_s = st.lists(st.integers(0, 40), max_size=12)
lines_s = st.lists(st.integers(-5, 45), min_size=1, max_size=12)
limits = st.one_of(st.none(), st.integers(0, 12))
numbers = st.one_of(st.floats(-100, 100), st.just(math.nan))


def sorted_once(stamps, values):
    """The last of equal stamps."""
    return sorted(dict(zip(stamps, values, strict=True)).items())


def shorter_way(difference):
    return (difference + 180) % 360 - 180


def brute_force(samples, at, how, kind="number", tolerance=None, gap=None, max_age=None, until=None):
    """Value and state of one line; all times are in s."""
    earlier = [s for s in samples if s[0] <= at]
    later = [s for s in samples if s[0] > at]
    if how == "previous":
        if not earlier:
            return math.nan, State.GAP
        age = at - earlier[-1][0]
        is_old = any(limit is not None and age > limit for limit in (max_age, tolerance))
        return (math.nan, State.STALE) if is_old else (earlier[-1][1], State.GOOD)
    if how == "nearest":
        if not samples:
            return math.nan, State.GAP
        time, value = min(samples, key=lambda s: (abs(s[0] - at), s[0]))
        if max_age is not None and at - time > max_age:
            return math.nan, State.STALE
        if tolerance is not None and abs(time - at) > tolerance:
            return math.nan, State.GAP
        return value, State.GOOD if later or time == at else State.EDGE
    if how == "mean":
        inside = [s for s in samples if at <= s[0] <= until]
        if not inside:
            return brute_force(samples, (at + until) / 2, "linear", kind, tolerance, gap)
        touched = [s[0] for s in (earlier[-1:] or inside[:1])]
        touched += [s[0] for s in samples if at < s[0] < until] + [s[0] for s in samples if s[0] >= until][:1]
        if gap is not None and any(b - a > gap for a, b in itertools.pairwise(touched)):
            return math.nan, State.GAP
        return sum(s[1] for s in inside) / len(inside), State.EDGE if until > samples[-1][0] else State.GOOD
    if earlier and earlier[-1][0] == at:
        return earlier[-1][1], State.GOOD
    if not earlier or not later:
        return math.nan, State.EDGE if earlier else State.GAP
    (a, one), (b, other) = earlier[-1], later[0]
    if (gap is not None and b - a > gap) or (tolerance is not None and min(at - a, b - at) > tolerance):
        return math.nan, State.GAP
    way = shorter_way(other - one) if kind == "angle" else other - one
    return one + (at - a) / (b - a) * way, State.GOOD


@settings(max_examples=120, deadline=None)
@given(st.data(), times_s, lines_s, st.sampled_from(["nearest", "previous", "linear", "mean"]), limits, limits, limits)
def test_values_and_states_equal_the_rule_line_by_line(data, stamps, lines, how, tolerance, gap, max_age):
    values = data.draw(st.lists(numbers, min_size=len(stamps), max_size=len(stamps)))
    until = [at + 2 * data.draw(st.integers(0, 6)) for at in lines] if how == "mean" else None
    found = match(
        np.array(stamps, np.int64) * S,
        values,
        np.array(lines, np.int64) * S,
        how=how,
        tolerance_s=tolerance,
        gap_s=gap,
        max_age_s=max_age,
        until_ns=None if until is None else np.array(until) * S,
    )
    samples = sorted_once(stamps, values)
    for i, at in enumerate(lines):
        value, state = brute_force(samples, at, how, "number", tolerance, gap, max_age, until and until[i])
        assert found.state[i] == state, (i, at)
        np.testing.assert_allclose(found.values[i], value, rtol=1e-12, atol=1e-12)


@settings(max_examples=80, deadline=None)
@given(st.data(), times_s, lines_s, st.booleans())
def test_angles_take_the_shorter_way(data, stamps, lines, is_signed):
    low = -180 if is_signed else 0
    values = data.draw(st.lists(st.integers(low, low + 359), min_size=len(stamps), max_size=len(stamps)))
    found = match(np.array(stamps, np.int64) * S, values, np.array(lines) * S, how="linear", kind="angle")
    for i, at in enumerate(lines):
        value, state = brute_force(sorted_once(stamps, values), at, "linear", "angle")
        assert found.state[i] == state
        assert math.isnan(value) == math.isnan(found.values[i])
        if not math.isnan(value) and stamps:
            assert abs(shorter_way(found.values[i] - value)) < 1e-9
            assert -180 <= found.values[i] < 360 + (found.values[i] < 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=4, max_size=30, unique=True), st.data())
def test_a_cubic_polynomial_is_found_exactly(stamps_ms, data):
    polynomial = np.polynomial.Polynomial(data.draw(st.lists(st.floats(-5, 5), min_size=4, max_size=4)), [0, 10**6])
    at = np.linspace(min(stamps_ms), max(stamps_ms), 50).astype(np.int64)
    stamps = np.array(stamps_ms)
    found = match(stamps * 10**6, polynomial(stamps), at * 10**6, how="cubic")
    near = np.sort(stamps)
    widest = np.diff(near).max() / np.diff(near).min()
    np.testing.assert_allclose(found.values, polynomial(at), atol=1e-12 * widest**3 + 1e-9)
    assert (found.state == State.GOOD).all()


def test_cubic_is_linear_beside_a_hole_or_a_nan_and_goes_round_the_circle():
    times = np.array([0, 1, 2, 3, 10, 11]) * S
    values = np.array([0.0, 1, 4, 9, 100, 121])
    at = np.array([1.5, 2.5, 5, 10.5]) * S
    found = match(times, values, at.astype(np.int64), how="cubic", gap_s=2)
    np.testing.assert_allclose(found.values, [2.25, 6.5, np.nan, 110.5])
    assert found.state.tolist() == [State.GOOD, State.GOOD, State.GAP, State.GOOD]
    values[0] = np.nan
    assert match(times, values, [3 * S // 2], how="cubic", gap_s=2).values == pytest.approx(2.5)
    turning = (340 + 10 * np.arange(6.0) + np.arange(6) ** 2) % 360
    found = match(np.arange(6) * S, turning, [5 * S // 2], how="cubic", kind="angle")
    assert found.values == pytest.approx((340 + 25 + 6.25) % 360)


def quaternion_about_z(degrees):
    half = np.radians(np.asarray(degrees, float)) / 2
    return np.stack([np.cos(half), 0 * half, 0 * half, np.sin(half)], axis=-1)


@given(st.floats(-360, 360), st.floats(-179, 179), st.floats(0, 1), st.floats(0.1, 10), st.booleans())
def test_attitudes_turn_evenly_whatever_their_sign_and_length(begin, turn, share, length, is_negative):
    samples = quaternion_about_z([begin, begin + turn])
    samples[1] *= -length if is_negative else length
    at = round(share * 1000)
    found = match([0, 1000], samples, [at], how="linear", kind="quaternion").values[0]
    expected = quaternion_about_z(begin + turn * at / 1000)
    assert abs(np.dot(found, expected)) == pytest.approx(1, abs=1e-9)
    assert np.linalg.norm(found) == pytest.approx(1)


def test_a_quaternion_of_no_length_is_nan_and_the_mean_heeds_signs():
    samples = quaternion_about_z([0, 10, 20])
    samples[1] *= -1
    found = match([0, 1, 2], samples, [0], how="mean", kind="quaternion", until_ns=[2])
    np.testing.assert_allclose(found.values[0], quaternion_about_z(10), atol=1e-12)
    samples[1] = 0
    assert np.isnan(match([0, 1, 2], samples, [1], how="previous", kind="quaternion").values).all()


def test_the_mean_of_angles_is_that_on_the_circle():
    found = match([0, 1, 2], [350, 10, 30], [0, 0], how="mean", kind="angle", until_ns=[1, 2])
    assert found.values[0] % 360 == pytest.approx(0, abs=1e-9)
    assert found.values[1] == pytest.approx(10)
    assert np.isnan(match([0, 1], [0, 180], [0], how="mean", kind="angle", until_ns=[1]).values)


def test_radians_have_another_period():
    found = match([0, 2], [0.1, 2 * np.pi - 0.1], [1], how="linear", kind="angle", period=2 * np.pi)
    assert found.values % (2 * np.pi) == pytest.approx(0, abs=1e-12)


def test_several_values_have_one_age_and_one_state():
    values = np.arange(8.0).reshape(4, 2)
    for how in ("nearest", "previous", "linear", "cubic"):
        found = match(np.arange(4) * S, values, [S, 2 * S], how=how)
        assert found.values.tolist() == [[2, 3], [4, 5]]
        assert found.age_s.tolist() == [0, 0]
    found = match(np.arange(4) * S, values, [S], how="mean", until_ns=[3 * S])
    assert found.values.tolist() == [[4, 5]]


def test_ages_are_those_of_the_sample_that_was_used():
    times = np.array([1, 2, 4]) * S
    at = np.array([0, 1, 3, 5], np.int64) * S + S // 10
    np.testing.assert_allclose(match(times, [1, 2, 4], at, how="previous").age_s, [np.nan, 0.1, 1.1, 1.1])
    np.testing.assert_allclose(match(times, [1, 2, 4], at, how="linear").age_s, [np.nan, 0.1, 1.1, 1.1])
    np.testing.assert_allclose(match(times, [1, 2, 4], at, how="nearest").age_s, [-0.9, 0.1, -0.9, 1.1])
    np.testing.assert_allclose(match(times, [1, 2, 4], [S], how="mean", until_ns=[4 * S]).age_s, [2.5 - 7 / 3])


def test_nanoseconds_of_today_are_not_rounded():
    now = 1_795_824_000_123_456_789
    found = match([now - 1, now, now + 1], [1.0, 2.0, 3.0], [now - 1, now, now + 1], how="previous")
    assert found.values.tolist() == [1, 2, 3]


def test_stamps_out_of_order_are_sorted_and_counted():
    ordered = in_order([5, 3, 3, 4, UNKNOWN_TIME_NS, 5], [0, 1, 2, 3, 4, 5])
    assert ordered.times_ns.tolist() == [3, 4, 5]
    assert ordered.values.tolist() == [2, 3, 5]
    assert (ordered.n_equal, ordered.n_backward, ordered.n_without_time) == (2, 3, 1)


def test_a_line_without_a_time_has_no_value():
    for how in ("nearest", "previous", "linear", "cubic"):
        found = match(np.arange(5), np.arange(5.0), [UNKNOWN_TIME_NS, 2], how=how, tolerance_s=9)
        np.testing.assert_array_equal(found.values, [np.nan, 2])
        assert found.state.tolist() == [State.GAP, State.GOOD]


def test_limits_may_be_infinite():
    for how in ("nearest", "previous", "linear", "cubic"):
        limits = {"gap_s": math.inf, "tolerance_s": math.inf, "max_age_s": math.inf}
        assert match([0, 10 * S], [0, 1], [5 * S], how=how, **limits).state.tolist() == [State.GOOD]


def test_without_samples_every_line_has_a_gap():
    found = match([], [], [1, 2], how="linear")
    assert np.isnan(found.values).all()
    assert found.state.tolist() == [State.GAP] * 2
    assert match([], np.zeros((0, 3)), [1], how="previous").values.shape == (1, 3)
    assert match([1, 2], [1, 2], [], how="previous").values.shape == (0,)


def test_a_nan_is_a_value():
    found = match(np.arange(3) * 2, [1, np.nan, 3], [0, 1, 2, 4], how="linear")
    np.testing.assert_array_equal(found.values, [1, np.nan, np.nan, 3])
    assert (found.state == State.GOOD).all()


def test_datetimes_are_times_too():
    times = np.array(["2026-01-01T00:00:00", "2026-01-01T00:00:02"], "datetime64[s]")
    assert match(times, [0, 2], times[:1] + np.timedelta64(1, "s"), how="linear").values.tolist() == [1]


def test_ids_match_exactly_or_not_at_all():
    found = match_ids([7, 3, 3, -1], [70, 30, 31, -10], [3, 7, 4, -1])
    np.testing.assert_array_equal(found.values, [31, 70, np.nan, np.nan])
    assert found.state.tolist() == [State.GOOD, State.GOOD, State.GAP, State.GAP]
    assert np.isnan(match_ids([], [], [3]).values).all()
    big = 2**53
    assert match_ids([big, big + 1], [1, 2], [big + 1]).values == [2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"how": "spline"}, "how='spline' is unknown, expected one of nearest, previous"),
        ({"kind": "image"}, "kind='image' is unknown"),
        ({"kind": "flags", "how": "linear"}, "impossible for kind='flags': use previous, nearest"),
        ({"kind": "quaternion", "how": "cubic"}, "impossible for kind='quaternion'"),
        ({"kind": "quaternion"}, r"quaternions have shape \(2,\), expected \(n, 4\)"),
        ({"how": "mean"}, "until_ns is for how='mean' only, which needs it"),
        ({"until_ns": [5]}, "until_ns is for how='mean' only"),
        ({"how": "mean", "until_ns": [0]}, "not earlier"),
        ({"gap_s": -1}, "gap_s must be a number of seconds >= 0, or None, got -1"),
        ({"max_age_s": math.nan}, "max_age_s"),
        ({"times_ns": [0.0, 1.0]}, "float64 cannot contain nanoseconds"),
        ({"values": [1.0]}, r"values have shape \(1,\), expected \(2,\) or \(2, k\)"),
        ({"period": 0}, "period must be > 0"),
        ({"period": "360"}, "period must be > 0"),
        ({"gap_s": "1"}, "gap_s must be a number of seconds >= 0"),
        ({"values": ["1.5", "2"]}, "expected numbers"),
        ({"values": [None, "two"]}, "expected numbers"),
    ],
)
def test_what_cannot_be_matched_is_refused(change, words):
    arguments = {"times_ns": [1, 2], "values": [1.0, 2.0], "at_ns": [1], "how": "linear"} | change
    with pytest.raises(ArgumentError, match=words):
        match(**arguments)


def test_matching_loads_nothing_but_numpy():
    program = "import sys; before = set(sys.modules); import openhsi_shared.matching.lines; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"scipy", "numba", "pandas", "xarray", "h5py"} & set(loaded)


@pytest.mark.parametrize("year", ["0001-01-01", "9999-12-31"])
def test_times_that_ns_cannot_express_are_refused_and_never_other_times(year):
    times = np.array([year, "2026-05-01"], "datetime64[s]")
    with pytest.raises(ArgumentError, match=f"{year}.* is outside of the years 1678 to 2262"):
        match(times, [1.0, 2.0], [0], how="nearest")
