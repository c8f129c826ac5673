"""Reads logs: CSV, NetCDF, raw NMEA, and the raw series in files of this library.

Times are UTC: ISO 8601 (without a zone: UTC), or numbers since 1970 whose size tells s, ms, us or ns.
"""

import csv
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.channels.gps_epochs import FixReader
from openhsi_shared.channels.gps_fields import FIELDS, STANDARD_NAMES, in_order
from openhsi_shared.channels.properties import Field
from openhsi_shared.errors import ArgumentError, ChannelError
from openhsi_shared.line_times import UNKNOWN_TIME_NS, has_ns, ns_of
from openhsi_shared.loggers import safe_logger

__all__ = ["Log", "read_log"]

logger = safe_logger(__name__)

TIMES = ("time", "timestamp", "datetime", "date_time", "utc", "time_utc", "time_ns", "time_s", "unix_time", "epoch")
ALIASES = {"lat": "latitude", "lon": "longitude", "lng": "longitude", "alt": "altitude", "yaw": "heading"}
OF_A_SAMPLE = ("arrival", "id", "quality")
SCALES = {1e8: 10**9, 1e11: 10**6, 1e14: 10**3, 1e17: 1}
"""ns per unit, of numbers from this size on; smaller ones are no times since 1970."""
MAX_NS = 9.2e18
NMEA = re.compile(rb"^\$(?:[A-Z]{2}(?:GGA|RMC|ZDA|GLL|GSA)|PASHR),", re.MULTILINE)
NETCDF = (b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"CDF\x02", b"CDF\x05")
HEAD = 65536
WITH_UNIT = re.compile(r"(.*?)\s*[\[(]([^\])]*)[\])]\s*")


class Log(NamedTuple):
    """The samples of a log."""

    fields: tuple[Field, ...]
    time_ns: NDArray[np.int64]
    values: NDArray[np.float64]
    """(n, fields)"""
    n_refused: int = 0
    """Rows or sentences that could not be used."""
    more: Mapping[str, NDArray[np.int64]] = {}
    """`arrival` (ns), `id`, `quality`, where the log has them."""
    description: Mapping[str, Any] = {}


def read_log(
    path: Path,
    name: str,
    *,
    time: str | None = None,
    columns: Sequence[str] | Mapping[str, str] | None = None,
    group: str | None = None,
) -> Log:
    """Read a log for the channel `name`; see `LogChannel`. ChannelError, ArgumentError."""
    if not path.is_file():
        raise ChannelError(f"channel {name!r}: there is no log {path}: give the path of a CSV, NetCDF or NMEA file")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        if head.startswith(NETCDF):
            return _of_netcdf(path, name, time, columns, group)
        if NMEA.search(head.replace(b"\r", b"\n")):
            return _of_nmea(path, name)
        return _of_csv(path, name, time, columns)
    except OSError as error:
        raise ChannelError(f"channel {name!r}: log {path} cannot be read: {error}") from error


def _of_nmea(path: Path, name: str) -> Log:
    reader, fixes, n_refused = FixReader(), [], 0
    with path.open("rb") as file:
        while data := file.read(HEAD):
            fixes += reader.feed(data, 0, None)
            n_refused += len(reader.refused)
            reader.refused.clear()
    fixes += reader.end()
    n_refused += len(reader.refused)
    if not fixes:
        raise ChannelError(f"channel {name!r}: log {path} has no dated fix (GGA or RMC, and RMC or ZDA for the date)")
    values = np.array([in_order(fix.values) for fix in fixes])
    above = reader.altitude_above
    description = {"altitude_above": above, "notes": reader.dating.notes} if above else {"notes": reader.dating.notes}
    fields = tuple(
        replace(field, standard_name=STANDARD_NAMES[above]) if above and field.name == "altitude" else field
        for field in FIELDS
    )
    times = np.array([fix.time_ns for fix in fixes], np.int64)
    return Log(fields, times, values, n_refused, description=description)


