"""References as files: what is written is read, what is damaged or belongs to something else is named."""

import json
import re
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from openhsi_shared import open_flight, verify
from openhsi_shared.errors import ArgumentError, FileError, SaveError
from openhsi_shared.files.references import Reference, check_kind, differences, is_reference, newest_references
from openhsi_shared.paths import cubes_below

RANDOM = np.random.default_rng(7)
SETTINGS = {"resolution": [5, 7], "row_slice": None, "win_offset": [0, 0], "binxy": [1, 1], "pixel_format": "Mono12"}
ABOUT = {
    "camera": "SharedSimulatedCamera",
    "camera_id": "a",
    "exposure_ms": 5.0,
    "level_arithmetic": "openhsi_shared",
    "settings": json.dumps({**SETTINGS, "processing_lvl": -1}),
}


def reference(kind="dark", time_ns=1_700_000_000_123_456_789, **more):
    values = {
        "mean": RANDOM.normal(100, 5, (5, 7)).astype(np.float32),
        "standard_deviation": RANDOM.random((5, 7)).astype(np.float32),
        "n_frames": 20,
        "temperature": 21.5,
        "saturated": 0.0,
        "brightness": 0.025,
        "units": "1",
        "attributes": ABOUT,
        "wavelengths_nm": np.arange(7) + 400.0,
    }
    return Reference(kind=kind, time_ns=time_ns, **values | more)


def test_what_is_written_is_read_by_this_library_and_by_netcdf(tmp_path):
    written = reference(temperature=float("nan")).write(tmp_path / "flight")
    assert written.path == tmp_path / "flight/references/dark_2023_11_14-22_13_20_123456.reference.nc"
    read = Reference.read(written.path)
    assert (read.kind, read.n_frames, read.time_ns, read.units) == ("dark", 20, written.time_ns, "1")
    assert (read.sha256, read.path) == (written.sha256, written.path)
    assert np.isnan(read.temperature)
    for name in ("mean", "standard_deviation", "wavelengths_nm"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert read.attributes.items() >= ABOUT.items()
    assert differences(read.attributes, ABOUT) == []
    assert verify(written.path).problems == ()
    with netCDF4.Dataset(written.path) as file:
        assert file["mean"].dimensions == ("x", "wavelength")
        assert file.getncattr("time") == "2023-11-14T22:13:20.123456Z"
    assert "2.5 % of full scale" in str(read)


def test_files_are_never_overwritten_and_are_no_cubes(tmp_path):
    paths = [reference(kind, second).write(tmp_path).path for kind in ("dark", "white") for second in (9e9, 9e9, 1e9)]
    assert len(set(paths)) == 6
    assert {kind: path.name for kind, path in newest_references(tmp_path).items()} == {
        "dark": "dark_1970_01_01-00_00_09_000000-1.reference.nc",
        "white": "white_1970_01_01-00_00_09_000000-1.reference.nc",
    }
    assert all(map(is_reference, paths))
    assert cubes_below(tmp_path) == []
    with pytest.raises(FileError, match="no cube"):
        open_flight(tmp_path)


def test_a_damaged_foreign_or_missing_file_is_named(tmp_path):
    path = reference().write(tmp_path).path
    content = bytearray(path.read_bytes())
    values = Reference.read(path).mean.tobytes()
    content[content.index(values) + 11] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match="damaged"):
        Reference.read(path)
    (tmp_path / "text.nc").write_text("no file of HDF5")
    with netCDF4.Dataset(tmp_path / "other.nc", "w") as file:
        file.createDimension("x", 2)
    for name in ("text.nc", "other.nc"):
        with pytest.raises(FileError, match=name):
            Reference.read(tmp_path / name)
    with pytest.raises(FileError, match=r"the reference .*nowhere\.nc cannot be read: No such file"):
        Reference.read(tmp_path / "nowhere.nc")
    Path(tmp_path / "taken").touch()
    with pytest.raises(SaveError, match="taken"):
        reference().write(tmp_path / "taken")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({}, None),
        ({"exposure_ms": 5.0000001}, None),
        ({"temperature": 3, "run_id": "x"}, None),
        ({"camera": "SharedXimeaCamera"}, "its camera is SharedSimulatedCamera, not SharedXimeaCamera"),
        ({"camera_id": "b"}, "camera_id is a, not b"),
        ({"exposure_ms": 5.01}, "its exposure_ms is 5.0, not 5.01"),
        ({"level": 2}, "its level is -1, not 2"),
        ({"level_arithmetic": "openhsi"}, "level_arithmetic"),
        ({"settings": {"binxy": [2, 1]}}, r"its binxy is \[1, 1\], not \[2, 1\]"),
        ({"settings": {"win_offset": [4, 0]}}, r"its win_offset is \[0, 0\], not \[4, 0\]"),
        ({"settings": {"row_slice": [1, 4]}}, r"its row_slice is None, not \[1, 4\]"),
        ({"settings": {"pixel_format": "Mono8"}}, "its pixel_format is Mono12, not Mono8"),
        ({"settings": {"resolution": [5, 8]}}, "resolution"),
    ],
)
def test_a_reference_fits_only_lines_that_were_taken_in_the_same_way(other, words):
    settings = json.dumps({**SETTINGS, "processing_lvl": -1, **other.get("settings", {})})
    found = differences(ABOUT, {**ABOUT, **other, "settings": settings})
    assert len(found) == (words is not None)
    assert words is None or re.search(words, found[0])


def test_the_calibration_counts_from_level_1_on():
    for level, n in ((-1, 0), (2, 1)):
        about = {**ABOUT, "level": level, "calibration_sha256": "a"}
        assert len(differences(about, {**about, "calibration_sha256": "b"})) == n


def test_there_are_two_kinds():
    with pytest.raises(ArgumentError, match="'dark' or 'white', got 'grey'"):
        check_kind("grey")
