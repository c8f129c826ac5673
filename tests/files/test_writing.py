"""Cubes that were written are read back equal by every reader, and are never incomplete."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from openhsi_shared import dataset
from openhsi_shared.files import CubeWriter, open_cube, saving, verify
from openhsi_shared.files.published import uuid_of
from openhsi_shared.files.saving import _map_in_order
from openhsi_shared.save_options import SaveOptions
from tests.support.cubes import make_cube, make_groups
from tests.support.products import each_value_once, some

SIZES = [(1, 300, 400), (2, 300, 400), (20, 300, 400), (9, 65, 801), (100, 16, 48), (3, 2, 1)]
NEEDS_PYFIVE = "pyfive is missing: pip install pyfive"
COMPRESSIONS = [None, "deflate", "zstd"]
NAME = "2023_11_14-22_13_20_123456"
AXES = ("y", "x", "wavelength")


def save(cube, directory, old_style=True, writer=None, passed=None, directories=None, **options):
    names = {name: options.pop(name) for name in ("prefix", "suffix", "picture") if name in options}
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype, SaveOptions(**options)) as writer:
        return writer.write(cube, directories or [directory], old_style=old_style, passed=passed, **names)


def n_open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def lines_of(cube):
    return np.stack(list(cube.lines()))


def turned(values, dims):
    return np.asarray(values).transpose([dims.index(name) for name in AXES])


def read_by_netcdf4(path):
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        variable = file["datacube"]
        return turned(variable[:], variable.dimensions), file["time"][:], file["line_crc32"][:]


def read_by_xarray(engine):
    def read(path):
        with xr.open_dataset(path, engine=engine) as file:
            assert {file[name].dims for name in ("time", "frame_id", "temperature", "line_crc32")} == {("y",)}
            times = file.time.values.astype("datetime64[ns]").astype(np.int64)
            return turned(file.datacube.values, file.datacube.dims), times, file.line_crc32.values

    return read


def read_by_h5py(path):
    with h5py.File(path) as file:
        variable = file["datacube"]
        dims = tuple(dim[0].name.strip("/") for dim in variable.dims)
        return turned(variable[...], dims), file["time"][:], file["line_crc32"][:]


READERS = {
    "netCDF4": read_by_netcdf4,
    "xarray-netcdf4": read_by_xarray("netcdf4"),
    "xarray-h5netcdf": read_by_xarray("h5netcdf"),
    "h5py": read_by_h5py,
}
WITHOUT_ZSTD = {"xarray-h5netcdf", "h5py"}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("old_style", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_every_reader_finds_the_lines_that_were_written(cube_of, tmp_path, size, old_style, compression):
    cube = cube_of(*size)
    written = save(cube, tmp_path, old_style, compression=compression)
    for name, read in READERS.items():
        if compression == "zstd" and name in WITHOUT_ZSTD:
            continue
        lines, times, checksums = read(written.path)
        assert np.array_equal(lines, lines_of(cube)), name
        assert lines.dtype == np.uint16
        assert np.array_equal(times, cube.columns["time_ns"]), name
        assert np.array_equal(checksums, written.lines_crc32), name


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("old_style", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_pyfive_finds_them_too(cube_of, tmp_path, size, old_style, compression):
    pyfive = pytest.importorskip("pyfive", reason=NEEDS_PYFIVE)
    cube = cube_of(*size)
    written = save(cube, tmp_path, old_style, compression=compression)
    with pyfive.File(str(written.path)) as file:
        lines = turned(file["datacube"][...], ("x", "y", "wavelength") if old_style else ("wavelength", "x", "y"))
        assert np.array_equal(lines, lines_of(cube))
        assert lines.dtype == np.uint16
        assert np.array_equal(file["time"][...], cube.columns["time_ns"])
        assert np.array_equal(file["line_crc32"][...], written.lines_crc32)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("old_style", [True, False])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "f4", "f8", ">u2"])
def test_every_type_of_pixel_comes_back(cube_of, tmp_path, dtype, old_style, compression):
    cube = cube_of(7, 30, 1200, dtype=dtype)
    written = save(cube, tmp_path, old_style, compression=compression)
    with open_cube(written.path) as saved:
        assert np.array_equal(saved.lines, lines_of(cube))
        assert saved.lines.dtype == np.dtype(dtype).newbyteorder("<")


@pytest.mark.parametrize(
    ("compression", "level"), [("deflate", 0), ("deflate", 3), ("zstd", -7), ("zstd", 0), ("zstd", 22)]
)
def test_first_and_last_levels_are_read_by_others_and_named(cube_of, tmp_path, compression, level):
    cube = cube_of(3, 65, 80)
    path = save(cube, tmp_path, compression=compression, compression_level=level).path
    with netCDF4.Dataset(path) as file:
        assert file["datacube"].filters()["complevel"] == level
        np.testing.assert_array_equal(turned(file["datacube"][:], file["datacube"].dimensions), lines_of(cube))
    assert verify(path).ok


KINDS_OF_LINES = {
    "dark": lambda random, shape: random.poisson(40, shape),
    "flat": lambda random, shape: np.full(shape, 3000),
    "12 bit in 16": lambda random, shape: random.poisson(2500, shape),
    "noise": lambda random, shape: random.integers(0, 65536, shape),
    "8 bit": lambda random, shape: random.integers(0, 256, shape),
    "noise in the last rows": lambda random, shape: np.where(
        np.arange(shape[0])[:, None] > 200, random.integers(0, 65536, shape), 7
    ),
}


CODERS = [(True, "deflate"), (False, "deflate"), (True, "zstd")]


@pytest.mark.parametrize(
    ("old_style", "compression", "dtype"),
    some(
        *[(True, "deflate", "u2"), (False, "deflate", "f4"), (True, "zstd", "u2")],
        all_of=[(*coder, dtype) for coder in CODERS for dtype in ("u2", "f4")],
    ),
)
def test_data_may_change_their_kind_within_a_cube(cube_of, tmp_path, old_style, compression, dtype):
    """Chunks are of very different lengths: large ones are written together, small ones lie anywhere between them."""
    cube = cube_of(90, 300, 400, dtype, n_stored=97, first=50)
    random = np.random.default_rng(8)
    for n, line in enumerate(cube.lines()):  # first in long runs, then in short ones
        kind = list(KINDS_OF_LINES)[n // 12 if n < 60 else n % 6]
        line[:] = KINDS_OF_LINES[kind](random, line.shape).astype(dtype)
    path = save(cube, tmp_path, old_style, compression=compression).path
    lines, *_ = read_by_netcdf4(path)
    assert np.array_equal(lines, lines_of(cube))
    assert verify(path).ok


@pytest.mark.parametrize("old_style", [True, False])
@pytest.mark.parametrize("x", [4, 300])
def test_any_memory_can_be_saved(cube_of, tmp_path, x, old_style):
    shifted = cube_of(5, x, 400, shift=8)  # not page-aligned
    upstream_order = np.ascontiguousarray(lines_of(shifted).transpose(1, 0, 2)).transpose(1, 0, 2)
    backwards = lines_of(shifted)[::-1][::-1]
    turned_lines = np.ascontiguousarray(lines_of(shifted).transpose(0, 2, 1)).transpose(0, 2, 1)
    read_only = lines_of(shifted)
    read_only.flags.writeable = False
    for number, memory in enumerate([shifted.memory, upstream_order, turned_lines, backwards, read_only]):
        cube = dataset.Cube(memory=memory, n_lines=5, columns=shifted.columns, uuid=str(number))
        written = save(cube, tmp_path, old_style)
        with open_cube(written.path) as saved:
            assert np.array_equal(saved.lines, lines_of(shifted))


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("x", [5, 300])
@pytest.mark.parametrize(("n_lines", "first"), [(3, 0), (3, 2), (8, 5), (8, 0), (7, 6)])
def test_partial_and_wrapped_cubes_hold_their_lines_in_the_order_of_time(
    cube_of, tmp_path, n_lines, first, x, compression
):
    cube = cube_of(n_lines, x, 400, n_stored=8, first=first)
    written = save(cube, tmp_path, compression=compression)
    with open_cube(written.path) as saved:
        assert saved.lines.shape == (n_lines, x, 400)
        assert np.array_equal(saved.lines, lines_of(cube))
        assert saved.frame_ids.tolist() == list(range(40, 40 + n_lines))
        assert np.array_equal(saved.temperatures, cube.columns["temperature"], equal_nan=True)
    assert verify(written.path).ok


def test_checksums_are_those_of_zlib_in_either_order_and_compression(cube_of, tmp_path):
    import zlib

    cube = cube_of(4, 30, 40)
    expected = [zlib.crc32(np.ascontiguousarray(line).astype("<u2").tobytes()) for line in cube.lines()]
    for old_style in (True, False):
        for compression in COMPRESSIONS:
            assert save(cube, tmp_path, old_style, compression=compression).lines_crc32.tolist() == expected


def test_name_and_folder_are_those_of_the_first_line(cube_of, tmp_path):
    written = save(cube_of(), tmp_path, prefix="sea_", suffix="_a")
    assert written.path == tmp_path / "2023_11_14" / f"sea_{NAME}_a.nc"
    assert written.n_bytes == written.path.stat().st_size
    assert [path.name for path in written.path.parent.iterdir()] == [written.path.name]


def test_nothing_is_ever_overwritten(cube_of, tmp_path):
    folder = tmp_path / "2023_11_14"
    folder.mkdir()
    (folder / f"{NAME}.nc").write_text("somebody's")
    paths = [save(cube_of(), tmp_path).path for _ in range(2)]
    assert [path.name for path in paths] == [f"{NAME}-1.nc", f"{NAME}-2.nc"]
    assert (folder / f"{NAME}.nc").read_text() == "somebody's"


def test_a_cube_that_is_published_already_is_not_saved_twice(cube_of, tmp_path):
    cube = cube_of()
    first, second = save(cube, tmp_path), save(cube, tmp_path)
    assert first.path == second.path
    assert len(list(first.path.parent.iterdir())) == 1


def test_the_file_says_what_it_is(cube_of, tmp_path):
    cube = cube_of(level=4, wavelengths_nm=np.linspace(400, 700, 7), attributes={"lines_lost": 3, "run_id": "r"})
    with xr.open_dataset(save(cube, tmp_path, durability="rename").path) as file:
        assert file.datacube.attrs["units"] == "uW cm-2 sr-1 nm-1"
        assert file.wavelength.attrs["units"] == "nm"
        assert file.attrs["uuid"] == cube.uuid
        assert file.attrs["lines_lost"] == 3
        assert file.attrs["durability"] == "rename"
        assert file.attrs["complete"] == 1
        assert list(file.attrs)[-1] == "complete"
        assert "time" in file.datacube.coords


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("options", [{}, {"level": 5, "wavelengths_nm": np.linspace(400, 700, 7)}])
@pytest.mark.parametrize("old_style", [True, False])
def test_the_compliance_checker_finds_no_fault(cube_of, tmp_path, old_style, options, compression):
    checker = Path(sys.executable).with_name("compliance-checker")
    if not checker.exists():
        pytest.skip("compliance-checker is not installed beside this Python")
    cube = cube_of(columns={"altitude": np.arange(6.0)}, **options)
    path = save(cube, tmp_path, old_style, compression=compression).path
    command = [str(checker), "--test=cf:1.11", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Errors" not in done.stdout, done.stdout
    assert "All tests passed" in done.stdout, done.stdout + done.stderr


METADATA = {
    "name": "a",
    "path": None,
    "data_model": {"deep": [1, {"er": None}]},
    "coordinates": 5,
    "_FillValue": 1,
    "": "no name",
    "a/b": [1, 2.5],
    "ü\0\n": "ü\0ü",
    "\ud800": "\udc00",
    "long": "x" * 1_000_000,
    "empty": "",
    "texts": ["a", "b"],
    "flag": True,
    "huge": 10**30,
    "uuid": "theirs",
    "complete": 0,
    "title": "my flight",
    "nothing": [],
}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_metadata_of_any_kind_is_kept_and_never_overrides_ours(cube_of, tmp_path):
    cube = cube_of(metadata=METADATA)
    path = save(cube, tmp_path).path
    with open_cube(path) as saved:
        attributes = saved.attributes
    for engine in ("netcdf4", "h5netcdf"):
        with xr.open_dataset(path, engine=engine) as file:
            assert file.attrs["long"] == METADATA["long"]
            assert file.attrs["title"] == "my flight"
    assert attributes["uuid"] == cube.uuid
    assert attributes["metadata_uuid"] == "theirs"
    assert attributes["complete"] == 1
    assert attributes["metadata_complete"] == 0
    assert attributes["metadata_coordinates"] == 5
    assert attributes["path"] == "null"
    assert attributes["data_model"] == '{"deep": [1, {"er": null}]}'
    assert attributes["a_b"].tolist() == [1, 2.5]
    assert attributes["texts"] == '["a", "b"]'
    assert attributes["flag"] == "true"
    assert attributes["empty"] == ""
    assert len(attributes) >= len(METADATA)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_pyfive_reads_metadata_of_any_kind(cube_of, tmp_path):
    pyfive = pytest.importorskip("pyfive", reason=NEEDS_PYFIVE)
    with pyfive.File(str(save(cube_of(metadata=METADATA), tmp_path).path)) as file:
        assert file.attrs["title"] == b"my flight"
        assert len(dict(file.attrs)) >= len(METADATA)


# ---- preparing, pictures, performance ------------------------------------------------------------


@pytest.mark.parametrize("old_style", [True, False])
@pytest.mark.parametrize("prepared_for", [True, False])
def test_what_was_prepared_is_used_or_thrown_away(cube_of, tmp_path, old_style, prepared_for):
    with CubeWriter(6, (5, 7), np.uint16) as writer:
        for n_lines in (6, 4):
            writer.prepare(prepared_for)
            writer.prepare(prepared_for)
            cube = cube_of(n_lines)
            written = writer.write(cube, [tmp_path], old_style=old_style)
            with open_cube(written.path) as saved:
                assert np.array_equal(saved.lines, lines_of(cube))


def test_the_picture_shows_one_pixel_per_line_and_column(cube_of, tmp_path):
    colours = cube_of(9, 30, 40, wavelengths_nm=np.linspace(400, 700, 40))
    assert save(colours, tmp_path).picture.shape == (30, 9, 3)
    assert save(cube_of(9, 30, 40), tmp_path).picture.shape == (30, 9)
    written = save(colours, tmp_path, picture=False)
    assert written.picture is None
    assert written.means is None


@pytest.mark.parametrize(("n_stored", "first"), [(9000, 0), (9001, 5000)])
def test_a_long_cube_is_decimated_the_same_way_wherever_it_begins(cube_of, tmp_path, n_stored, first):
    cube = cube_of(9000, 3, 4, n_stored=n_stored, first=first)
    written = save(cube, tmp_path)
    assert written.picture.shape == (3, 3000)
    assert np.allclose(written.means[:, :, 0], lines_of(cube)[::3].mean(-1), rtol=1e-5)


@pytest.mark.parametrize(("compression", "n_at_once"), each_value_once(COMPRESSIONS, [1, 2, 7, 4096]))
def test_the_picture_has_the_means_of_all_lines_however_many_are_averaged_at_once(
    cube_of, tmp_path, monkeypatch, compression, n_at_once
):
    cube = cube_of(9001, 3, 4, n_stored=9002, first=5001)
    monkeypatch.setattr(saving, "CACHED_BYTES", n_at_once * cube.memory[0].nbytes)
    means = save(cube, tmp_path, compression=compression).means
    assert means.shape == (3001, 3, 1)
    assert np.allclose(means[:, :, 0], lines_of(cube)[::3].mean(-1), rtol=1e-5)


@pytest.mark.parametrize("compression", ["deflate", "zstd"])
def test_encoded_lines_of_the_next_cube_use_the_same_memory(cube_of, tmp_path, compression):
    cubes = [cube_of(40, 300, 400), cube_of(40, 300, 400, shift=3), cube_of(7, 300, 400), cube_of(40, 300, 400)]
    for cube, value in zip(cubes, (0, 1, 77, 3), strict=True):
        cube.memory[: cube.n_lines, ::2] += value
    with CubeWriter(40, (300, 400), np.uint16, SaveOptions(compression=compression)) as writer:
        blocks = []
        for number, cube in enumerate(cubes):
            written = writer.write(cube, [tmp_path], old_style=number != 3)
            assert np.array_equal(read_by_netcdf4(written.path)[0], lines_of(cube))
            assert verify(written.path).ok
            blocks.append({id(block) for block in writer._free})
    assert blocks[0]
    assert all(before <= after and len(after) <= 5 for before, after in pairwise(blocks))


def test_threads_do_not_run_far_ahead_of_the_disk():
    taken: list[int] = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(2) as pool, closing(_map_in_order(pool, str, items(), 2)) as results:
        for number, text in results:
            assert text == str(number)
            assert len(taken) <= number + 5


def test_the_uuid_of_what_is_no_cube_is_none(tmp_path):
    (tmp_path / "text.nc").write_text("no cube")
    assert uuid_of(tmp_path / "text.nc") is None
    assert uuid_of(tmp_path / "missing.nc") is None


def test_a_writer_loads_nothing_that_only_readers_need():
    code = "import sys; from openhsi_shared.files import CubeWriter; print(*sorted(sys.modules))"
    root = Path(__file__).parents[2]
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    ).stdout.split()
    assert not {"xarray", "pandas", "netCDF4", "matplotlib", "pydantic", "scipy", "PIL", "numba"} & set(loaded)


def test_what_completes_a_cube_is_found_while_its_lines_are_written(tmp_path):
    cube, half = make_cube(20, 300, 400), threading.Event()

    def completed(early):
        assert half.wait(60), "the lines wait for it"
        return replace(early, columns={**early.columns, "late": np.arange(20)}, groups=make_groups(20, 300, 400))

    def passed(point):
        if point == "half":
            half.set()

    with CubeWriter(20, (300, 400), np.uint16) as writer:
        path = writer.write(cube, [tmp_path], passed=passed, completed=completed).path
    assert verify(path).problems == ()
    with open_cube(path) as file:
        assert file.column("late").tolist() == list(range(20))
        assert file.groups.keys() == make_groups(20, 300, 400).keys()