def _of_csv(path: Path, name: str, time: str | None, columns: Sequence[str] | Mapping[str, str] | None) -> Log:
    import pandas as pd

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(islice((line for line in file if line.strip() and not line.startswith("#")), 20))
        separator = csv.Sniffer().sniff("".join(lines[:5]), ",;\t|").delimiter if lines else ","
    except csv.Error:
        separator = ","
    except UnicodeDecodeError as error:
        raise ChannelError(f"channel {name!r}: log {path} is no CSV, NetCDF or NMEA: it is no text") from error
    has_comma = separator != "," and any(re.search(r"\d,\d", line) for line in lines)
    options = {"sep": separator, "decimal": "," if has_comma else ".", "comment": "#", "skipinitialspace": True}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows with more columns, which would be shifted
            table = pd.read_csv(path, encoding="utf-8-sig", index_col=False, **options)
    except pd.errors.ParserWarning as error:
        more = "its rows have more columns than its first line has names"
        raise ChannelError(f"channel {name!r}: log {path}: {more}") from error
    except ValueError as error:  # pandas' errors of parsing, too
        raise ChannelError(f"channel {name!r}: log {path} is no CSV: {error}") from error
    table.columns = [str(column).strip() for column in table.columns]
    if len(table) == 0 or all(re.fullmatch(r"[-+.\d eE]+", column) for column in table.columns):
        raise ChannelError(f"channel {name!r}: log {path} needs a first line with the names of its columns, then rows")
    clock = _time_column(list(table.columns), time, f"channel {name!r}: log {path}")
    texts = table[clock]
    if "date" in table.columns and clock.lower() == "time" and not pd.api.types.is_numeric_dtype(texts):
        texts = table["date"].astype(str) + "T" + texts.astype(str)
    times = _times(texts, f"channel {name!r}: log {path}: column {clock!r}")
    found, numbers = [], []
    for ours, theirs in _chosen(list(table.columns), {clock, "date"}, columns, f"channel {name!r}: log {path}"):
        column = pd.to_numeric(table[theirs], errors="coerce")
        n_bad = int((column.isna() & table[theirs].notna()).sum())
        if n_bad > len(table) // 2:
            if columns is not None:
                raise ArgumentError(f"channel {name!r}: log {path}: column {theirs!r} is text: channels are numbers")
            logger.warning("log %s: column %r is text: it is left out", path, theirs)
            continue
        if n_bad:
            logger.warning("log %s: %d values of column %r are no numbers: NaN", path, n_bad, theirs)
        match = WITH_UNIT.fullmatch(theirs)
        found.append(_field(ours, match[2] if match else None))
        numbers.append(column.to_numpy(np.float64))
    return _log(found, times, numbers, f"channel {name!r}: log {path}")


def _of_netcdf(
    path: Path, name: str, time: str | None, columns: Sequence[str] | Mapping[str, str] | None, group: str | None
) -> Log:
    import xarray as xr

    where = f"channel {name!r}: log {path}"
    group = _group(path, name, group)
    try:
        with xr.open_dataset(path, group=group, decode_timedelta=False) as opened:
            data = opened.load() if group else opened.drop_vars([key for key in opened if opened[key].ndim > 1]).load()
    except (OSError, ValueError) as error:
        raise ChannelError(f"{where} cannot be read{f', group {group}' if group else ''}: {error}") from error
    names = [str(key) for key in data.variables]
    clocks = [key for key in names if data[key].ndim == 1 and np.issubdtype(data[key].dtype, np.datetime64)]
    clock = _time_column(names if time else [*(key for key in names if key in clocks)], time, where)
    along = tuple(str(key) for key in data[clock].dims)
    times = _times(data[clock].to_series(), f"{where}: variable {clock!r}")
    more = {key: _whole(data[key]) for key in OF_A_SAMPLE if key in names and data[key].dims == along}
    known = [key for key in names if data[key].dims == along and np.issubdtype(data[key].dtype, np.number)]
    found, numbers = [], []
    for ours, theirs in _chosen(known, {clock, *along, *more}, columns, where):
        labels = data[theirs].attrs
        flags = tuple(str(labels.get("flag_meanings", "")).split())
        kept = {key: labels[key] for key in ("how", "kind", "standard_name") if key in labels}
        kept |= {"kind": "flags", "flags": flags} if flags else {}
        found.append(_field(ours, labels.get("units"), **kept))
        numbers.append(data[theirs].to_numpy().astype(np.float64))
    times = np.where((times == UNKNOWN_TIME_NS) & ("arrival" in more), more.get("arrival", times), times)
    return _log(found, times, numbers, where, more)


def _group(path: Path, name: str, group: str | None) -> str | None:
    """Return the group with the series: that of a channel, if it is a file of this library with channels."""
    import h5py

    try:
        with h5py.File(path) as file:
            channels = list(file["channels"]) if "channels" in file else []
    except OSError:
        return group  # an older netCDF, which has no groups
    if not channels:
        return group
    wanted = group or (channels[0] if len(channels) == 1 else name)
    wanted = wanted.removeprefix("/").removeprefix("channels/")
    if wanted not in channels:
        raise ArgumentError(f"channel {name!r}: {path} has no channel {wanted!r}: give group=, one of {channels}")
    return f"channels/{wanted}"


def _whole(variable: Any) -> NDArray[np.int64]:
    values = variable.to_numpy()
    return ns_of(values, str(variable.name)) if values.dtype.kind == "M" else np.asarray(values.astype(np.int64))


