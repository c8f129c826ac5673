"""Columns of lines for channels that are functions of time: every value, age and state by arithmetic."""

from dataclasses import replace

import numpy as np
import pytest

from openhsi_shared.channels.matched_columns import LineTimes, SourceSeries, matched_columns
from openhsi_shared.channels.properties import QUATERNION, Field
from openhsi_shared.matching import State
from tests.support.channels import BEGIN, MS, S, every, properties, seconds_of

LINES = LineTimes.of(every(2, BEGIN + 10 * S, BEGIN + 12 * S), 1.0)


def series(channel, times, values=None, lag_ns=5 * MS, **more):
    values = seconds_of(times)[:, None] if values is None else np.asarray(values, float)
    empty = {"change_times_ns": np.zeros(0, np.int64), "states": np.zeros(0, np.int8)}
    empty |= {"jumps_ns": np.zeros((0, 2), np.int64), "is_invalid": np.zeros(len(times), bool)}
    return SourceSeries(properties=channel, times_ns=times, arrival_ns=times + lag_ns, values=values, **(empty | more))


def test_every_value_and_age_is_that_of_the_function():
    found = matched_columns(series(properties("a"), every(7, BEGIN, BEGIN + 13 * S)), LINES)
    seconds = seconds_of(LINES.middle_ns)
    assert np.abs(found.columns["a"] - seconds).max() < 1e-9
    assert np.allclose(found.columns["a_age"], (LINES.middle_ns - BEGIN) % (7 * MS) / S, atol=1e-12)
    assert found.columns["a_state"].dtype == np.int8
    assert not found.columns["a_state"].any()
    value, age, state = found.descriptions
    assert value.labels["ancillary_variables"] == "a_age a_state"
    assert (age.unit, "units" in state.labels) == ("s", False)
    assert state.labels["flag_meanings"].split()[State.NO_FIX] == "no_fix"


def test_fields_have_their_own_way_of_matching_and_one_state():
    fields = [Field("course", "degree", kind="angle"), Field("fix", kind="flags", flags=("no", "yes it is"))]
    times = every(100, BEGIN, BEGIN + 11 * S)
    values = np.column_stack([(seconds_of(times) * 100) % 360, np.arange(len(times)) % 2])
    found = matched_columns(series(properties("gps", fields), times, values), LINES)
    within = LINES.middle_ns <= times[-1]
    expected = (seconds_of(LINES.middle_ns) * 100) % 360
    assert np.abs(found.columns["gps_course"] - expected)[within].max() < 1e-6
    assert np.isnan(found.columns["gps_course"][~within]).all()
    assert (found.columns["gps_state"] == np.where(within, State.GOOD, State.EDGE)).all(), "of the one that is worst"
    assert set(found.columns["gps_fix"][~within]) == {1.0}
    assert found.descriptions[1].labels["flag_meanings"] == "no yes_it_is"
    assert found.descriptions[1].labels["flag_values"].dtype == np.float64


@pytest.mark.parametrize(
    ("unit", "circle"), [("radians", 2 * np.pi), ("mrad", 2000 * np.pi), ("deg", 360), (None, 360)]
)
def test_an_angle_goes_round_the_circle_of_its_unit(unit, circle):
    times = every(100, BEGIN, BEGIN + 13 * S)
    values = (seconds_of(times) * circle / 7)[:, None] % circle
    found = matched_columns(series(properties("a", [Field("value", unit, kind="angle")]), times, values), LINES)
    assert np.abs(found.columns["a"] - seconds_of(LINES.middle_ns) * circle / 7 % circle).max() < 1e-9 * circle


def test_a_quaternion_is_matched_as_one():
    times = every(50, BEGIN, BEGIN + 13 * S)
    angle = seconds_of(times) * 0.2
    values = np.column_stack([np.cos(angle / 2), 0 * angle, 0 * angle, np.sin(angle / 2)])
    values[::3] *= -1
    fields = [Field(name, kind="quaternion") for name in QUATERNION]
    found = matched_columns(series(properties("q", fields, kind="quaternion"), times, values), LINES).columns
    turned = 2 * np.arctan2(found["q_z"] * np.sign(found["q_w"]), np.abs(found["q_w"]))
    assert np.abs(turned - seconds_of(LINES.middle_ns) * 0.2).max() < 1e-9


def test_states_of_the_source_go_before_those_of_the_matching():
    times = np.append(every(10, BEGIN, BEGIN + 10 * S), every(10, BEGIN + 11 * S + 500 * MS, BEGIN + 13 * S))
    changes = np.array([BEGIN, BEGIN + 10 * S + 200 * MS, BEGIN + 11 * S + 500 * MS])
    states = np.array([State.GOOD, State.LOST, State.GOOD], np.int8)
    found = matched_columns(series(properties("a"), times, change_times_ns=changes, states=states), LINES)
    seconds = seconds_of(LINES.middle_ns)
    expected = np.select([seconds < 10.2, seconds < 11.5], [State.GAP, State.LOST], State.GOOD)
    expected[seconds <= seconds_of(times[999])] = State.GOOD
    assert (found.columns["a_state"] == expected).all()
    assert (np.isnan(found.columns["a"]) == (expected != State.GOOD)).all()


