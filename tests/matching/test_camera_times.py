"""Tables of sensors at the times of lines, beside openhsi's own computation."""

import numpy as np
import pandas as pd
import pytest

from openhsi_shared.errors import ArgumentError
from openhsi_shared.matching import interp2camera_times

START = "2026-11-27T03:00:00"


def table(n=40, **columns):
    index = pd.DatetimeIndex(pd.date_range(START, periods=n, freq="100ms"), name="board_time")
    return pd.DataFrame(columns, index=index)


def lines(n=60, begin_ms=-50, step_ms=71):
    return np.datetime64(START, "ns") + (np.arange(n) * step_ms + begin_ms) * np.timedelta64(1, "ms")


def as_openhsi(df, ts):
    """Its way, of numbers only: newer pandas refuses the column of words that it adds."""
    of_lines = pd.DataFrame({"is_line": 1.0}, index=pd.DatetimeIndex(ts))
    with_lines = pd.concat([df.assign(is_line=0.0), of_lines]).sort_index(kind="stable")
    filled = with_lines.interpolate(method="cubicspline", axis="index", limit_direction="both")
    return filled[with_lines["is_line"] == 1].drop(columns="is_line")


def test_compat_gives_the_numbers_of_openhsi():
    rng = np.random.default_rng(0)
    sparse = np.where(np.arange(40) % 3 == 0, rng.normal(size=40), np.nan)
    df = table(temp=rng.normal(size=40), altitude=sparse, heading=rng.uniform(0, 360, 40), quat_w=rng.normal(size=40))
    found = interp2camera_times(df, lines(), compat="openhsi")
    np.testing.assert_allclose(found.to_numpy(), as_openhsi(df, lines()).to_numpy(), rtol=1e-12)
    assert list(df.columns) == ["temp", "altitude", "heading", "quat_w"]


def test_numbers_are_cubic_angles_turn_and_nothing_is_extrapolated():
    seconds = np.arange(40) / 10
    degrees = (340 + 20 * seconds) % 360
    df = table(temp=seconds**3, heading=degrees, euler_x=(degrees + 180) % 360 - 180)
    found = interp2camera_times(df, lines())
    at = (lines() - np.datetime64(START, "ns")) / np.timedelta64(1, "s")
    inside = (at >= 0) & (at <= 3.9)
    assert 0 < inside.sum() < len(at)
    np.testing.assert_allclose(found["temp"][inside], at[inside] ** 3, atol=1e-9)
    np.testing.assert_allclose(found["heading"][inside], (340 + 20 * at[inside]) % 360, atol=1e-9)
    assert found[~inside].isna().all(axis=None)
    assert found["euler_x"].min() < 0
    assert (found.index == lines()).all()


def test_attitudes_turn_evenly():
    half = np.radians(np.arange(40) * 10) / 2
    zero = np.zeros(40)
    sign = np.where(np.arange(40) % 2, -1, 1)
    df = table(quat_w=np.cos(half) * sign, quat_x=zero, quat_y=zero, quat_z=np.sin(half) * sign)
    found = interp2camera_times(df, lines(20, 0, 71))
    expected = np.radians(np.arange(20) * 7.1) / 2
    dot = found["quat_w"] * np.cos(expected) + found["quat_z"] * np.sin(expected)
    np.testing.assert_allclose(np.abs(dot), 1, atol=1e-12)


def test_rows_of_other_sensors_are_no_samples_and_holes_stay_empty():
    values = np.where(np.arange(40) % 2 == 0, np.arange(40.0), np.nan)
    values[10:30] = np.nan
    found = interp2camera_times(table(pressure=values), lines(36, 0, 100), gap_s=0.5)["pressure"]
    np.testing.assert_allclose(found[:9], np.arange(9))
    assert found[9:30].isna().all()
    np.testing.assert_allclose(found[30:], np.arange(30, 36))


def test_counts_and_words_have_the_value_before():
    df = table(num_sats=np.arange(40) // 10, rpi_time=pd.date_range("2026-01-01", periods=40, freq="1s"))
    found = interp2camera_times(df, lines(3, -50, 1050))
    np.testing.assert_array_equal(found["num_sats"], [np.nan, 1, 2])
    assert found["rpi_time"].isna().tolist() == [True, False, False]
    assert found["rpi_time"].iloc[1] == pd.Timestamp("2026-01-01T00:00:10")


def test_times_with_a_zone_are_utc_and_an_empty_table_gives_nan():
    df = table(a=np.arange(40.0)).tz_localize("Australia/Sydney")
    at = df.index[3:5].tz_convert("UTC")
    assert interp2camera_times(df, at)["a"].tolist() == [3, 4]
    assert interp2camera_times(table(0, a=np.zeros(0)), lines(2))["a"].isna().all()
    for compat in (None, "openhsi"):
        assert interp2camera_times(table(1, a=[1.0]), lines(2), compat=compat)["a"].isna().all()


def test_what_is_no_table_of_times_is_refused():
    with pytest.raises(ArgumentError, match="the index of the table is of int64, expected times"):
        interp2camera_times(pd.DataFrame({"a": [1]}), lines())
    with pytest.raises(ArgumentError, match="compat must be 'openhsi' or None"):
        interp2camera_times(table(a=np.arange(40)), lines(), compat="upstream")
