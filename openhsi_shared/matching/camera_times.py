"""Tables of sensors at the times of lines, called as openhsi does."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.errors import ArgumentError
from openhsi_shared.line_times import ns_of
from openhsi_shared.matching.lines import How, Kind, in_order, match

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["interp2camera_times"]

QUATERNIONS = (("quat_w", "quat_x", "quat_y", "quat_z"), ("quat0", "quat1", "quat2", "quat3"))
"""Columns that are attitudes together, as openhsi's sensor boards name them."""
ANGLES = {"heading", "course", "yaw", "pitch", "roll", "longitude", "lon", "euler_x", "euler_y", "euler_z"}
"""Columns of angles in degrees."""
COUNTS = {"imu_cal", "num_sats", "numSV"}
"""Columns of numbers that have nothing in between."""


def interp2camera_times(
    df: "pd.DataFrame", ts: ArrayLike, *, gap_s: float | None = None, compat: Literal["openhsi"] | None = None
) -> "pd.DataFrame":
    """The columns of `df`, whose index are times in UTC, at the times `ts` of lines (datetime64, or pandas' times).

    Each column is interpolated between those of its rows that are not NaN, by a local cubic; angles (`heading`, `roll`,
    `longitude` ... in degrees) on the circle, quaternions (`quat_w` to `quat_z`) by slerp, counts (`num_sats`) and what
    are no numbers have the value before. Outside of a column's rows, and in holes longer than `gap_s`, it is NaN.
    compat="openhsi" computes openhsi's numbers: one cubic spline through all rows of each column, components of
    quaternions and angles as well, continued beyond the ends. `df` is not changed. ArgumentError for an index that is
    not of times.
    """
    import pandas as pd

    if compat not in (None, "openhsi"):
        raise ArgumentError(f"compat must be 'openhsi' or None, got {compat!r}")
    if not isinstance(df.index, pd.DatetimeIndex):
        raise ArgumentError(f"the index of the table is of {df.index.dtype}, expected times, such as `board_time`")
    rows, lines = _in_utc(df.index), _in_utc(pd.DatetimeIndex(ts if isinstance(ts, pd.Index) else np.asarray(ts)))
    times, at = (ns_of(index.to_numpy(), what) for what, index in (("index", rows), ("ts", lines)))
    numbers = rows.append(lines).asi8  # the times as pandas has them, in the finer unit of the two
    found: dict[Any, Any] = {}
    for name in df.columns:
        column = df[name]
        if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
            found[name] = _previous(column, times, at)
        elif compat is not None:
            found[name] = _spline(numbers, column.to_numpy(np.float64, na_value=np.nan))
        else:
            found[name] = _matched(times, column.to_numpy(np.float64, na_value=np.nan), at, name, gap_s)
    for names in QUATERNIONS:
        if compat is None and set(names) <= set(df.columns):
            found.update(_attitudes(times, df[list(names)].to_numpy(np.float64, na_value=np.nan), at, names, gap_s))
    return pd.DataFrame(found, index=pd.DatetimeIndex(at.astype("datetime64[ns]")), columns=df.columns)


def _in_utc(index: "pd.DatetimeIndex") -> "pd.DatetimeIndex":
    return index if index.tz is None else index.tz_convert("UTC").tz_localize(None)


def _matched(
    times: NDArray[np.int64], values: NDArray[np.float64], at: NDArray[np.int64], name: Any, gap_s: float | None
) -> NDArray[np.float64]:
    is_number = np.isfinite(values)
    kind: Kind = "angle" if name in ANGLES else "number"
    how: How = "previous" if name in COUNTS else "cubic"
    return match(times[is_number], values[is_number], at, how=how, kind=kind, gap_s=gap_s).values


def _attitudes(
    times: NDArray[np.int64],
    values: NDArray[np.float64],
    at: NDArray[np.int64],
    names: tuple[str, ...],
    gap_s: float | None,
) -> dict[str, NDArray[np.float64]]:
    is_whole = np.isfinite(values).all(axis=1)
    found = match(times[is_whole], values[is_whole], at, how="linear", kind="quaternion", gap_s=gap_s)
    return {name: found.values[:, place] for place, name in enumerate(names)}


def _previous(column: "pd.Series[Any]", times: NDArray[np.int64], at: NDArray[np.int64]) -> "pd.Series[Any]":
    is_value = column.notna().to_numpy()
    positions = np.flatnonzero(is_value)
    used = match(times[is_value], positions, at, how="previous").values
    taken = column.take(np.where(np.isnan(used), 0, used).astype(np.intp)) if len(column) else column
    taken = taken.reset_index(drop=True).where(~np.isnan(used)) if len(column) else taken.reindex(range(len(at)))
    taken.index = at.astype("datetime64[ns]")
    return taken


def _spline(numbers: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """As pandas' `interpolate(method="cubicspline")`: the times of the values, then those of the lines, as floats."""
    from scipy.interpolate import CubicSpline

    times, at = numbers[: len(values)], numbers[len(values) :]
    is_number = ~np.isnan(values)
    ordered = in_order(times[is_number], values[is_number])
    if len(ordered.times_ns) < 2:
        return np.full(len(at), np.nan)
    return np.asarray(CubicSpline(ordered.times_ns, ordered.values)(at), np.float64)
