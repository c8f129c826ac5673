"""A file that refers to the cube it was computed from is read together with it, and with no other cube."""

import os
import shutil

import numpy as np
import pytest
import xarray as xr

from openhsi_shared.columns import COLUMNS, Column
from openhsi_shared.errors import FileError
from openhsi_shared.files import CubeWriter, open_cube, verify
from openhsi_shared.files.carrying import carried_from
from openhsi_shared.files.lines import CheckedLines
from openhsi_shared.files.linked import Link, lines_hash
from tests.files.test_reading import openhsi_file
from tests.support.cubes import make_cube, make_groups

ALTITUDE = Column("altitude", "float64", "m", "height above the ground")


def write(cube, directory):
    directory.mkdir(parents=True, exist_ok=True)
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype) as writer:
        return writer.write(cube, [directory], picture=False).path


@pytest.fixture
def source(tmp_path):
    columns = {"altitude": np.arange(6.0)}
    cube = make_cube(groups=make_groups(), columns=columns, column_descriptions=(*COLUMNS, ALTITUDE))
    return write(cube, tmp_path / "pair" / "in")


@pytest.fixture
def linked(source, tmp_path):
    """Write a cube of other pixels that refers to some lines of the source."""

    def make(lines=range(6), bands=4, of=source):
        folder = tmp_path / "pair" / "out"
        with open_cube(of) as cube:
            link = Link.to(cube, folder / "2023_11_14" / "any.nc", lines)
        made = make_cube(len(lines) or 3, 5, bands, np.float32, attributes=link.attributes)
        for name in ("frame_id", "temperature", "camera_time_ns"):
            del made.columns[name]
        return write(made, folder)

    return make


def test_what_a_file_lacks_is_read_from_its_source(source, linked):
    path = linked()
    with open_cube(path) as cube, open_cube(source) as whole:
        assert cube.source.path == source
        assert isinstance(cube.raw_lines, CheckedLines)
        assert cube.lines.shape == (6, 5, 4)
        assert cube.frame_ids.tolist() == whole.frame_ids.tolist()
        assert np.array_equal(cube.temperatures, whole.temperatures, equal_nan=True)
        assert cube.column("altitude").tolist() == list(range(6))
        assert list(cube.groups) == ["imu", "marks"]  # references are along the bands, which are others
        samples = cube.groups["imu"].variables["samples"].data
        assert np.array_equal(samples, whole.groups["imu"].variables["samples"].data)
        assert cube.dataset.altitude.attrs["units"] == "m"
        assert cube.dataset.frame_id.values.tolist() == whole.frame_ids.tolist()
    assert verify(path).problems == ()
    assert "altitude" not in verify(path).covers
    carried = carried_from(path, 6, (5, 4))
    assert list(carried.groups) == ["imu", "marks"]
    assert carried.columns["altitude"].tolist() == list(range(6))


def test_columns_are_those_of_the_lines_that_were_taken_and_groups_stay_behind(source, linked):
    with open_cube(linked(range(2, 5))) as cube:
        assert cube.frame_ids.tolist() == [42, 43, 44]
        assert cube.dataset.altitude.values.tolist() == [2, 3, 4]
        assert list(cube.groups) == []
        assert "imu" in cube.source.groups


def test_lines_made_of_several_lines_have_no_columns_of_the_source(linked):
    with open_cube(linked(range(0))) as cube:
        assert cube.frame_ids is None
        assert cube.source is not None


@pytest.mark.parametrize("is_foreign", [False, True])
def test_lines_of_a_file_without_pixels_are_those_of_the_source(source, tmp_path, is_foreign):
    if is_foreign:
        values = np.stack(list(make_cube().lines()))
        source = openhsi_file(tmp_path / "theirs.nc", values, True)
    path = tmp_path / "detections.nc"
    with open_cube(source) as cube:
        link = Link.to(cube, path, range(1, 5))
        expected = cube.lines[1:5]
        times = cube.times_ns[1:5]
    rows = {"detections": ("detections", [3, 4])}
    xr.Dataset(rows, attrs=link.attributes | {"level": 4}).to_netcdf(path)
    with open_cube(path) as cube:
        assert np.array_equal(cube.lines, expected)
        out = np.empty((4, 5, 7), np.uint16)
        assert cube.lines.read_into(0, 4, out).all()
        assert np.array_equal(out, expected)
        assert cube.times_ns.tolist() == times.tolist()
        assert cube.column("detections").tolist() == [3, 4]


