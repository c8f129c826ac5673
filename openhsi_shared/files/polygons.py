"""Polygons of a GeoJSON or KML file, and how far a position is from them.

A polygon is a list of rings, of which all but the first are holes (RFC 7946; KML 2.2, `outerBoundaryIs` and
`innerBoundaryIs`). Edges are straight in longitude and latitude. Distances are computed in a plane that touches the
ellipsoid (WGS 84) at the position: to a metre within 10 km, to 1 % within 500 km. Longitudes go the short way from
vertex to vertex, so polygons may cross the antimeridian, as one ring or cut there into two.
"""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import FileError
from openhsi_shared.paths import given_path

__all__ = ["Polygons", "read_polygons"]

RADIUS_M, SQUARED_ECCENTRICITY = 6378137.0, 0.00669437999014
"""Of WGS 84."""
MAX_BYTES = 100 << 20
BOUNDARIES = ("outerBoundaryIs", "innerBoundaryIs")

Ring = NDArray[np.float64]
"""(n, 2): longitude, latitude in degrees; the first vertex is also the last one."""


class Polygons:
    """Areas on the ground."""

    def __init__(self, polygons: Sequence[Sequence[Ring]]) -> None:
        self._polygons = polygons

    def distance_m(self, latitude: float, longitude: float) -> float:
        """Distance in m of a position to the nearest polygon; 0 inside of one, also on its edge."""
        return min(_distance_m(polygon, latitude, longitude) for polygon in self._polygons)


def _distance_m(polygon: Sequence[Ring], latitude: float, longitude: float) -> float:
    phi = math.radians(latitude)
    squared = 1 - SQUARED_ECCENTRICITY * math.sin(phi) ** 2
    east_m = math.radians(1) * RADIUS_M / math.sqrt(squared) * math.cos(phi)
    north_m = math.radians(1) * RADIUS_M * (1 - SQUARED_ECCENTRICITY) / squared**1.5
    nearest, is_inside = math.inf, False
    for ring in polygon:
        middle = (ring[:, 0].min() + ring[:, 0].max()) / 2
        here = middle + (longitude - middle + 180) % 360 - 180  # the same place, where the ring has its numbers
        x, y = (ring[:, 0] - here) * east_m, (ring[:, 1] - latitude) * north_m
        x1, y1, dx, dy = x[:-1], y[:-1], np.diff(x), np.diff(y)
        crosses = (y1 > 0) != (y[1:] > 0)  # a ray to the east
        at = x1[crosses] - y1[crosses] * dx[crosses] / dy[crosses]
        is_inside ^= bool(np.count_nonzero(at > 0) % 2)
        along = np.clip(-(x1 * dx + y1 * dy) / np.maximum(dx * dx + dy * dy, 1e-12), 0, 1)
        nearest = min(nearest, float(np.hypot(x1 + along * dx, y1 + along * dy).min()))
    return 0.0 if is_inside else nearest


# ---- files ----


def read_polygons(path: str | Path) -> Polygons:
    """Read all polygons of a GeoJSON (.geojson, .json) or KML (.kml) file.

    FileError for a file that cannot be read, has none, or whose positions are no degrees on the Earth.
    """
    path = given_path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FileError(f"{path} has more than {MAX_BYTES >> 20} MiB: expected a GeoJSON or KML file of polygons")
        text = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}; expected a GeoJSON or KML file") from error
    is_kml = path.suffix.lower() == ".kml" or text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    try:
        found = list(_of_kml(text) if is_kml else _of_geojson(text))
        polygons = [[_ring(ring) for ring in polygon] for polygon in found]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, SyntaxError) as error:
        kind = "KML" if is_kml else "GeoJSON"
        raise FileError(f"{path} is no {kind} file of polygons: {error}") from error
    polygons = [polygon for polygon in polygons if polygon]
    if not polygons:
        raise FileError(f"{path} has no polygon: expected one, a line or a point has no inside")
    return Polygons(polygons)


def _of_geojson(text: bytes) -> Iterator[Any]:
    found = json.loads(text)
    crs = found.get("crs") if isinstance(found, dict) else None
    if crs is not None and not any(name in json.dumps(crs) for name in ("CRS84", "4326", "4979")):
        raise ValueError(f"its coordinates are {json.dumps(crs)[:200]}: expected longitude and latitude (WGS 84)")
    yield from _in_geojson(found)


def _in_geojson(one: Any) -> Iterator[Any]:
    if not isinstance(one, dict):
        raise ValueError(f"expected an object with a type, got {one!r:.80}")
    match one.get("type"):
        case "FeatureCollection":
            for feature in one["features"]:
                yield from _in_geojson(feature)
        case "Feature":
            if one["geometry"] is not None:
                yield from _in_geojson(one["geometry"])
        case "GeometryCollection":
            for geometry in one["geometries"]:
                yield from _in_geojson(geometry)
        case "Polygon":
            yield one["coordinates"]
        case "MultiPolygon":
            yield from one["coordinates"]
        case "Point" | "MultiPoint" | "LineString" | "MultiLineString":
            return
        case other:
            raise ValueError(f"unknown type {other!r}")


def _of_kml(text: bytes) -> Iterator[Any]:
    from xml.etree import ElementTree  # not above: every recording would start later; its ParseError is a SyntaxError

    for polygon in ElementTree.fromstring(text).iterfind(".//{*}Polygon"):
        outer, inner = (polygon.iterfind(f"{{*}}{name}//{{*}}coordinates") for name in BOUNDARIES)
        yield [[part.split(",") for part in (ring.text or "").split()] for ring in (*outer, *inner)]


def _ring(vertices: Any) -> Ring:
    """A closed ring, whose longitudes go the short way from vertex to vertex. ValueError."""
    ring = np.array([[float(vertex[0]), float(vertex[1])] for vertex in vertices], np.float64).reshape(-1, 2)
    if not (np.isfinite(ring).all() and (np.abs(ring) <= (360.0, 90.0)).all()):
        raise ValueError("a vertex is no longitude and latitude in degrees, in this order")
    if len(ring) and (ring[0] != ring[-1]).any():
        ring = np.concatenate([ring, ring[:1]])
    if len(ring) < 4:
        raise ValueError(f"a ring has {max(0, len(ring) - 1)} vertices, it needs 3")
    ring[:, 0] = np.unwrap(ring[:, 0], period=360)
    if abs(ring[0, 0] - ring[-1, 0]) > 1 or np.ptp(ring[:, 0]) >= 180:
        raise ValueError("a ring is wider than half of the Earth, or surrounds a pole")
    ring[-1] = ring[0]
    return ring
