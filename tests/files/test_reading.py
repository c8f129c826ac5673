"""Cubes of this library and of openhsi are opened, and nothing damaged is read as good."""

import errno
import os

import h5py
import numpy as np
import pytest
import xarray as xr

from openhsi_shared.errors import ArgumentError, ChecksumError, FileError, IncompleteFileError
from openhsi_shared.files import CubeWriter, open_cube, verify
from openhsi_shared.save_options import SaveOptions


def save(cube, directory, old_style=True, **options):
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype, SaveOptions(**options)) as writer:
        return writer.write(cube, [directory], old_style=old_style).path


def lines_of(cube):
    return np.stack(list(cube.lines()))


def openhsi_file(path, lines, old_style):
    """A file as openhsi writes it: time and temperature on dimensions of their own."""
    n_lines, x, bands = lines.shape
    times = np.datetime64("2023-11-14T22:13:20.123456789", "ns") + np.arange(n_lines) * np.timedelta64(2000001, "ns")
    dims = ("x", "y", "wavelength") if old_style else ("wavelength", "x", "y")
    values = lines.transpose(1, 0, 2) if old_style else lines.transpose(2, 1, 0)
    coords = {
        "x": np.arange(x),
        "y": np.arange(n_lines),
        "wavelength": (["wavelength"], np.linspace(450, 800, bands), {"units": "nanometers"}),
        "time": (["time"], times),
        "temperature": (["temperature"], np.full(n_lines, 21.5, np.float32)),
    }
    xr.Dataset({"datacube": (dims, values)}, coords, {"title": "theirs"}).to_netcdf(path)
    return path


@pytest.fixture(params=[True, False], ids=["x-y-wavelength", "wavelength-x-y"])
def old_style(request):
    return request.param


def test_all_that_is_known_of_a_cube_is_there(cube_of, tmp_path, old_style):
    cube = cube_of(level=4, wavelengths_nm=np.linspace(400, 700, 7), attributes={"run_id": "r"})
    with open_cube(save(cube, tmp_path, old_style)) as saved:
        assert saved.lines.shape == (6, 5, 7)
        assert len(saved.lines) == 6
        assert saved.times_ns.tolist() == cube.columns["time_ns"].tolist()
        assert saved.frame_ids.tolist() == cube.columns["frame_id"].tolist()
        assert np.array_equal(saved.temperatures, cube.columns["temperature"], equal_nan=True)
        assert np.array_equal(saved.wavelengths_nm, np.linspace(400, 700, 7))
        assert saved.level == 4
        assert saved.attributes["run_id"] == "r"
        assert "datacube" in saved._repr_html_()


def test_what_is_not_known_is_none(cube_of, tmp_path):
    cube = cube_of()
    plain = type(cube)(memory=cube.memory, n_lines=6, columns={"time_ns": cube.columns["time_ns"]}, uuid="u")
    with open_cube(save(plain, tmp_path)) as saved:
        assert saved.wavelengths_nm is None
        assert saved.frame_ids is None
        assert saved.temperatures is None
        with pytest.raises(FileError, match="no variable 'altitude'"):
            saved.column("altitude")


KEYS = [
    0,
    -1,
    slice(None),
    slice(4, 1, -1),
    slice(3, 3),
    [4, 0, 4],
    np.array([True, False] * 3),
    (2, 3),
    (2, 3, 4),
    (slice(1, 3), 2),
    (slice(None), slice(None), 3),
    (slice(None), [0, 2], 1),
    ...,
    (..., 3),
    (1, ..., 2),
    (),
]


@pytest.mark.parametrize("check", [True, False])
def test_lines_are_chosen_as_from_an_array(cube_of, tmp_path, old_style, check):
    cube = cube_of()
    with open_cube(save(cube, tmp_path, old_style), check) as saved:
        for key in KEYS:
            assert np.array_equal(saved.lines[key], lines_of(cube)[key]), key
            assert saved.lines[key].shape == lines_of(cube)[key].shape, key
        assert np.array_equal(list(saved.lines), lines_of(cube))


def test_lines_that_do_not_exist_are_an_index_error(cube_of, tmp_path):
    with open_cube(save(cube_of(), tmp_path)) as saved:
        for key in (6, -7, (0, 0, 0, 0), (0, 5)):
            with pytest.raises(IndexError):
                saved.lines[key]


CHOICES = [
    {},
    {"y": 2},
    {"y": slice(1, 6, 2), "wavelength": 3},
    {"x": 1, "y": 2, "wavelength": 3},
    {"y": [4, 1, 1], "x": [0, 2]},
    {"wavelength": slice(None, None, -1), "x": -1},
    {"y": slice(0, 0)},
    {"y": xr.DataArray([0, 1], dims="p"), "x": xr.DataArray([2, 3], dims="p")},
]


