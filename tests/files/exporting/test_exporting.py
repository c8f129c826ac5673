"""Exports are what the programs read that they are for: arrays are compared, not pictures."""

import csv
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared import open_cube
from openhsi_shared.columns import COLUMNS
from openhsi_shared.errors import ArgumentError, ChecksumError, PackageMissing, SaveError
from openhsi_shared.files import CubeWriter
from openhsi_shared.files.exporting import exporting
from openhsi_shared.files.exporting.envi_reading import attributes_of_envi, damaged_lines_of_envi
from openhsi_shared.files.exporting.exporting import export_cube
from openhsi_shared.files.exporting.zarr import attributes_of_zarr, damaged_lines_of_zarr
from tests.support.cubes import make_cube, make_groups
from tests.support.foreign import openhsi_cube, put
from tests.support.job_plans import ALTITUDE
from tests.support.products import each_value_once

DTYPES = [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64]


def saved(folder: Path, n_lines=23, x=37, bands=41, dtype=np.uint16, *, groups=True, old_style=True, **options) -> Path:
    cube = make_cube(
        n_lines,
        x,
        bands,
        dtype,
        **{
            "wavelengths_nm": np.linspace(430, 900, bands),
            "groups": make_groups(n_lines, x, bands) if groups else {},
            "columns": {"altitude": np.arange(float(n_lines))},
            "column_descriptions": (*COLUMNS, ALTITUDE),
            "attributes": {"settings": '{"fwhm_nm": 4.5}', "lines_lost": 3},
            **options,
        },
    )
    folder.mkdir(exist_ok=True)
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype) as writer:
        return writer.write(cube, [folder], old_style=old_style, picture=False).path


