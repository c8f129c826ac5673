"""Groups and extra columns of a cube are carried over when it is processed; what is left out is reported."""

import logging

import numpy as np
import pytest
import xarray as xr

from openhsi_shared import ProcessRawDatacube, SharedReplayCamera, open_cube, verify
from openhsi_shared.columns import COLUMNS, Column
from openhsi_shared.files import CubeWriter
from openhsi_shared.files.carrying import carried_from
from tests.support.cubes import make_cube, make_groups


@pytest.fixture
def path(tmp_path):
    cube = make_cube(
        groups=make_groups(),
        columns={"altitude": np.arange(6.0), "altitude_state": np.zeros(6, np.int8)},
        column_descriptions=(
            *COLUMNS,
            Column("altitude", "float64", "m", "height above the ground"),
            Column("altitude_state", "int8", "1", "state of altitude", {"flag_values": (0, 1)}),
        ),
    )
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype) as writer:
        path = writer.write(cube, [tmp_path], picture=False).path
    xr.Dataset({"lat": ("y", np.arange(6.0))}).to_netcdf(path, mode="a", group="gps")
    return path


def test_all_groups_go_along_into_a_cube_of_the_same_shape(path):
    carried = carried_from(path, 6, (5, 7))
    assert list(carried.groups) == ["imu", "references", "marks", "gps"]
    assert carried.columns["altitude"].tolist() == list(range(6))
    altitude, state = carried.descriptions
    assert altitude == Column("altitude", "<f8", "m", "height above the ground")
    assert (state.dtype, state.labels["flag_values"].tolist()) == ("|i1", [0, 1])
    assert carried.left_out == ()


def test_what_lies_on_an_axis_that_has_changed_is_left_out(path, caplog):
    carried = carried_from(path, 6, (5, 3))
    assert list(carried.groups) == ["imu", "marks", "gps"]
    assert carried.left_out == ("references",)
    assert "references of" in caplog.text
    assert "which has 3" in caplog.text


def test_nothing_goes_along_with_other_lines(path, caplog):
    carried = carried_from(path, 5, (5, 7))
    assert (carried.groups, carried.columns) == ({}, {})
    assert carried.left_out == ("altitude", "altitude_state", "imu", "references", "marks", "gps")
    assert "it belongs to 6 lines, but 5 are saved" in caplog.text


def test_a_damaged_group_is_left_out_and_the_others_are_not(path, caplog):
    content = path.read_bytes()
    name = "B\u00e4ume".encode()
    assert content.count(name) == 1
    path.write_bytes(content.replace(name, name[:-1] + b"x"))
    carried = carried_from(path, 6, (5, 7))
    assert carried.left_out == ("marks",)
    assert "the variable text of the group /marks is damaged" in caplog.text


def test_a_cube_that_is_gone_has_nothing_and_raises_nothing(tmp_path, caplog):
    assert carried_from(tmp_path / "gone.nc", 6, (5, 7)).left_out == ("all",)
    assert "gone.nc are left out" in caplog.text


def test_a_processed_cube_has_the_groups_of_its_source(path, tmp_path):
    with ProcessRawDatacube(path, resolution=(5, 7), row_slice=(0, 5)) as camera:
        camera.collect()
        saved = camera.save(tmp_path / "processed").result().path
    assert verify(saved).problems == ()
    with open_cube(path) as source, open_cube(saved) as result:
        assert list(result.groups) == list(source.groups)
        for name, variable in source.groups["imu"].variables.items():
            assert np.array_equal(result.groups["imu"].variables[name].data, variable.data)
        assert result.groups["marks"].groups["of_user"].attributes == {"who": "me"}
        assert result.dataset.altitude.attrs["units"] == "m"
        assert result.attributes["format_version"] == 2
        assert "source_groups_left_out" not in result.attributes


def test_a_part_of_a_cube_says_that_its_groups_are_left_out(path, tmp_path):
    with ProcessRawDatacube(path, resolution=(5, 7), row_slice=(0, 5), n_lines=4) as camera:
        camera.collect()
        saved = camera.save(tmp_path / "processed").result().path
    with open_cube(saved) as result:
        assert dict(result.groups) == {}
        assert result.attributes["source_groups_left_out"] == "altitude, altitude_state, imu, references, marks, gps"
        assert result.attributes["format_version"] == 1


def test_a_replay_says_that_it_leaves_groups_out(path, tmp_path, caplog):
    with caplog.at_level(logging.WARNING), SharedReplayCamera(path=path, n_lines=6, rate=None) as camera:
        camera.collect()
        saved = camera.save(tmp_path / "replayed").result().path
    assert f"replay skips the groups imu, references, marks, gps of {path}" in caplog.text
    with open_cube(path) as source, open_cube(saved) as result:
        assert np.array_equal(source.lines, result.lines)
        assert dict(result.groups) == {}


def test_columns_that_others_added_go_along_and_what_is_no_column_is_named(path, caplog):
    added = {"lat": ("y", np.arange(6.0)), "mask": (("x",), np.ones(5))}
    xr.Dataset(added).to_netcdf(path, mode="a", engine="h5netcdf")
    carried = carried_from(path, 6, (5, 7))
    assert carried.columns["lat"].tolist() == list(range(6))
    assert carried.left_out == ("mask",)
    assert "only columns along y are carried over" in caplog.text