def test_between_the_samples_around_a_jump_nothing_is_known():
    jump = np.array([[BEGIN + 10 * S + 500 * MS, BEGIN + 10 * S + 700 * MS]])
    found = matched_columns(series(properties("a"), every(10, BEGIN, BEGIN + 13 * S), jumps_ns=jump), LINES)
    seconds = seconds_of(LINES.middle_ns)
    is_between = (seconds > 10.5) & (seconds < 10.7)
    assert (found.columns["a_state"] == np.where(is_between, State.JUMPED, State.GOOD)).all()
    assert (np.isnan(found.columns["a"]) == is_between).all()


def test_a_value_of_which_the_source_says_that_it_is_invalid_is_not_matched():
    times = every(500, BEGIN, BEGIN + 13 * S)
    is_invalid = times == BEGIN + 11 * S
    channel = properties("pv", [Field("value", how="previous")])
    found = matched_columns(series(channel, times, is_invalid=is_invalid), LINES)
    seconds = seconds_of(LINES.middle_ns)
    is_bad = (seconds >= 11) & (seconds < 11.5)
    assert (found.columns["pv_state"] == np.where(is_bad, State.REFUSED, State.GOOD)).all()
    assert (np.isnan(found.columns["pv"]) == is_bad).all()


def test_lines_to_which_a_sample_may_still_come_are_edges_also_of_previous():
    channel = properties("a", [Field("value", how="previous")])
    data = series(channel, every(100, BEGIN, BEGIN + 11 * S), lag_ns=250 * MS)
    now = BEGIN + 11 * S + 600 * MS
    found = matched_columns(data, LINES, now)
    assert (found.columns["a_state"] == np.where(LINES.middle_ns > now - 250 * MS, State.EDGE, State.GOOD)).all()
    assert not matched_columns(data, LINES).columns["a_state"].any(), "the series is complete"


def test_the_length_of_a_gap_is_that_of_five_periods_and_a_second_at_least():
    times = np.append(every(400, BEGIN, BEGIN + 10 * S), every(400, BEGIN + 11 * S + 500 * MS, BEGIN + 14 * S))
    assert not matched_columns(series(properties("a"), times), LINES).columns["a_state"].any()
    times = times[::2]
    slow = series(properties("a", gap_s=1.5), times)
    assert (matched_columns(slow, LINES).columns["a_state"] == State.GAP).any()
    declared = series(properties("a", rate=100.0), times)
    assert (matched_columns(declared, LINES).columns["a_state"] == State.GAP).any()


def test_the_part_of_a_series_that_lines_need_gives_the_same():
    random = np.random.default_rng(3)
    times = BEGIN + np.sort(random.integers(0, 14 * S, 900))
    whole = series(properties("a"), times)
    part = whole.in_order().near(LINES)
    assert len(part.times_ns) < 200
    for name, column in matched_columns(whole, LINES).columns.items():
        assert np.array_equal(column, matched_columns(part, LINES).columns[name], equal_nan=True)
    shuffled = random.permutation(900)
    mixed = replace(
        whole, times_ns=times[shuffled], values=whole.values[shuffled], arrival_ns=whole.arrival_ns[shuffled]
    )
    assert np.array_equal(matched_columns(mixed, LINES).columns["a"], matched_columns(whole, LINES).columns["a"])


@pytest.mark.parametrize("exposure_ms", [None, "unknown", -1.0, True, 0])
def test_an_exposure_that_is_unknown_is_none(exposure_ms):
    assert LineTimes.of(LINES.middle_ns, exposure_ms).exposure_ns == 0


def test_the_mean_is_that_of_the_exposure():
    times = every(1, BEGIN, BEGIN + 13 * S)
    lines = LineTimes.of(every(100, BEGIN + 10 * S, BEGIN + 12 * S), 8.0)
    is_even = (np.arange(len(times)) % 2).astype(float)
    found = matched_columns(series(properties("a", [Field("value", how="mean")]), times, is_even[:, None]), lines)
    assert np.allclose(found.columns["a"], 4 / 9), "nine samples, of which four are 1"


def test_a_channel_without_samples_has_no_values():
    found = matched_columns(series(properties("a"), np.zeros(0, np.int64)), LINES, BEGIN + 12 * S)
    assert np.isnan(found.columns["a"]).all()
    assert (found.columns["a_state"] == State.GAP).all()