def lines_of(path: Path) -> np.ndarray:
    with open_cube(path) as cube:
        return cube.lines[:]


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks, of which the last one is shorter."""
    monkeypatch.setattr(exporting, "BLOCK_BYTES", 40_000)
    monkeypatch.setattr(exporting, "BSQ_BLOCK_BYTES", 40_000)
    monkeypatch.setattr(exporting, "BAND_BLOCK_BYTES", 40_000)


def by_gdal(path: Path) -> np.ndarray:
    """(line, x, band)."""
    rasterio = pytest.importorskip("rasterio")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as image:
            return np.moveaxis(image.read(), 0, -1)


@pytest.mark.parametrize(("interleave", "dtype"), each_value_once(["bip", "bil", "bsq"], DTYPES))
def test_spectral_python_and_gdal_read_the_pixels_of_envi_files(tmp_path, small_blocks, interleave, dtype):
    from spectral.io import envi

    path = saved(tmp_path, dtype=dtype, level=4)
    out = export_cube(path, tmp_path, "envi", interleave=interleave)
    assert out == tmp_path / f"{path.stem}.raw"
    image = envi.open(out.with_suffix(".hdr"))
    expected = lines_of(path)
    np.testing.assert_array_equal(np.asarray(image.open_memmap(interleave="bip")), expected)
    np.testing.assert_array_equal(by_gdal(out), expected)
    assert image.metadata["interleave"] == interleave
    assert image.metadata["wavelength units"] == "Nanometers"
    np.testing.assert_allclose(image.bands.centers, np.linspace(430, 900, 41))
    assert set(image.bands.bandwidths) == {4.5}
    red, green, blue = (image.bands.centers[int(band) - 1] for band in image.metadata["default bands"])
    assert 640 <= red <= 670
    assert 530 <= green <= 590
    assert 450 <= blue <= 510
    assert ("data ignore value" in image.metadata) == (np.dtype(dtype).kind == "f")
    assert damaged_lines_of_envi(out) == []


def test_what_envi_has_no_place_for_is_in_files_beside_it(tmp_path):
    path = saved(tmp_path)
    out = export_cube(path, tmp_path, "envi")
    with (tmp_path / f"{path.stem}_lines.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with open_cube(path) as cube:
        assert [int(row["y"]) for row in rows] == list(range(23))
        times = [np.datetime64(row["time"].removesuffix("Z"), "ns").astype(np.int64) for row in rows]
        assert times == cube.times_ns.tolist()
        assert [int(row["frame_id"]) for row in rows] == cube.frame_ids.tolist()
        assert [float(row["temperature"] or "nan") for row in rows] == pytest.approx(
            cube.temperatures.tolist(), nan_ok=True
        )
        assert [float(row["altitude"]) for row in rows] == list(range(23))
        assert attributes_of_envi(out)["uuid"] == cube.attributes["uuid"]
        assert attributes_of_envi(out)["lines_lost"] == 3
        import xarray as xr

        with xr.open_datatree(tmp_path / f"{path.stem}_groups.nc4", engine="h5netcdf") as tree:
            np.testing.assert_array_equal(tree["imu"]["samples"].values, cube.groups["imu"].variables["samples"].data)


@pytest.mark.parametrize(("n_lines", "dtype"), each_value_once([23, 2, 1], DTYPES))
def test_gdal_reads_every_band_of_bands_first_netcdf_and_no_row_is_mirrored(tmp_path, small_blocks, n_lines, dtype):
    path = saved(tmp_path / "in", n_lines, dtype=dtype)
    out = export_cube(path, tmp_path, "netcdf", bands_first=True)
    np.testing.assert_array_equal(by_gdal(out), lines_of(path))


def test_gdal_reads_nan_of_bands_first_netcdf_as_nan_and_not_as_zero(tmp_path, small_blocks):
    lines = np.random.default_rng(1).normal(0, 9, (5, 4, 12)).astype(np.float32)  # (x, y, wavelength)
    lines[:, 2], lines[3, 1, 7], lines[0, 0, 5] = np.nan, np.nan, np.inf
    (tmp_path / "out").mkdir()
    out = export_cube(put(openhsi_cube(lines), tmp_path / "in.nc"), tmp_path / "out", "netcdf", bands_first=True)
    np.testing.assert_array_equal(by_gdal(out), lines.transpose(1, 0, 2))


def test_a_bands_first_file_is_a_cube_that_xarray_and_this_library_open(tmp_path, small_blocks):
    import xarray as xr

    path = saved(tmp_path / "in")
    out = export_cube(path, tmp_path, "netcdf", bands_first=True)
    expected = lines_of(path)
    with xr.open_dataset(out, engine="netcdf4") as dataset:
        assert dataset["datacube"].dims == ("wavelength", "y", "x")
        np.testing.assert_array_equal(dataset["datacube"].transpose("y", "x", "wavelength").values, expected)
        np.testing.assert_array_equal(dataset["altitude"].values, np.arange(23))
    with open_cube(out) as cube, open_cube(path) as source:
        np.testing.assert_array_equal(cube.lines[3:9], expected[3:9])
        np.testing.assert_array_equal(cube.times_ns, source.times_ns)
        np.testing.assert_allclose(cube.wavelengths_nm, source.wavelengths_nm)
        assert cube.attributes["uuid"] == source.attributes["uuid"]
    with xr.open_datatree(tmp_path / f"{path.stem}_groups.nc4", engine="netcdf4") as tree, open_cube(path) as source:
        assert set(tree.children) == set(source.groups)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no name contains them")
@pytest.mark.parametrize("name", ['it\'s "1".nc', os.fsdecode(b"\xff.nc")])
def test_what_a_name_contains_is_not_seen_by_gdal(tmp_path, name):
    path = saved(tmp_path / "in", 3, 4, 5, groups=False)
    source = path.rename(path.with_name(name))
    made = export_cube(source, tmp_path, "netcdf", bands_first=True)
    np.testing.assert_array_equal(by_gdal(made.rename(tmp_path / "plain.nc")), lines_of(source))


def test_no_folder_for_temporary_files_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    path = saved(tmp_path / "in", 3, 4, 5, groups=False)
    made = export_cube(path, tmp_path, "netcdf", bands_first=True)
    np.testing.assert_array_equal(by_gdal(made), lines_of(path))


def test_bands_of_more_than_a_chunk_are_in_several(tmp_path, monkeypatch, small_blocks):
    monkeypatch.setattr("openhsi_shared.files.exporting.bands_first.CHUNK_BYTES", 400)
    path = saved(tmp_path / "in")
    out = export_cube(path, tmp_path, "netcdf", bands_first=True)
    np.testing.assert_array_equal(by_gdal(out), lines_of(path))
    np.testing.assert_array_equal(lines_of(out), lines_of(path))


def test_without_rasterio_a_bands_first_file_is_read_by_hdf5(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    path = saved(tmp_path / "in")
    out = export_cube(path, tmp_path, "netcdf", bands_first=True)
    np.testing.assert_array_equal(lines_of(out), lines_of(path))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_xarray_reads_the_pixels_and_all_else_of_zarr(tmp_path, small_blocks, dtype):
    import xarray as xr

    path = saved(tmp_path, dtype=dtype)
    out = export_cube(path, tmp_path, "zarr")
    with open_cube(path) as source, xr.open_datatree(out, engine="zarr", chunks=None) as tree:
        np.testing.assert_array_equal(tree["datacube"].values, source.lines[:])
        assert tree["datacube"].dims == ("y", "x", "wavelength")
        np.testing.assert_array_equal(tree["time"].values.astype("M8[ns]").astype(np.int64), source.times_ns)
        np.testing.assert_array_equal(tree["temperature"].values, source.temperatures)
        assert tree["altitude"].attrs["units"] == "m"
        imu = source.groups["imu"].variables
        np.testing.assert_array_equal(tree["imu"]["samples"].values, imu["samples"].data)
        assert tree["marks"]["text"].values.tolist() == source.groups["marks"].variables["text"].data.tolist()
        assert attributes_of_zarr(out)["uuid"] == source.attributes["uuid"]
    assert damaged_lines_of_zarr(out) == []


def test_damaged_pixels_of_results_are_found(tmp_path):
    path = saved(tmp_path)
    raw = export_cube(path, tmp_path, "envi")
    data = bytearray(raw.read_bytes())
    data[37 * 41 * 2 * 5 + 9] ^= 1
    raw.write_bytes(data)
    assert damaged_lines_of_envi(raw) == [5]
    zarr = export_cube(path, tmp_path, "zarr")
    chunk = max(zarr.glob("datacube/*"), key=lambda file: file.stat().st_size)
    data = bytearray(chunk.read_bytes())
    data[37 * 41 * 2 * 7 + 3] ^= 1
    chunk.write_bytes(data)
    assert damaged_lines_of_zarr(zarr) == [7]


FORMATS = [
    {"to": "envi", "interleave": "bsq"},
    {"to": "netcdf", "bands_first": True},
    {"to": "zarr"},
]


@pytest.mark.parametrize("options", FORMATS)
def test_cubes_of_openhsi_and_with_bands_first_in_the_file_are_exported(tmp_path, small_blocks, options):
    for number, path in enumerate(
        [put(openhsi_cube(), tmp_path / "theirs.nc"), saved(tmp_path / "in", old_style=False, groups=False)]
    ):
        out = tmp_path / f"out{number}"
        out.mkdir()
        exported = export_cube(path, out, **options)
        expected = lines_of(path)
        if options["to"] == "zarr":
            import zarr

            found = zarr.open_group(str(exported), mode="r")["datacube"][:]
        else:
            found = by_gdal(exported)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("options", FORMATS)
def test_a_damaged_line_fails_the_export_and_nothing_is_left(tmp_path, options):
    path = saved(tmp_path / "in", groups=False)
    with open_cube(path) as cube:
        offset = cube.raw_lines._chunks[11].offset
    data = bytearray(path.read_bytes())
    data[offset + 5] ^= 1
    path.write_bytes(data)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ChecksumError, match="line 11 is damaged"):
        export_cube(path, out, **options)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("options", FORMATS)
def test_nothing_is_overwritten_whenever_it_comes_into_existence(tmp_path, options):
    path = saved(tmp_path / "in", groups=False)
    out = tmp_path / "out"
    out.mkdir()
    target = exporting.exported_path(path, out, options["to"])
    target.write_text("mine")
    with pytest.raises(SaveError, match="exist"):
        export_cube(path, out, **options)
    target.unlink()
    n_done = []

    def appears(n_lines: int) -> None:
        if not n_done:
            target.write_text("mine")
        n_done.append(n_lines)

    with pytest.raises(SaveError, match=r"exists?"):
        export_cube(path, out, **options, progress=appears)
    assert sum(n_done) == 23
    assert target.read_text() == "mine"
    assert list(out.iterdir()) == [target]


def test_a_header_that_exists_is_not_overwritten_and_no_pixels_are_left_without_one(tmp_path):
    path = saved(tmp_path / "in", groups=False)
    header = tmp_path / f"{path.stem}.hdr"

    def appears(n_lines: int) -> None:
        header.write_text("mine")

    with pytest.raises(SaveError):
        export_cube(path, tmp_path, "envi", progress=appears)
    assert header.read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([header.name, "in"])


@pytest.mark.parametrize("options", FORMATS)
def test_what_the_program_reads_otherwise_is_not_published(tmp_path, monkeypatch, options):
    """A writer that puts a line to the place of another one."""
    path = saved(tmp_path / "in", groups=False)
    out = tmp_path / "out"
    out.mkdir()
    from openhsi_shared.files.exporting import bands_first, envi, zarr

    monkeypatch.setattr(envi, "by_band", lambda lines, to: to.__setitem__(slice(None), lines[::-1].transpose(2, 0, 1)))
    monkeypatch.setattr(bands_first, "by_band", envi.by_band)
    put = zarr.ZarrChunks.put
    monkeypatch.setattr(zarr.ZarrChunks, "put", lambda self, first, lines: put(self, first, lines[::-1]))
    with pytest.raises(SaveError, match="does not read line 0 as it was written"):
        export_cube(path, out, **options)
    assert list(out.iterdir()) == []


def test_gdal_mirrors_a_bands_first_file_without_its_grid_mapping_so_that_the_export_refuses_it(tmp_path, monkeypatch):
    pytest.importorskip("rasterio")
    monkeypatch.setattr("openhsi_shared.files.exporting.bands_first.CRS", {"long_name": "none"})
    with pytest.raises(SaveError, match="GDAL does not read line 0"):
        export_cube(saved(tmp_path / "in", groups=False), tmp_path, "netcdf", bands_first=True)


def test_bad_arguments_are_named(tmp_path):
    path = saved(tmp_path / "in", 3, dtype=np.int8, groups=False)
    with pytest.raises(ArgumentError, match="'geotiff' is no format"):
        export_cube(path, tmp_path, "geotiff")
    for to, bands_first in (("netcdf", False), ("envi", True)):
        with pytest.raises(ArgumentError, match=f"to='{to}' with bands_first={bands_first}"):
            export_cube(path, tmp_path, to, bands_first=bands_first)
    with pytest.raises(ArgumentError, match="interleave='bit' is unknown"):
        export_cube(path, tmp_path, "envi", interleave="bit")
    with pytest.raises(ArgumentError, match="path must be the path of a file or directory, got 3"):
        export_cube(3, tmp_path, "envi")
    with pytest.raises(ArgumentError, match="directory must be the path of a folder, got None"):
        export_cube(path, None, "envi")
    with pytest.raises(SaveError, match="is no folder: make it before"):
        export_cube(path, tmp_path / "nowhere", "envi")
    with pytest.raises(ArgumentError, match="ENVI has no type for int8"):
        export_cube(path, tmp_path, "envi")
    np.testing.assert_array_equal(by_gdal(export_cube(path, tmp_path, "netcdf", bands_first=True)), lines_of(path))


@pytest.mark.parametrize(("to", "package", "extra"), [("envi", "spectral.io.envi", "envi"), ("zarr", "zarr", "zarr")])
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, to, package, extra):
    path = saved(tmp_path / "in", groups=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PackageMissing, match=rf"openhsi_shared\[{extra}\]"):
        export_cube(path, tmp_path, to)
    assert [file.name for file in tmp_path.iterdir()] == ["in"]
