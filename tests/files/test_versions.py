"""Files of every version of the format open, or are refused by name; those without groups stay what they were."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from openhsi_shared import open_cube, recover, verify
from openhsi_shared.errors import FileError
from openhsi_shared.files import CubeWriter
from openhsi_shared.save_options import SaveOptions
from tests.support.cubes import make_cube, make_groups

DATA = Path(__file__).parent / "data"
"""Written before there were groups; see the README there."""
GAPS = " ".join(f"{number}-{number + 3}" for number in range(0, 2500, 7))


def like(name, dtype):
    """The cube from which the file of this name was made."""
    about = {"wavelengths_nm": np.linspace(400, 700, 7), "level": 4, "attributes": {"lost_frame_ids": GAPS}}
    return make_cube(8, 5, 7, dtype, columns={"altitude": np.arange(8.0)}, uuid=name, **about)


KINDS = {"format_1_deflate": ("u2", True, "deflate"), "format_1_zstd": ("f4", False, "zstd")}


@pytest.mark.parametrize("name", KINDS)
def test_files_of_format_1_open_as_before(name):
    cube = like(name, KINDS[name][0])
    with open_cube(DATA / f"{name}.nc") as saved:
        assert np.array_equal(saved.lines, np.stack(list(cube.lines())))
        assert saved.times_ns.tolist() == cube.columns["time_ns"].tolist()
        assert saved.column("altitude").tolist() == list(range(8))
        assert (saved.level, saved.attributes["lost_frame_ids"]) == (4, GAPS)
        assert saved.dataset.altitude.values.tolist() == list(range(8))
        assert dict(saved.groups) == {}
    report = verify(DATA / f"{name}.nc")
    assert (report.problems, report.added) == ((), ())
    assert {"datacube", "time", "altitude", "line_crc32"} <= set(report.covers)


def test_a_file_of_a_camera_of_format_1_opens_as_before():
    assert verify(DATA / "format_1.nc").problems == ()
    with open_cube(DATA / "format_1.nc") as saved:
        assert saved.lines.shape == (8, 16, 20)
        assert saved.frame_ids.tolist() == list(range(8))
        assert saved.dataset.datacube.shape == (16, 8, 20)


def test_a_dump_of_format_1_becomes_a_file(tmp_path):
    for path in DATA.glob("*.raw*"):
        shutil.copy(path, tmp_path)
    (path,) = recover(tmp_path).published
    assert verify(path).problems == ()
    with open_cube(path) as saved:
        assert np.array_equal(saved.lines, np.stack(list(make_cube(3).lines())))


def test_a_file_of_openhsi_opens_as_before():
    with open_cube(DATA / "openhsi.nc") as saved:
        assert np.array_equal(saved.lines, np.stack(list(make_cube(6).lines())))
        assert saved.temperatures.tolist() == [21.5] * 6
        assert dict(saved.groups) == {}


def everything_in(path):
    """Contents for any reader, with types and order."""
    with h5py.File(path) as file:
        found = {}
        for name, item in [("/", file), *file.items()]:
            attributes = {}
            for key in item.attrs:
                value = item.attrs[key]
                if key not in ("DIMENSION_LIST", "REFERENCE_LIST"):
                    attributes[key] = (np.asarray(value).dtype.str, np.asarray(value).tolist())
            found[name] = attributes
            if isinstance(item, h5py.Dataset):
                values = None if name == "datacube" else item[...].tobytes()
                found[name, "data"] = (item.shape, item.dtype.str, item.chunks, item.compression, values)
        return list(found), found


@pytest.mark.parametrize("name", KINDS)
def test_a_cube_without_groups_is_the_file_that_it_was(tmp_path, name):
    """Without the two attributes that contain the time of writing."""
    dtype, old_style, compression = KINDS[name]
    with CubeWriter(8, (5, 7), dtype, SaveOptions(compression=compression)) as writer:
        written = writer.write(like(name, dtype), [tmp_path], old_style=old_style, picture=False)
    (order, before), (new_order, now) = everything_in(DATA / f"{name}.nc"), everything_in(written.path)
    assert order == new_order
    assert list(before["/"]) == list(now["/"])
    for found in (before, now):
        del found["/"]["date_created"], found["/"]["history"]
    assert before == now


def of_version(tmp_path, groups=False, **attributes):
    cube = make_cube(groups=make_groups() if groups else {})
    with CubeWriter(6, (5, 7), np.uint16) as writer:
        path = writer.write(cube, [tmp_path]).path
    with h5py.File(path, "r+") as file:
        for name, value in attributes.items():
            file.attrs[name] = value
    return path


def test_a_file_with_groups_says_who_can_read_it(tmp_path):
    with open_cube(of_version(tmp_path, groups=True)) as saved:
        assert (saved.attributes["format_version"], saved.attributes["format_reads_from"]) == (2, 1)


@pytest.mark.parametrize("reads_from", [1, 2])
@pytest.mark.parametrize("groups", [False, True])
def test_a_version_of_the_future_that_only_adds_is_read_with_a_warning(tmp_path, caplog, reads_from, groups):
    path = of_version(tmp_path, groups, format_version=7, format_reads_from=reads_from)
    if not groups:  # of which version 2 has a list
        with h5py.File(path, "r+") as file:
            file.attrs["contents_crc32"] = np.bytes_("{}")
    with open_cube(path) as saved:
        assert saved.lines[:].shape == (6, 5, 7)
    assert f"{path} is of format_version 7, but this openhsi_shared supports versions up to 2" in caplog.text


@pytest.mark.parametrize(
    "attributes",
    [
        {"format_version": 7},
        {"format_version": 3, "format_reads_from": 3},
        {"format_version": 4, "format_reads_from": ""},
    ],
    ids=str,
)
def test_a_version_of_the_future_that_changes_something_is_refused_by_name(tmp_path, attributes):
    path = of_version(tmp_path, **attributes)
    message = rf"\.nc is of format_version {attributes['format_version']}, but this .* up to 2: update it"
    with pytest.raises(FileError, match=message):
        open_cube(path)
    assert len(verify(path).problems) == 1


@pytest.mark.parametrize("version", ["two", 0, -1, 1.5, [1, 2]], ids=repr)
def test_a_version_that_does_not_exist_is_refused(tmp_path, version):
    path = of_version(tmp_path, format_version=version)
    with pytest.raises(FileError, match=r"has the format_version .*, which does not exist"):
        open_cube(path)


def test_a_version_of_another_program_says_nothing(tmp_path):
    path = of_version(tmp_path, format="theirs", format_version=99)
    with open_cube(path) as saved:
        assert saved.lines[:].shape == (6, 5, 7)
