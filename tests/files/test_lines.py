"""Lines are read into memory that is there, and those that are damaged are told apart."""

import h5py
import numpy as np
import pytest
import xarray as xr

from openhsi_shared.errors import ArgumentError
from openhsi_shared.files import CubeWriter, lines, open_cube
from openhsi_shared.save_options import SaveOptions
from tests.files.test_reading import flip, offset_of_line, openhsi_file, point_elsewhere


def save(cube, directory, old_style=True, **options):
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype, SaveOptions(**options)) as writer:
        return writer.write(cube, [directory], old_style=old_style).path


def room(cube, n_lines, padding=0):
    """Memory for lines, `padding` bytes apart."""
    n_bytes = np.empty(cube.lines.shape[1:], cube.lines.dtype).nbytes
    memory = np.full((n_lines, n_bytes + padding), 255, np.uint8)
    return memory[:, :n_bytes].view(cube.lines.dtype).reshape(n_lines, *cube.lines.shape[1:])


@pytest.mark.parametrize("padding", [0, 64])
@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("compression", [None, "deflate", "zstd"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("old_style", [True, False])
def test_lines_are_read_into_memory_that_is_there(
    cube_of, tmp_path, monkeypatch, old_style, dtype, compression, n_threads, padding
):
    monkeypatch.setattr(lines, "CACHED_BYTES", 3000)  # spans of several lines, and a shorter one
    cube = cube_of(11, 20, 30, dtype)
    with open_cube(save(cube, tmp_path, old_style, compression=compression)) as saved:
        for first, stop in ((0, 11), (3, 4), (2, 10), (5, 5)):
            out = room(saved, stop - first, padding)
            assert saved.lines.read_into(first, stop, out, n_threads).tolist() == [True] * (stop - first)
            assert np.array_equal(out, np.stack(list(cube.lines()))[first:stop])


@pytest.mark.parametrize("old_style", [True, False])
@pytest.mark.parametrize("compression", [None, "deflate", "zstd"])
def test_a_damaged_line_is_reported_and_the_others_are_good(cube_of, tmp_path, compression, old_style):
    cube = cube_of(x=30, bands=40)
    path = save(cube, tmp_path, old_style, compression=compression)
    with h5py.File(path) as file:
        chunks = []
        file["datacube"].id.chunk_iter(chunks.append)
    offsets = sorted(chunk.byte_offset for chunk in chunks)
    flip(path, offsets[4] + 50)
    point_elsewhere(path, offsets[1], (1 << 64) - (1 << 20))
    with open_cube(path) as saved:
        out = room(saved, 6)
        good = saved.lines.read_into(0, 6, out)
        assert good.tolist() == [True, False, True, True, False, True]
        assert np.array_equal(out[good], np.stack(list(cube.lines()))[good])


def test_without_checks_a_line_with_another_checksum_is_good(cube_of, tmp_path):
    path = save(cube_of(x=30, bands=40), tmp_path)
    flip(path, offset_of_line(path, 4) + 50)
    with open_cube(path, check=False) as saved:
        assert saved.lines.read_into(0, 6, room(saved, 6)).all()


def test_a_file_that_became_shorter_has_good_lines_before_its_end(cube_of, tmp_path):
    path = save(cube_of(x=30, bands=40), tmp_path)
    offset = offset_of_line(path, 3)
    with open_cube(path) as saved:
        with path.open("r+b") as file:
            file.truncate(offset + 10)
        assert saved.lines.read_into(0, 6, room(saved, 6)).tolist() == [True] * 3 + [False] * 3


@pytest.mark.parametrize("old_style", [True, False])
def test_files_of_other_programs_and_packed_lines_are_read_into_memory(cube_of, tmp_path, old_style):
    values = np.stack(list(cube_of().lines()))
    with open_cube(openhsi_file(tmp_path / "theirs.nc", values, old_style)) as theirs:
        out = room(theirs, 4)
        assert theirs.lines.read_into(1, 5, out).all()
        assert np.array_equal(out, values[1:5])
    packed = values.astype("i2")
    labels = {"scale_factor": np.float32(0.5), "_FillValue": packed[2, 0, 0]}
    cube = xr.Dataset({"datacube": (("y", "x", "wavelength"), packed, labels)})
    xr.decode_cf(cube, mask_and_scale=False).to_netcdf(tmp_path / "packed.nc")
    with open_cube(tmp_path / "packed.nc") as theirs:
        out = room(theirs, 6)
        assert theirs.lines.read_into(0, 6, out).all()
        assert np.array_equal(out, theirs.lines[:], equal_nan=True)
        assert np.isnan(out[2, 0, 0])


def test_only_the_right_room_is_filled(cube_of, tmp_path):
    with open_cube(save(cube_of(), tmp_path)) as saved:
        for first, stop, out in (
            (0, 7, np.empty((7, 5, 7), np.uint16)),
            (-1, 2, np.empty((3, 5, 7), np.uint16)),
            (0, 2, np.empty((3, 5, 7), np.uint16)),
            (0, 2, np.empty((2, 5, 7), np.float32)),
            (0, 2, np.empty((2, 7, 5), np.uint16).transpose(0, 2, 1)),
        ):
            with pytest.raises(ArgumentError, match="lines"):
                saved.lines.read_into(first, stop, out)
    with pytest.raises(ArgumentError, match="closed"):
        saved.lines.read_into(0, 2, np.empty((2, 5, 7), np.uint16))