@pytest.mark.parametrize("compression", [None, "deflate", "zstd"])
def test_the_lazy_dataset_is_what_xarray_itself_reads(cube_of, tmp_path, old_style, compression):
    path = save(cube_of(), tmp_path, old_style, compression=compression)
    for choice in CHOICES:
        with open_cube(path) as saved, xr.open_dataset(path, engine="netcdf4") as expected:
            assert not isinstance(saved.dataset.datacube.variable._data, np.ndarray)
            xr.testing.assert_equal(saved.dataset.isel(choice).load(), expected.isel(choice).load())
            assert saved.dataset.datacube.attrs == expected.datacube.attrs
    with open_cube(path, check=False) as unchecked:
        assert unchecked.dataset.datacube.shape == saved.dataset.datacube.shape


def test_after_closing_nothing_is_read(cube_of, tmp_path):
    with open_cube(save(cube_of(), tmp_path)) as saved:
        dataset = saved.dataset
    saved.close()
    with pytest.raises(ArgumentError, match="closed"):
        saved.lines[0]
    with pytest.raises(ArgumentError, match="closed"):
        _ = saved.frame_ids
    with pytest.raises(ArgumentError, match="closed"):
        dataset.datacube.load()


@pytest.mark.parametrize("span_bytes", [1, 300, 1 << 25])
def test_openhsis_files_open_in_either_order(cube_of, tmp_path, old_style, span_bytes, monkeypatch):
    monkeypatch.setattr("openhsi_shared.files.lines.SPAN_BYTES", span_bytes)
    lines = lines_of(cube_of())
    with open_cube(openhsi_file(tmp_path / "theirs.nc", lines, old_style)) as saved:
        assert np.array_equal(saved.lines, lines)
        assert np.array_equal(saved.lines[[3, 1], 2], lines[[3, 1], 2])
        assert saved.lines[2:2].shape == (0, 5, 7)
        assert np.array_equal(saved.lines[::-2], lines[::-2])
        assert saved.times_ns.tolist() == [1_700_000_000_123_456_789 + n * 2_000_001 for n in range(6)]
        assert saved.temperatures.tolist() == [21.5] * 6
        assert saved.wavelengths_nm[-1] == 800
        assert saved.level is None
        assert saved.dataset.datacube.shape == ((5, 6, 7) if old_style else (7, 5, 6))


def test_a_copy_that_another_program_changed_is_not_taken_for_ours(cube_of, tmp_path):
    cube = cube_of()
    with xr.open_dataset(save(cube, tmp_path)) as dataset:
        (dataset * 2).assign_attrs(dataset.attrs).to_netcdf(tmp_path / "twice.nc")
    with open_cube(tmp_path / "twice.nc") as changed:
        assert np.array_equal(changed.lines, lines_of(cube) * np.uint16(2))
        assert not changed.is_ours
    assert not verify(tmp_path / "twice.nc").ok


# ---- invalid cubes ---------------------------------------------------------------------------


def offset_of_line(path, index):
    with h5py.File(path) as file:
        return file["datacube"].id.get_chunk_info_by_coord((0, index, 0)).byte_offset


def flip(path, offset):
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("compression", [None, "deflate", "zstd"])
def test_a_damaged_line_is_named_and_the_others_are_read(cube_of, tmp_path, compression):
    cube = cube_of(x=30, bands=40)
    path = save(cube, tmp_path, compression=compression)
    flip(path, offset_of_line(path, 4) + 50)
    with open_cube(path) as saved:
        assert np.array_equal(saved.lines[:4], lines_of(cube)[:4])
        for read in (lambda: saved.lines[4], lambda: saved.lines[:], lambda: saved.dataset.datacube.values):
            with pytest.raises(ChecksumError, match="line 4 is damaged"):
                read()
    if compression is None:
        with open_cube(path, check=False) as saved:
            assert (saved.lines[4] != lines_of(cube)[4]).sum() == 1


def test_a_damaged_column_is_named(cube_of, tmp_path):
    path = save(cube_of(), tmp_path)
    with h5py.File(path) as file:
        offset = file["frame_id"].id.get_chunk_info(0).byte_offset
    flip(path, offset + 1)
    with open_cube(path) as saved:
        assert saved.lines[0].shape == (5, 7)
        with pytest.raises(ChecksumError, match="frame_id is damaged"):
            _ = saved.frame_ids


def point_elsewhere(path, old, new):
    """Change the offset of a chunk in HDF5's index, which has no checksum."""
    data = path.read_bytes()
    at = data.index(old.to_bytes(8, "little"))
    path.write_bytes(data[:at] + new.to_bytes(8, "little") + data[at + 8 :])


def test_a_column_whose_place_is_lost_does_not_read_as_zeros(cube_of, tmp_path):
    path = save(cube_of(), tmp_path)
    with h5py.File(path) as file:
        place = file["frame_id"].id.get_chunk_info(0).byte_offset
    point_elsewhere(path, place, path.read_bytes().index(bytes(200)))
    with h5py.File(path) as file:
        assert file["frame_id"][:].tolist() == [0] * 6  # what HDF5 makes of it
    with open_cube(path) as saved, pytest.raises(ChecksumError, match="frame_id is damaged"):
        _ = saved.frame_ids


