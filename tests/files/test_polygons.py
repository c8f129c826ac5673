"""Polygons of files, and distances to them."""

import json
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared.errors import FileError
from openhsi_shared.files.polygons import read_polygons

SQUARE = [[151.0, -34.0], [151.1, -34.0], [151.1, -33.9], [151.0, -33.9], [151.0, -34.0]]
HOLE = [[151.04, -33.96], [151.06, -33.96], [151.06, -33.94], [151.04, -33.94], [151.04, -33.96]]
KML = """<?xml version="1.0"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark><MultiGeometry><Polygon>
<outerBoundaryIs><LinearRing><coordinates>{}</coordinates></LinearRing></outerBoundaryIs>
<innerBoundaryIs><LinearRing><coordinates>{}</coordinates></LinearRing></innerBoundaryIs>
</Polygon></MultiGeometry></Placemark></Document></kml>"""


def polygons(path: Path, geometry: object) -> object:
    path.write_text(json.dumps(geometry))
    return read_polygons(path)


def moved(ring: list[list[float]], by: float) -> list[list[float]]:
    return [[longitude + by, latitude] for longitude, latitude in ring]


def metres(latitude: float) -> tuple[float, float]:
    """Of a degree of latitude and of longitude, by the series of the meridian arc (WGS 84)."""
    phi = np.radians(latitude)
    return (
        111132.92 - 559.82 * np.cos(2 * phi) + 1.175 * np.cos(4 * phi),
        111412.84 * np.cos(phi) - 93.5 * np.cos(3 * phi),
    )


def test_distances_are_those_of_the_ellipsoid_and_holes_are_outside(tmp_path: Path) -> None:
    text = [" ".join(f"{longitude},{latitude},12" for longitude, latitude in ring) for ring in (SQUARE, HOLE)]
    (tmp_path / "a.kml").write_text(KML.format(*text))
    geometry = {"type": "Polygon", "coordinates": [SQUARE, HOLE]}
    far = {"type": "Polygon", "coordinates": [moved(SQUARE, 20)]}
    several = {"type": "GeometryCollection", "geometries": [geometry, {"type": "Point", "coordinates": [0, 0]}, far]}
    feature = {"type": "Feature", "properties": None, "geometry": several}
    collection = {"type": "FeatureCollection", "features": [feature, {"type": "Feature", "geometry": None}]}
    multi = {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [moved(SQUARE, 20)]]}
    found = [polygons(tmp_path / "a.geojson", one) for one in (geometry, collection, multi)]
    north_m, east_m = metres(-33.95)
    for areas in (*found, read_polygons(tmp_path / "a.kml")):
        assert areas.distance_m(-33.92, 151.02) == 0
        assert areas.distance_m(-33.9, 151.05) == pytest.approx(0, abs=0.001), "on the edge"
        assert areas.distance_m(-33.95, 151.2) == pytest.approx(0.1 * east_m, rel=1e-4)
        assert areas.distance_m(-33.95, 151.05) == pytest.approx(0.01 * east_m, rel=1e-4), "in the hole"
        assert areas.distance_m(-33.89, 151.05) == pytest.approx(0.01 * north_m, rel=1e-4)
        assert areas.distance_m(-33.89, 151.11) == pytest.approx(np.hypot(0.01 * north_m, 0.01 * east_m), rel=1e-3)
        assert areas.distance_m(-33.92, 151.02 - 360) == 0, "longitudes may go to 360"


def test_polygons_that_overlap_have_no_hole_where_they_do(tmp_path: Path) -> None:
    areas = polygons(tmp_path / "a.json", {"type": "MultiPolygon", "coordinates": [[SQUARE], [moved(SQUARE, 0.05)]]})
    assert areas.distance_m(-33.95, 151.07) == 0


@pytest.mark.parametrize("cut", ["not at all", "from 179 to 181", "into two"])
def test_a_polygon_may_cross_the_antimeridian(tmp_path: Path, cut: str) -> None:
    def ring(west: float, east: float) -> list[list[float]]:
        return [[west, 10], [east, 10], [east, 11], [west, 11]]  # it need not be closed

    rings = {"not at all": [ring(179, -179)], "from 179 to 181": [ring(179, 181)]}
    coordinates = [[one] for one in rings.get(cut, [ring(179, 180), ring(-180, -179)])]
    areas = polygons(tmp_path / "a.geojson", {"type": "MultiPolygon", "coordinates": coordinates})
    for longitude in (179.5, 180, -180, -179.5, 180.5):
        assert areas.distance_m(10.5, longitude) == 0
    _, east_m = metres(10.5)
    for longitude in (178.9, -178.9):
        assert areas.distance_m(10.5, longitude) == pytest.approx(0.1 * east_m, rel=1e-3)
    assert areas.distance_m(10.5, 0) > 1e7


BAD = [
    (b"", "no GeoJSON"),
    (b"{", "no GeoJSON"),
    (b"[]", "expected an object with a type, got"),
    (b'{"type": "Topology"}', "unknown type 'Topology'"),
    (b'{"type": "FeatureCollection"}', "features"),
    (b'{"type": "Point", "coordinates": [1, 2]}', "has no polygon"),
    (b'{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}', "a ring has 2 vertices, it needs 3"),
    (b'{"type": "Polygon", "coordinates": [[["a", 0], [1, 1], [2, 2], [0, 0]]]}', "could not convert"),
    (b'{"type": "Polygon", "coordinates": [[[0, NaN], [1, 1], [2, 2], [0, 0]]]}', "no longitude and latitude"),
    (b'{"type": "Polygon", "coordinates": [[[-34, 151], [-34, 152], [-33, 152]]]}', "in degrees, in this order"),
    (b'{"type": "Polygon", "coordinates": [[[0, 80], [120, 80], [240, 80]]]}', "surrounds a pole"),
    (b'{"type": "Polygon", "crs": {"properties": {"name": "EPSG:32756"}}}', "expected longitude and latitude"),
    (b"<kml", "no KML"),
    (b"<kml/>", "has no polygon"),
    (b"PK\x03\x04", "no GeoJSON"),
    (b"[" * 10_000, "no GeoJSON"),
]


@pytest.mark.parametrize(("text", "words"), BAD)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, text: bytes, words: str) -> None:
    path = tmp_path / "field.geojson"
    path.write_bytes(text)
    with pytest.raises(FileError, match=rf"field.geojson .*{words}"):
        read_polygons(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none.kml cannot be read: No such file"):
        read_polygons(tmp_path / "none.kml")