def _time_column(names: Sequence[str], given: str | None, where: str) -> str:
    if given is not None:
        if given not in names:
            raise ArgumentError(f"{where} has no {given!r}: time= must be one of {list(names)}")
        return given
    plain = {WITH_UNIT.sub(r"\1", one).lower(): one for one in reversed(names)}
    found = next((plain[one] for one in TIMES if one in plain), None)
    if found is None:
        raise ArgumentError(f"{where} has no column of times ({', '.join(TIMES)}): name it by time=, of {list(names)}")
    return found


def _times(values: Any, where: str) -> NDArray[np.int64]:
    """Return ns since 1970; `UNKNOWN_TIME_NS` where there is no time."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(values):
        stamps = pd.to_datetime(values, utc=True)
    elif not pd.api.types.is_numeric_dtype(values):
        points = values.where(values.isna(), values.astype(str).str.replace(",", "."))
        stamps = pd.to_datetime(points, utc=True, format="ISO8601", errors="coerce")
        if stamps.isna().all():
            raise ChannelError(
                f"{where} has no times: expected ISO 8601 such as 2026-05-01T12:00:00.5Z, or numbers since 1970; "
                f"got {values.iloc[0]!r}"
            )
    else:
        return _times_of_numbers(values.to_numpy(), where)
    plain = stamps.dt.tz_localize(None).to_numpy()
    return ns_of(np.where(has_ns(plain), plain, np.datetime64("NaT")), where)


def _times_of_numbers(numbers: NDArray[Any], where: str) -> NDArray[np.int64]:
    is_known = np.isfinite(numbers) if numbers.dtype.kind == "f" else np.ones(len(numbers), bool)
    size = float(np.median(numbers[is_known])) if is_known.any() else 0.0
    scale = next((scale for least, scale in reversed(SCALES.items()) if size >= least), None)
    if scale is None:
        raise ChannelError(f"{where} has numbers such as {size:g}: expected s, ms, us or ns since 1970 (UTC)")
    if numbers.dtype.kind == "f" and numbers.dtype.itemsize < 8:
        raise ChannelError(f"{where} is {numbers.dtype}, whose steps are minutes: expected float64 or whole numbers")
    is_known &= np.abs(numbers.astype(np.float64)) * scale < MAX_NS
    times = np.full(len(numbers), UNKNOWN_TIME_NS)
    known = numbers[is_known]
    whole = np.floor(known).astype(np.int64)
    times[is_known] = whole * scale + np.round((known - whole) * scale).astype(np.int64)
    return times


def _chosen(
    names: Sequence[str], others: set[str], columns: Sequence[str] | Mapping[str, str] | None, where: str
) -> list[tuple[str, str]]:
    """Return (our name, name in the log) of the columns that are wanted: all, if `columns` is None."""
    if isinstance(columns, str):
        columns = [columns]
    if columns is None:
        columns = [one for one in names if one not in others]
    pairs = columns.items() if isinstance(columns, Mapping) else ((_plain(one), one) for one in columns)
    found = [(str(ours), str(theirs)) for ours, theirs in pairs]
    for _, theirs in found:
        if theirs not in names:
            raise ArgumentError(f"{where} has no column {theirs!r}, or not of numbers along the times: {list(names)}")
    return found


def _plain(column: str) -> str:
    """Return a column's name as the name of a field: "Temp [degC]" becomes "Temp"."""
    name = re.sub(r"\W+", "_", WITH_UNIT.sub(r"\1", column)).strip("_") or "column"
    return ALIASES.get(name.lower(), name)


def _field(name: str, unit: str | None, **more: Any) -> Field:
    """Return the field, as that of a fix if its name is that of one."""
    like = next((field for field in FIELDS if field.name == name and not field.flags), None)
    if like is not None and not more:
        standard_name = None if name == "altitude" else like.standard_name  # above what, only its author knows
        return replace(like, unit=unit or like.unit, standard_name=standard_name)
    return Field(name, unit=unit or None, **more)


def _log(
    fields: list[Field],
    times: NDArray[np.int64],
    numbers: list[NDArray[np.float64]],
    where: str,
    more: Mapping[str, NDArray[np.int64]] | None = None,
) -> Log:
    is_known = times != UNKNOWN_TIME_NS
    if not fields or not is_known.any():
        raise ChannelError(f"{where} has no {'rows with times' if fields else 'columns of numbers'}")
    if len(fields) == 1:
        fields = [replace(fields[0], name="value")]
    kept = {name: values[is_known] for name, values in (more or {}).items()}
    values = np.column_stack(numbers)[is_known]
    return Log(tuple(fields), times[is_known], values, int((~is_known).sum()), kept)