def test_a_moved_pair_is_found_and_so_is_a_file_that_was_moved_alone(source, linked, tmp_path):
    path = linked()
    pair = tmp_path / "pair"
    shutil.copytree(pair, tmp_path / "copy")
    moved = tmp_path / "copy" / path.relative_to(pair)
    with open_cube(moved) as cube:  # by its relative path, though the source is at its place, too
        assert cube.source.path == tmp_path / "copy" / source.relative_to(pair)
    alone = shutil.move(moved, tmp_path / "alone.nc")
    with open_cube(alone) as cube:
        assert cube.source.path == source
    shutil.rmtree(pair)
    shutil.copy(tmp_path / "copy" / source.relative_to(pair), tmp_path)
    with open_cube(alone) as cube:
        assert cube.source.path == tmp_path / source.name


def test_files_that_refer_to_each_other_are_one_clear_error(source, linked):
    path = linked()
    other = linked(of=path)
    other.replace(source)  # refers to `path`, which refers to it
    with pytest.raises(FileError, match="is this file itself, or refers to it: it was replaced"):
        open_cube(path)
    assert not verify(path).ok


def test_a_source_that_is_nowhere_is_one_clear_error(source, linked):
    path = linked()
    source.unlink()
    with pytest.raises(FileError, match=r"refers to the cube that it was computed from, which is not there: .*in/"):
        open_cube(path)
    assert not verify(path).ok
    with open_cube(path, check=False) as cube:
        assert cube.lines.shape == (6, 5, 4)
        assert cube.frame_ids is None


@pytest.mark.parametrize("uuid", [None, "of the source"])
def test_a_source_that_was_replaced_is_refused(source, linked, uuid):
    path = linked()
    with open_cube(source) as cube:
        uuid = uuid and cube.attributes["uuid"]
    other = make_cube(**({} if uuid is None else {"uuid": uuid}))
    other.memory[3, 2, 1] += 1
    write(other, source.parent.parent / "new").replace(source)
    message = "has uuid" if uuid is None else "has other lines: their hash"
    with pytest.raises(FileError, match=rf"{message} .*it was replaced"):
        open_cube(path)
    assert any("it was replaced" in problem for problem in verify(path).problems)


def test_a_source_without_checksums_is_recognised_by_its_lines(tmp_path, linked):
    values = np.stack(list(make_cube().lines()))
    theirs = openhsi_file(tmp_path / "theirs.nc", values, True)
    path = linked(of=theirs)
    with open_cube(path) as cube, open_cube(theirs) as source:
        assert cube.link.uuid is None
        assert cube.link.lines_hash == lines_hash(source)
        assert cube.temperatures.tolist() == [21.5] * 6
    os.utime(theirs, ns=(1, 1))
    open_cube(path).close()
    values[0, 0, 0] += 1
    openhsi_file(theirs, values, True)
    with pytest.raises(FileError, match="has other lines"):
        open_cube(path)
    with open_cube(path, check=False) as cube:
        mtime_ns = cube.link.mtime_ns
    os.utime(theirs, ns=(mtime_ns, mtime_ns))
    open_cube(path).close()  # of the same size and time
    assert any("was computed from another cube" in problem for problem in verify(path).problems)


@pytest.mark.parametrize("text", ["{}", "no JSON", "[1]", "3"])
def test_a_link_that_cannot_be_understood_is_a_file_error(tmp_path, text):
    path = write(make_cube(attributes={"source_link": text}), tmp_path)
    with pytest.raises(FileError, match="is no link to a source"):
        open_cube(path)


def test_metadata_of_the_user_are_no_link(tmp_path):
    path = write(make_cube(metadata={"source_link": "my own"}), tmp_path)
    with open_cube(path) as cube:
        assert cube.link is None
        assert cube.attributes["metadata_source_link"] == "my own"
