"""Groups of a saved cube are read lazily, and damage in them is named."""

import zlib

import h5py
import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError, ChecksumError
from openhsi_shared.files import CubeWriter, open_cube, verify
from openhsi_shared.groups import Group
from tests.support.cubes import make_cube, make_groups


@pytest.fixture
def path(tmp_path):
    cube = make_cube(groups=make_groups())
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype) as writer:
        return writer.write(cube, [tmp_path], picture=False).path


def place_in(path, name):
    with h5py.File(path) as file:
        return file[name].id.get_chunk_info(0).byte_offset


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def test_a_group_gives_variables_attributes_groups_and_a_dataset(path):
    with open_cube(path) as cube:
        assert list(cube.groups) == ["imu", "references", "marks"]
        imu = cube.groups["imu"]
        assert imu.path == "/imu"
        assert list(imu.variables) == ["time", "id", "samples", "age"]
        assert imu.variables["samples"].dims == ("time", "axis")
        assert imu.variables["samples"].attributes == make_groups()["imu"].variables["samples"].attributes
        assert imu.attributes["range"].tolist() == [-2, 2]
        assert imu.dataset.samples.sel(axis=0).shape == (11,)
        assert imu.dataset.time.dtype.kind == "M"
        marks = cube.groups["marks"]
        assert marks.dataset.text.values.tolist() == ["start", "", "B\u00e4ume\nund mehr"]
        assert marks.groups["of_user"].attributes == {"who": "me"}
        assert "imu" in repr(cube.groups)
        assert "/imu" in cube._repr_html_()
        with pytest.raises(KeyError, match="gps"):
            cube.groups["gps"]


def test_a_file_without_groups_has_none(tmp_path):
    with CubeWriter(6, (5, 7), np.uint16) as writer:
        path = writer.write(make_cube(), [tmp_path]).path
    with open_cube(path) as cube:
        assert dict(cube.groups) == {}
        assert "format_reads_from" not in cube.attributes


def test_a_group_that_is_read_can_be_saved_again(path, tmp_path):
    with open_cube(path) as cube:
        again = {name: group.read() for name, group in cube.groups.items()}
    assert isinstance(again["imu"], Group)
    cube = make_cube(groups=again)
    with CubeWriter(6, (5, 7), np.uint16) as writer:
        second = writer.write(cube, [tmp_path / "."]).path
    with open_cube(path) as one, open_cube(second) as other:
        for name, group in one.groups["imu"].variables.items():
            assert np.array_equal(group.data, other.groups["imu"].variables[name].data)
        assert one.contents.written == other.contents.written


@pytest.mark.parametrize(
    ("path_in_file", "words"),
    [
        ("imu/samples", "the variable samples of the group /imu"),
        ("imu/time", "the variable time of the group /imu"),
        ("marks/text", "the variable text of the group /marks"),
        ("marks/of_user/weight", "the variable weight of the group /marks/of_user"),
        ("references/white/frames", "the variable frames of the group /references/white"),
    ],
)
def test_a_damaged_variable_is_named_with_its_group_and_the_others_are_read(path, path_in_file, words):
    flip(path, place_in(path, path_in_file) + 1)
    with open_cube(path) as cube:
        assert cube.lines[:].shape == (6, 5, 7)
        assert cube.dataset.datacube.shape == (5, 6, 7)
        assert cube.groups["imu"].variables["age"].data.shape == (6,)
        group, _, name = path_in_file.rpartition("/")
        found = cube
        for part in group.split("/"):
            found = found.groups[part]
        with pytest.raises(ChecksumError, match=rf"\.nc: {words} is damaged"):
            found.variables[name]
        with pytest.raises(ChecksumError, match=words):
            _ = found.dataset
    report = verify(path)
    assert [words in problem for problem in report.problems] == [True]
    assert f"/{path_in_file}" in report.covers


@pytest.mark.parametrize(
    ("n_bytes", "words"), [(300, "the group /imu"), (6000, "the attribute story of the group /imu")]
)
def test_a_damaged_attribute_of_a_group_is_found(tmp_path, n_bytes, words):
    """HDF5 has a checksum for a short one, and none for a long one among many."""
    attributes = {"story": "a" * n_bytes, **{f"number {number}": number for number in range(9)}}
    groups = {"imu": Group(attributes=attributes), "gps": Group({}, {"rate": 5})}
    with CubeWriter(6, (5, 7), np.uint16) as writer:
        path = writer.write(make_cube(groups=groups), [tmp_path]).path
    content = path.read_bytes()
    path.write_bytes(content.replace(b"a" * n_bytes, b"a" * 200 + b"b" + b"a" * (n_bytes - 201)))
    with open_cube(path) as cube:
        assert cube.lines[:].shape == (6, 5, 7)
        assert cube.groups["gps"].attributes == {"rate": 5}
        with pytest.raises(ChecksumError, match=f"{words} is damaged"):
            _ = cube.groups["imu"].attributes
    if n_bytes > 4096:
        with open_cube(path, check=False) as cube:
            assert cube.groups["imu"].attributes["story"].count("b") == 1
    assert words in verify(path).problems[0]


