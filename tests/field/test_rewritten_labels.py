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


def create(where, name, value):
    return lambda file: file[where].attrs.create(name, value)


def rename(before, after):
    return lambda file: file.move(before, after)


REWRITTEN = {
    "level": modify("", "level", 4),
    "lines_lost": modify("", "lines_lost", 0),
    "units of wavelength": modify("wavelength", "units", "um"),
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
