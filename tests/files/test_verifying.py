"""`verify` reports whether a file is what was written, and never raises."""

import h5py
import pytest

from openhsi_shared.errors import ArgumentError
from openhsi_shared.files import CubeWriter, open_cube, verify
from openhsi_shared.save_options import SaveOptions


def save(cube, directory, **options):
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype, SaveOptions(**options)) as writer:
        return writer.write(cube, [directory]).path


def damage(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize("compression", [None, "deflate", "zstd"])
@pytest.mark.parametrize("n_lines", [1, 60])
def test_a_good_file_has_no_problems(cube_of, tmp_path, n_lines, compression):
    path = save(cube_of(n_lines), tmp_path, compression=compression)
    report = verify(path)
    assert report.ok
    assert report
    assert report.problems == ()
    assert (report.n_lines, report.n_bytes, report.path) == (n_lines, path.stat().st_size, path)


@pytest.mark.parametrize("compression", [None, "deflate", "zstd"])
def test_every_damaged_line_is_named(cube_of, tmp_path, compression):
    path = save(cube_of(9, 30, 40), tmp_path, compression=compression)
    with h5py.File(path) as file:
        places = [file["datacube"].id.get_chunk_info_by_coord((0, index, 0)).byte_offset for index in (2, 7)]
    for place in places:
        damage(path, place + 100)
    report = verify(str(path))
    assert not report.ok
    assert report.damaged_lines == (2, 7)
    assert ["line 2" in report.problems[0], "line 7" in report.problems[1]] == [True, True]


@pytest.mark.parametrize(
    "name", ["time", "temperature", "frame_id", "camera_time_ns", "line_crc32", "x", "y", "wavelength"]
)
def test_every_damaged_variable_is_named(cube_of, tmp_path, name):
    path = save(cube_of(), tmp_path)
    with h5py.File(path) as file:
        place = file[name].id.get_chunk_info(0).byte_offset
    damage(path, place)
    report = verify(path)
    assert not report.ok
    assert f"variable {name} is damaged" in " ".join(report.problems)


def test_a_variable_of_ours_without_checksum_is_a_problem(cube_of, tmp_path):
    path = save(cube_of(), tmp_path)
    with h5py.File(path, "r+") as file:
        del file["frame_id"].attrs["values_crc32"]
    assert "frame_id has no checksum" in verify(path).problems[0]


def test_a_removed_variable_is_a_problem(cube_of, tmp_path):
    path = save(cube_of(), tmp_path)
    with h5py.File(path, "r+") as file:
        del file["frame_id"]
    assert "1 variables that its dimensions refer to are missing" in verify(path).problems[0]


def test_bad_files_never_raise(tmp_path):
    (tmp_path / "empty.nc").write_bytes(b"")
    (tmp_path / "text.nc").write_text("no cube")
    for name in ("empty.nc", "text.nc", "missing.nc", "."):
        report = verify(tmp_path / name)
        assert not report.ok
        assert len(report.problems) == 1


@pytest.mark.parametrize("function", [verify, open_cube])
@pytest.mark.parametrize("path", [5, None])
def test_what_is_no_path_is_refused(function, path):
    with pytest.raises(ArgumentError, match="path must be the path of a file, got"):
        function(path)


def test_a_file_that_other_readers_cannot_open_is_told(cube_of, tmp_path):
    """One bit is wrong that this library does not read: in the references from axes to coordinates."""
    path = save(cube_of(8), tmp_path)
    damage(path, path.read_bytes().index(b"GCOL") + 12)
    report = verify(path)
    assert not report.ok
    assert "cannot be read by other netCDF readers" in report.problems[0]


def test_a_line_that_other_readers_do_not_find_is_told(cube_of, tmp_path):
    """A key of the index of lines is wrong: at the place of that line they read zeros."""
    cube = cube_of(9, 30, 40)
    path = save(cube, tmp_path)
    with h5py.File(path) as file:
        at = file["datacube"].id.get_chunk_info_by_coord((0, 5, 0)).byte_offset
    damage(path, path.read_bytes().index(at.to_bytes(8, "little")) - 13)  # its band: the key is before the address
    with h5py.File(path) as file:
        assert not file["datacube"][:, 5].any()
    (problem,) = verify(path).problems
    assert "do not find 1 of its lines" in problem


@pytest.mark.parametrize(
    "units",
    ["nanoseconds since 1980-01-01T00:00:00", "days since 2000-01-01", "fortnights since 1970-01-01", "no time"],
)
def test_other_units_of_time_are_a_problem_although_the_numbers_are_what_they_were(cube_of, tmp_path, units):
    path = save(cube_of(3), tmp_path)
    with h5py.File(path, "r+") as file:
        file["time"].attrs["units"] = units
    report = verify(path)
    assert not report.ok
    assert "the units of time are" in report.problems[0]


def test_the_same_units_of_time_in_other_words_are_no_problem(cube_of, tmp_path):
    path = save(cube_of(3), tmp_path)
    with h5py.File(path, "r+") as file:
        file["time"].attrs["units"] = "nanoseconds since 1970-01-01 00:00:00+00:00"
    assert verify(path).ok