@pytest.mark.parametrize("place", [1 << 40, (1 << 64) - (1 << 20)])
def test_a_line_whose_place_is_lost_is_damaged(cube_of, tmp_path, place):
    path = save(cube_of(), tmp_path)
    point_elsewhere(path, offset_of_line(path, 2), place)
    with open_cube(path) as saved:
        with pytest.raises(ChecksumError, match="line 2 is damaged"):
            saved.lines[2]
        assert saved.lines[3].shape == (5, 7)


def test_no_flipped_bit_reads_as_good_data(cube_of, tmp_path):
    cube = cube_of(4)
    path = save(cube, tmp_path)
    good = path.read_bytes()
    random = np.random.default_rng(0)
    n_found = 0
    for position in random.integers(0, len(good), 200).tolist():
        bad = bytearray(good)
        bad[position] ^= 1 << random.integers(8)
        path.write_bytes(bad)
        try:
            with open_cube(path) as saved:
                values = [saved.lines[:], saved.times_ns, saved.frame_ids]
        except FileError:
            n_found += 1
            continue
        expected = [lines_of(cube), cube.columns["time_ns"], cube.columns["frame_id"]]
        assert all(np.array_equal(value, wanted) for value, wanted in zip(values, expected, strict=True)), position
    assert n_found > 5


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_a_file_error(cube_of, tmp_path, share):
    path = save(cube_of(30, 20, 30), tmp_path)
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(FileError, match="damaged"):
        open_cube(path)
    assert not verify(path).ok


def test_what_its_writer_did_not_finish_is_incomplete(cube_of, tmp_path):
    path = save(cube_of(), tmp_path)
    with h5py.File(path, "r+") as file:
        file.attrs["complete"] = 0
    with pytest.raises(IncompleteFileError, match="incomplete"):
        open_cube(path)
    assert "incomplete" in verify(path).problems[0]


@pytest.mark.parametrize("others", [[], ["line_crc32"], ["format"]], ids=["", "nor checksums", "nor format"])
@pytest.mark.parametrize("check", [True, False])
def test_a_file_of_ours_that_does_not_say_that_it_is_complete_is_incomplete(cube_of, tmp_path, check, others):
    path = save(cube_of(), tmp_path)
    flip(path, offset_of_line(path, 4) + 50)
    with h5py.File(path, "r+") as file:
        del file.attrs["complete"]
        for name in others:
            del (file if name in file else file.attrs)[name]
    with pytest.raises(IncompleteFileError, match="incomplete"):
        open_cube(path, check)
    assert "incomplete" in verify(path).problems[0]


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_what_a_writer_is_at_work_on_is_incomplete(cube_of, tmp_path, compression):
    seen = []

    def look(point):
        if point in ("created", "half"):
            (part,) = tmp_path.rglob("*.part")
            with pytest.raises(IncompleteFileError, match=r"wait until .* name .*\.nc, or, .* call .*recover\("):
                open_cube(part)
            seen.append(point)

    with CubeWriter(6, (5, 7), np.uint16, SaveOptions(compression=compression)) as writer:
        writer.write(cube_of(), [tmp_path], passed=look)
    assert seen == ["created", "half"]
    with pytest.raises(FileError, match="No such file") as caught:
        open_cube(tmp_path / ".cube.nc.17.part")
    assert type(caught.value) is FileError


def test_missing_and_foreign_files_are_errors_that_say_so(tmp_path):
    with pytest.raises(FileError) as caught:
        open_cube(tmp_path / "missing.nc")
    assert caught.value.errno == errno.ENOENT
    assert "missing.nc" in str(caught.value)
    with pytest.raises(FileError):
        open_cube(tmp_path)
    (tmp_path / "text.nc").write_text("no cube at all")
    with pytest.raises(FileError, match=r"text\.nc is not a NetCDF-4 file"):
        open_cube(tmp_path / "text.nc")
    xr.Dataset({"other": ("t", [1])}).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(FileError, match="expected a variable datacube"):
        open_cube(tmp_path / "other.nc")
    xr.Dataset({"datacube": (("a", "b"), [[1]])}).to_netcdf(tmp_path / "flat.nc")
    with pytest.raises(FileError, match="has axes"):
        open_cube(tmp_path / "flat.nc")


def test_no_descriptor_is_left_open(cube_of, tmp_path):
    path = save(cube_of(), tmp_path)
    broken = tmp_path / "broken.nc"
    broken.write_bytes(path.read_bytes()[:2000])

    def n_open():
        return len(list((tmp_path / "/proc/self/fd").iterdir()))

    before = n_open()
    for _ in range(3):
        with open_cube(path) as saved:
            saved.dataset.load()
        with open_cube(path, check=False) as saved:
            saved.dataset.load()
        with pytest.raises(FileError):
            open_cube(broken)
        verify(path)
    assert n_open() == before
