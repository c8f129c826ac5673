"""Labels of a finished file that were rewritten in place: other numbers, so no whole file."""

import h5py
import netCDF4
import numpy as np
import pytest

from openhsi_shared import open_cube, verify
from openhsi_shared.files import CubeWriter
from tests.support.cubes import make_cube


@pytest.fixture
def path(tmp_path):
    wavelengths = np.linspace(400, 700, 7)
    attributes = {"lines_lost": 3, "lines_lost_before": 1, "lines_lost_within": 2}
    cube = make_cube(wavelengths_nm=wavelengths, attributes=attributes, metadata={"operator": "me", "title": "sea"})
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype) as writer:
        return writer.write(cube, [tmp_path], picture=False).path


def modify(where, name, value):
    return lambda file: (file[where] if where else file).attrs.modify(name, value)


def replace(where, name, value):
    """As `modify`, where the text is longer than the old one."""
    return lambda file: (file[where] if where else file).attrs.__setitem__(name, value)


def create(where, name, value):
    return lambda file: file[where].attrs.create(name, value)


def rename(before, after):
    return lambda file: file.move(before, after)


REWRITTEN = {
    "level": modify("", "level", 4),
    "lines_lost": modify("", "lines_lost", 0),
    "lines_lost as a float": replace("", "lines_lost", 0.0),
    "units of wavelength": modify("wavelength", "units", "um"),
    "bands for wavelengths": modify("wavelength", "units", "1"),
    "another quantity than wavelength": replace("wavelength", "standard_name", "radiation_frequency"),
    "no units of wavelength": lambda file: file["wavelength"].attrs.__delitem__("units"),
    "units of time": replace("time", "units", "microseconds since 1970-01-01"),
    "no units of time": lambda file: file["time"].attrs.__delitem__("units"),
    "the calendar of time": modify("time", "calendar", "noleap"),
    "leap seconds": replace("time", "units_metadata", "leap_seconds: utc"),
    "units of the pixels": replace("datacube", "units", "W m-2 sr-1 nm-1"),
    "units of the temperature": modify("temperature", "units", "K"),
    "units of the lines": modify("y", "units", "m"),
    "units behind another long name": lambda file: (
        replace("wavelength", "long_name", "lambda")(file),
        replace("wavelength", "units", "um")(file),
    ),
    "a calendar behind another long name": lambda file: (
        replace("time", "long_name", "start")(file),
        replace("time", "calendar", "360_day")(file),
    ),
    "another time": lambda file: (file.move("time", "a"), file.copy("a", "time"), file.pop("a")),
    "other wavelengths": lambda file: (file.pop("wavelength"), file.create_dataset("wavelength", data=np.arange(7.0))),
    "a scale": create("datacube", "scale_factor", 0.1),
    "a fill value": create("datacube", "_FillValue", np.uint16(1000)),
    "a scale of the temperature": create("temperature", "scale_factor", 0.1),
    "a column with another name": rename("camera_time_ns", "camera_times"),
    "two columns": lambda file: (file.move("frame_id", "a"), file.move("camera_time_ns", "frame_id")),
}


@pytest.mark.parametrize("kind", REWRITTEN)
def test_a_rewritten_label_is_found(path, kind):
    assert verify(path).ok
    with h5py.File(path, "r+") as file:
        REWRITTEN[kind](file)
    report = verify(path)
    assert not report.ok
    assert str(path) in report.problems[0]


@pytest.mark.parametrize(
    "label",
    [("wavelength", "long_name", "lambda"), ("wavelength", "units", "nanometers"), ("time", "calendar", "gregorian")],
)
def test_other_words_for_the_same_are_no_problem(path, label):
    with h5py.File(path, "r+") as file:
        replace(*label)(file)
    assert verify(path).ok


def test_labels_of_users_may_be_changed(path):
    with netCDF4.Dataset(path, "a") as file:
        file.title = "another sea"
        file.operator = "you"
        file.history += "\nlooked at"
    report = verify(path)
    assert report.ok
    assert {"title", "operator", "history"} <= set(report.added)
    with open_cube(path) as cube:
        assert cube.attributes["title"] == "another sea"


def test_a_copy_of_a_column_is_an_addition(path):
    with h5py.File(path, "r+") as file:
        file.copy("temperature", "celsius")
    report = verify(path)
    assert report.ok
    assert "celsius" in report.added


def test_a_scale_that_was_added_is_applied_everywhere(path):
    with open_cube(path) as cube:
        counts = np.asarray(cube.lines)
    with h5py.File(path, "r+") as file:
        file["datacube"].attrs["scale_factor"] = 0.5
    with open_cube(path) as cube:
        assert np.array_equal(cube.lines, counts * 0.5)
        assert np.array_equal(cube.raw_lines, counts)
        assert np.array_equal(cube.dataset.datacube.transpose("y", "x", "wavelength"), counts * 0.5)
