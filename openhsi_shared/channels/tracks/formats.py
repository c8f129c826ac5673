"""Texts of the formats of tracks; times are true UTC in ns.

- `csv`: a row for each line, with all channels.
- `lcf` (Resonon): seven columns without header: GPS time in s since 1980-01-06; roll, pitch, yaw in radians; longitude
  and latitude in degrees, altitude in m; and `.times`, one number a line, in the same seconds.
- `headwall`: `imu_gps.txt`, tabs, degrees, microseconds since 1970; and `frameIndex_N.txt`, the time of each frame.
- `gpx` 1.1 (topografix.com/GPX/1/1) and `geojson` (RFC 7946), which GIS programs open.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

import numpy as np

from openhsi_shared.channels.tracks.track import Fixes, RunTrack, Track
from openhsi_shared.line_times import UNKNOWN_TIME_NS
from openhsi_shared.matching import State
from openhsi_shared.matching.clocks import leap_seconds

__all__ = ["csv_of", "frame_index_of", "geojson_of", "gpx_of", "imu_gps_of", "lcf_of", "times_of"]

GPS_EPOCH_NS = 315_964_800 * 10**9
"""1980-01-06 in UTC ns since 1970."""
HEADWALL = "Roll Pitch Yaw Lat Lon Alt Timestamp Gps_UTC_Date&Time Status Heading"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
GPX = "http://www.topografix.com/GPX/1/1"


def csv_of(track: Track, leaps: int | None) -> str:
    """Frame id, UTC, GPS seconds and the columns of all channels; what is unknown is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(track.columns)
    writer.writerow(["frame_id", "utc", "gps_seconds", *names])
    columns = [_cells(name, track) for name in names]
    times = [_iso(time_ns) for time_ns in track.utc_ns.tolist()]
    seconds = ["" if time == UNKNOWN_TIME_NS else _gps_seconds(time, leaps) for time in track.utc_ns.tolist()]
    writer.writerows(zip(track.frame_ids.tolist(), times, seconds, *columns, strict=True))
    return text.getvalue()


def _cells(name: str, track: Track) -> list[str]:
    values = track.columns[name]
    if name.endswith("_state") and values.dtype.kind == "i":
        return [State(value).words for value in values.tolist()]
    return ["" if value != value else repr(value) for value in values.tolist()]  # noqa: PLR0124 - NaN


def lcf_of(fixes: Fixes, leaps: int | None) -> str:
    """A row for each fix, all of which have position and attitude."""
    radians = (np.radians(angle) for angle in (fixes.roll, fixes.pitch, fixes.heading))
    columns = [[_gps_seconds(time, leaps) for time in fixes.utc_ns.tolist()]]
    columns += [[f"{value:.9f}" for value in angle.tolist()] for angle in radians]
    columns += [[f"{value:.9f}" for value in degrees.tolist()] for degrees in (fixes.longitude, fixes.latitude)]
    columns += [[f"{value:.4f}" for value in fixes.altitude.tolist()]]
    return _rows(columns, " ")


def times_of(track: Track, leaps: int | None) -> str:
    """A number for each line, whose times are all known."""
    return _rows([[_gps_seconds(time, leaps) for time in track.utc_ns.tolist()]], " ")


def imu_gps_of(fixes: Fixes) -> str:
    """A row for each fix, all of which have position and attitude."""
    angles = [fixes.roll, fixes.pitch, fixes.heading, fixes.latitude, fixes.longitude]
    columns = [[f"{value:.9f}" for value in angle.tolist()] for angle in angles]
    columns += [[f"{value:.4f}" for value in fixes.altitude.tolist()]]
    columns += [[str(time // 1000) for time in fixes.utc_ns.tolist()], list(map(_date, fixes.utc_ns.tolist()))]
    columns += [[str(int(fix)) if np.isfinite(fix) else "1" for fix in fixes.fix.tolist()], columns[2]]
    return "\t".join(HEADWALL.split()) + "\n" + _rows(columns, "\t")


def frame_index_of(tracks: Iterable[Track]) -> str:
    """A row for each saved line of a recording; lost frames are numbers that are missing."""
    rows = [
        (str(frame), str(time // 1000))
        for track in tracks
        for frame, time in zip(track.frame_ids.tolist(), track.utc_ns.tolist(), strict=True)
        if time != UNKNOWN_TIME_NS
    ]
    return "Frame#\tTimestamp\n" + "".join("\t".join(row) + "\n" for row in rows)


def gpx_of(run: RunTrack) -> str:
    """All fixes of a recording as one track."""
    root = ElementTree.Element("gpx", {"version": "1.1", "creator": "openhsi_shared", "xmlns": GPX})
    track = ElementTree.SubElement(root, "trk")
    ElementTree.SubElement(track, "name").text = run.tracks[0].path.stem
    segment = ElementTree.SubElement(track, "trkseg")
    fixes = run.fixes
    for time_ns, latitude, longitude, altitude in zip(*(one.tolist() for one in fixes[:4]), strict=True):
        place = {"lat": f"{latitude:.9f}", "lon": f"{longitude:.9f}"}
        point = ElementTree.SubElement(segment, "trkpt", place)
        if altitude == altitude:  # noqa: PLR0124 - not NaN
            ElementTree.SubElement(point, "ele").text = f"{altitude:.4f}"
        ElementTree.SubElement(point, "time").text = _iso(time_ns)
    return ElementTree.tostring(root, "unicode", xml_declaration=True) + "\n"


def geojson_of(run: RunTrack) -> str:
    """A line for each cube of a recording, through the positions of its lines."""
    features = []
    for track in run.tracks:
        has = np.isfinite(track.latitude) & np.isfinite(track.longitude)
        places = np.column_stack([track.longitude[has], track.latitude[has]]).round(9).tolist()
        first_ns, last_ns = track.span_ns
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "LineString", "coordinates": places if len(places) > 1 else places * 2},
                "properties": {
                    "cube": track.path.name,
                    "lines": len(track.frame_ids),
                    "first_frame": int(track.frame_ids[0]),
                    "last_frame": int(track.frame_ids[-1]),
                    "first": _iso(first_ns),
                    "last": _iso(last_ns),
                },
            }
        )
    return json.dumps({"type": "FeatureCollection", "features": features}, indent=1) + "\n"


def _rows(columns: Sequence[Sequence[str]], separator: str) -> str:
    return "".join(separator.join(row) + "\n" for row in zip(*columns, strict=True))


def _gps_seconds(utc_ns: int, leaps: int | None) -> str:
    gps_ns = utc_ns - GPS_EPOCH_NS + leap_seconds(utc_ns, leaps) * 10**9
    return f"{gps_ns // 10**9}.{gps_ns % 10**9:09d}"


def _iso(utc_ns: int) -> str:
    return "" if utc_ns == UNKNOWN_TIME_NS else f"{np.datetime64(utc_ns, 'ns')}Z"


def _date(utc_ns: int) -> str:
    day, time = str(np.datetime64(utc_ns, "ns").astype("M8[us]")).split("T")
    year, month, number = day.split("-")
    return f"{year}/{MONTHS[int(month) - 1]}/{number} {time}"