REMOVED = {
    "marks/text": "the variable text of the group /marks is damaged: it was written, but is not in the file",
    "imu": "the variable time of the group /imu is damaged: it was written, but is not in the file",
    "frame_id": "the variable frame_id is damaged: it was written, but is not in the file",
}


@pytest.mark.parametrize("name", REMOVED)
def test_what_another_program_removed_is_found(path, name):
    with h5py.File(path, "r+") as file:
        del file[name]
    assert REMOVED[name] in " ".join(verify(path).problems)
    with open_cube(path) as cube:
        assert cube.lines[:].shape == (6, 5, 7)
        with pytest.raises(ChecksumError, match="was written, but is not in the file" if name != "imu" else "/imu"):
            _ = cube.groups["imu"].dataset if name == "imu" else cube.column(name)


@pytest.mark.parametrize(
    ("one", "other"), [("imu/time", "imu/id"), ("imu/time", "marks/time"), ("imu/age", "temperature")]
)
def test_variables_under_each_others_names_are_found(path, one, other):
    with h5py.File(path, "r+") as file:
        for name, new in ((one, "kept"), (other, one), ("kept", other)):
            file.move(name, new)
    problems = verify(path).problems
    assert sum("is damaged" in problem for problem in problems) >= 2
    with open_cube(path) as cube, pytest.raises(ChecksumError, match="under this name"):
        cube.contents.variable(one)


def test_groups_under_each_others_names_are_found(tmp_path):
    groups = {"one": Group(attributes={"number": 1}), "other": Group(attributes={"number": 2})}
    with CubeWriter(6, (5, 7), np.uint16) as writer:
        path = writer.write(make_cube(groups=groups), [tmp_path]).path
    with h5py.File(path, "r+") as file:
        for name, new in (("one", "kept"), ("other", "one"), ("kept", "other")):
            file.move(name, new)
    assert len(verify(path).problems) == 2
    with open_cube(path) as cube, pytest.raises(ChecksumError, match="the group /one is damaged"):
        _ = cube.groups["one"].attributes


def test_a_group_that_cannot_be_opened_does_no_harm_to_the_others(path):
    content = path.read_bytes()
    assert content.count(b"IMU") == 1
    path.write_bytes(content.replace(b"IMU", b"IMV"))
    with h5py.File(path) as file, pytest.raises(KeyError):
        _ = file["imu"]
    with open_cube(path) as cube:
        assert cube.lines[:].shape == (6, 5, 7)
        assert cube.dataset.datacube.shape == (5, 6, 7)
        assert cube.groups["marks"].dataset.text.shape == (3,)
        for read in (lambda: cube.groups["imu"].attributes, lambda: cube.groups["imu"].variables["time"]):
            with pytest.raises(ChecksumError, match="group /imu is damaged"):
                read()
    assert "/imu" in verify(path).problems[0]


def test_values_that_were_exchanged_with_their_checksums_are_found(path):
    """The list at the root contains each of them."""
    with h5py.File(path, "r+") as file:
        weight = file["marks/of_user/weight"]
        weight[:] = weight[:][::-1]
        weight.attrs.modify("values_crc32", np.uint32(zlib.crc32(weight[:].tobytes())))
    assert "the variable weight of the group /marks/of_user" in verify(path).problems[0]


def test_a_damaged_list_of_contents_is_found(path):
    content = path.read_bytes()
    assert content.count(b'"imu/id": ') == 1
    for new in (b'"imu/ix": ', b'"imu/id"; '):
        with h5py.File(path, "r+") as file:
            text = file.attrs["contents_crc32"].decode().replace('"imu/id": ', new.decode())
            file.attrs["contents_crc32"] = np.bytes_(text)
        assert not verify(path)
        path.write_bytes(content)
    assert verify(path)


def test_after_closing_nothing_is_read(path):
    with open_cube(path) as cube:
        imu = cube.groups["imu"]
        assert imu.variables
    with pytest.raises(ArgumentError, match="closed"):
        imu.variables["samples"]
    with pytest.raises(ArgumentError, match="closed"):
        _ = imu.attributes


def test_what_a_user_does_to_an_attribute_is_not_read_again(path):
    with open_cube(path) as cube:
        cube.contents.attributes("imu", is_group=True)["range"][:] = 7
        assert cube.contents.attributes("imu", is_group=True)["range"].tolist() == [-2, 2]
