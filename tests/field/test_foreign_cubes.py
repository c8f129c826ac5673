"""Cubes that others packed, masked, cropped, joined, or labelled in their own way."""

import netCDF4
import numpy as np
import pytest
import xarray as xr

from openhsi_shared import ProcessDatacube, ProcessRawDatacube, SharedReplayCamera, open_cube
from openhsi_shared.cli.info import info
from openhsi_shared.errors import ArgumentError, FileError, LevelError
from openhsi_shared.files.preview import read_picture
from openhsi_shared.viewer.cube_viewer import cube_viewer
from tests.support.foreign import BANDS, BEGIN, STEP, openhsi_cube, put, scene, times_of
from tests.support.products import some

# ---- packed and masked ----

HOLE = (slice(0, 2), 3)
REFLECTANCE = (scene(12, np.float32) / 2000).clip(0, 1).astype(np.float32)
WITH_HOLE = REFLECTANCE.copy()
WITH_HOLE[HOLE] = np.nan
INT16 = {"dtype": "int16", "scale_factor": 1e-4, "_FillValue": -32768}

PACKED = {  # kind: (datacube, encoding); after reports of users whose reflectance was 520 instead of 0.052
    "int16 to save space": (WITH_HOLE, INT16),
    "with an offset": (REFLECTANCE, {"dtype": "int16", "scale_factor": 1e-4, "add_offset": 0.5, "_FillValue": -1}),
    "float32 scale": (REFLECTANCE, {"dtype": "uint8", "scale_factor": np.float32(0.004), "_FillValue": 255}),
    "only a scale": (REFLECTANCE, {"dtype": "int32", "scale_factor": 1e-6, "missing_value": -1}),
    "-9999 for no data": (WITH_HOLE, {"_FillValue": np.float32(-9999)}),
    "missing_value": (WITH_HOLE, {"missing_value": np.float32(-9999), "_FillValue": np.float32(-9999)}),
    "unsigned in signed": (scene(12, np.float32), {"dtype": "int16", "_Unsigned": "true", "_FillValue": -1}),
    "counts without a number": (scene(12, np.float32), {"dtype": "uint16", "_FillValue": 50}),
}


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf"])
@pytest.mark.parametrize("kind", PACKED)
def test_packed_lines_are_the_numbers_that_xarray_reads(tmp_path, kind, engine):
    data, encoding = PACKED[kind]
    path = put(openhsi_cube(data), tmp_path / "packed.nc", encoding={"datacube": encoding}, engine=engine)
    with xr.open_dataset(path, mask_and_scale=False) as raw:
        stored = raw.datacube.transpose("y", "x", "wavelength").values
    with xr.open_dataset(path) as theirs, open_cube(path) as cube:
        expected = theirs.datacube.transpose("y", "x", "wavelength").values
        assert cube.lines.dtype == expected.dtype
        assert np.array_equal(cube.lines, expected, equal_nan=True)
        assert np.array_equal(cube.lines[3:9:2, 1, [2, 4]], expected[3:9:2, 1][:, [2, 4]], equal_nan=True)
        assert np.array_equal(cube.dataset.datacube.values, theirs.datacube.values, equal_nan=True)
        assert np.array_equal(cube.raw_lines, stored, equal_nan=True)
        assert cube_viewer(cube).sample.values.dtype.kind == "f"


def test_packed_lines_are_replayed_and_processed_as_numbers(tmp_path):
    path = put(openhsi_cube(WITH_HOLE), tmp_path / "packed.nc", encoding={"datacube": INT16})
    with xr.open_dataset(path) as theirs:
        expected = theirs.datacube.transpose("y", "x", "wavelength").values
    with SharedReplayCamera(path=path, rate=None, n_lines=12) as camera:
        camera.collect()
        with open_cube(camera.save(tmp_path).result().path) as replayed:
            assert np.array_equal(replayed.lines, expected, equal_nan=True)
    with ProcessDatacube(path) as process:
        process.collect()
        made = process.save(tmp_path / "made").result().path
    with open_cube(made) as cube:
        assert np.array_equal(cube.lines, expected, equal_nan=True)
        assert cube.times_ns.tolist() == times_of(12).astype(int).tolist()
    with pytest.raises(LevelError, match="float"):
        ProcessRawDatacube(path)


def test_a_picture_of_a_masked_cube_does_not_show_what_is_missing_as_dark(tmp_path):
    data = np.where(np.isnan(WITH_HOLE), -9999, WITH_HOLE)
    plain, masked = openhsi_cube(WITH_HOLE), openhsi_cube(data)
    masked.datacube.attrs["missing_value"] = np.float32(-9999)
    pictures = [read_picture(put(cube, tmp_path / f"{n}.nc")).image for n, cube in enumerate((plain, masked))]
    assert np.array_equal(*pictures)


@pytest.mark.parametrize(
    "limits",
    [{"valid_range": np.array([100, 900], np.uint16)}, {"valid_min": np.uint16(100), "valid_max": np.uint16(900)}],
)
def test_pixels_outside_of_the_valid_range_are_missing(tmp_path, limits):
    cube = openhsi_cube()
    cube.datacube.attrs |= limits
    path = put(cube, tmp_path / "cube.nc")
    expected = scene(12).transpose(1, 0, 2).astype(np.float32)
    expected[(expected < 100) | (expected > 900)] = np.nan
    with open_cube(path) as opened:
        assert np.array_equal(opened.lines, expected, equal_nan=True)
        assert np.array_equal(opened.dataset.datacube.transpose("y", "x", "wavelength"), expected, equal_nan=True)


def test_a_valid_range_of_a_packed_cube_may_be_that_of_its_numbers(tmp_path):
    cube = openhsi_cube(REFLECTANCE)
    cube.datacube.attrs["valid_range"] = np.array([0.1, 0.5])
    path = put(cube, tmp_path / "cube.nc", encoding={"datacube": INT16})
    with open_cube(path) as opened:
        lines = np.asarray(opened.lines)
        assert np.isnan(lines).any()
        assert np.nanmin(lines) >= 0.1
        assert np.nanmax(lines) <= 0.5


@pytest.mark.parametrize(
    "limits", [{}, {"valid_range": np.array([0, 65535], np.uint16)}, {"missing_value": "none"}, {"units": "1"}]
)
def test_counts_without_packing_stay_whole_numbers(tmp_path, limits):
    cube = openhsi_cube()
    cube.datacube.attrs |= limits
    with open_cube(put(cube, tmp_path / "cube.nc")) as opened:
        assert opened.lines.dtype == np.uint16
        assert opened.lines is opened.raw_lines


@pytest.mark.parametrize("attribute", ["scale_factor", "add_offset", "valid_range"])
@pytest.mark.parametrize("value", ["a text", [1.0, 2.0, 3.0]])
def test_packing_that_is_no_number_is_refused_by_name(tmp_path, attribute, value):
    path = put(openhsi_cube(), tmp_path / "cube.nc")
    with netCDF4.Dataset(path, "a") as file:
        file["datacube"].setncattr(attribute, value)
    with pytest.raises(FileError, match=attribute):
        open_cube(path)


def test_packed_columns_are_decoded(tmp_path):
    cube = openhsi_cube()
    cube["lat"] = ("y", np.linspace(-17, -16, 12))
    how = {"dtype": "int32", "scale_factor": 1e-6, "_FillValue": -1}
    path = put(
        cube, tmp_path / "cube.nc", encoding={"lat": how, "temperature": how, "wavelength": how | {"scale_factor": 0.1}}
    )
    with open_cube(path) as opened:
        assert np.allclose(opened.temperatures, np.linspace(20, 30, 12), atol=1e-5)
        assert np.allclose(opened.wavelengths_nm, np.linspace(400, 1000, BANDS))
    with ProcessRawDatacube(path) as process:
        process.collect()
        made = process.save(tmp_path / "made").result().path
    with open_cube(made) as opened:
        assert np.allclose(opened.column("lat"), np.linspace(-17, -16, 12))


# ---- axes that do not follow the lines ----

EDITS = {  # a report each: lines had the times of other lines after work with xarray
    "cropped": lambda cube: cube.isel(y=slice(3, 9)),
    "cropped, with as many times": lambda cube: cube.isel(y=slice(3, 9), time=slice(0, 6)),
    "thinned": lambda cube: cube.isel(y=slice(None, None, 2)),
    "turned round": lambda cube: cube.isel(y=slice(None, None, -1)),
    "sorted": lambda cube: cube.isel(y=[3, 1, 2, 0, *range(4, 12)]),
    "times cropped": lambda cube: cube.isel(time=slice(0, 6)),
    "times turned round": lambda cube: cube.isel(time=slice(None, None, -1)),
    "without numbers of lines": lambda cube: cube.isel(y=slice(None, None, -1)).drop_vars("y"),
    "joined twice": lambda cube: xr.concat([cube, cube], dim="y", data_vars="minimal"),
    "one time": lambda cube: cube.isel(time=0),
}


@pytest.mark.parametrize("edit", EDITS)
def test_times_that_do_not_follow_the_lines_are_unknown(tmp_path, edit, caplog):
    path = put(EDITS[edit](openhsi_cube()), tmp_path / "edited.nc")
    with open_cube(path) as cube:
        lines = np.asarray(cube.lines)
        assert cube.times_ns is None
        assert cube.times_are_uncertain
    assert len([record for record in caplog.records if "time of the lines is unknown" in record.message]) == 1
    with pytest.raises(ArgumentError, match="times="):
        ProcessRawDatacube(path)
    with pytest.raises(ArgumentError, match=f"one for each of the {len(lines)} lines"):
        ProcessRawDatacube(path, times=np.arange(len(lines) - 1))


@pytest.mark.parametrize("edit", some("turned round", "joined twice", all_of=EDITS))
def test_lines_whose_times_are_unknown_are_processed_with_given_ones(tmp_path, edit):
    path = put(EDITS[edit](openhsi_cube()), tmp_path / "edited.nc")
    with open_cube(path) as cube:
        lines = np.asarray(cube.lines)
    given = BEGIN + 5 * np.arange(len(lines)) * STEP
    with ProcessRawDatacube(path, times=given) as process:
        process.collect()
        made = process.save(tmp_path / "made").result().path
    with open_cube(made) as cube:
        assert np.array_equal(cube.lines, lines)
        assert cube.times_ns.tolist() == given.astype(int).tolist()


@pytest.mark.parametrize("edit", ["cropped", "thinned", "turned round", "joined twice"])
def test_columns_on_the_axis_of_the_lines_follow_them(tmp_path, edit):
    cube = openhsi_cube()
    columns = {"time": ("y", cube.time.values), "temperature": ("y", cube.temperature.values)}
    cube = cube.drop_vars(list(columns)).assign_coords(columns).assign_coords(frame_id=("y", np.arange(12) + 40))
    edited = EDITS[edit](cube)
    with open_cube(put(edited, tmp_path / "edited.nc")) as opened:
        assert opened.times_ns.tolist() == edited.time.values.astype(int).tolist()
        assert opened.temperatures.tolist() == edited.temperature.values.tolist()
        assert opened.frame_ids.tolist() == edited.frame_id.values.tolist()


def test_ids_and_temperatures_that_do_not_follow_the_lines_are_unknown(tmp_path):
    cube = openhsi_cube().assign(frame_id=("fid", np.arange(5))).isel(temperature=slice(0, 6))
    with open_cube(put(cube, tmp_path / "cube.nc")) as opened:
        assert opened.frame_ids is None
        assert opened.temperatures is None
        assert opened.times_ns is not None


# ---- no time, or a time that is none ----


def processed(path, folder, **options):
    with ProcessRawDatacube(path, **options) as process:
        process.collect()
        return process.save(folder).result().path


TIMELESS = {
    "no time": lambda cube: cube.drop_vars("time"),
    "y is time": lambda cube: cube.drop_vars("time").assign_coords(y=times_of(12)),
    "NaT": lambda cube: cube.assign_coords(time=np.full(12, np.datetime64("NaT", "ns"))),
    "zeros": lambda cube: cube.assign_coords(time=np.zeros(12, "datetime64[ns]")),
    "by request": lambda cube: cube,
}


@pytest.mark.parametrize("change", [name for name in TIMELESS if name != "by request"])
def test_a_time_that_is_none_is_unknown(tmp_path, change):
    with open_cube(put(TIMELESS[change](openhsi_cube()), tmp_path / "no_time.nc")) as cube:
        times = cube.times_ns
    assert times is None or np.isnat(times.astype("datetime64[ns]")).all()


@pytest.mark.parametrize("change", some("NaT", "by request", all_of=TIMELESS))
def test_an_unknown_time_stays_unknown(tmp_path, change):
    options = {"times": "unknown"} if change == "by request" else {}
    path = processed(put(TIMELESS[change](openhsi_cube()), tmp_path / "no_time.nc"), tmp_path / "made", **options)
    assert path == tmp_path / "made" / "unknown_date" / "unknown_time.nc"
    with open_cube(path) as cube, xr.open_dataset(path) as theirs:
        assert np.array_equal(cube.lines, scene(12).transpose(1, 0, 2))
        assert cube.times_ns is None
        assert np.isnat(theirs.time.values).all()
        assert theirs.time.encoding["_FillValue"] == np.iinfo(np.int64).min  # for readers that do not know NaT
        assert not [name for name in cube.attributes if name.startswith("time_coverage")]
    assert processed(path, tmp_path / "again").name == "unknown_time.nc"


def test_a_time_that_is_missing_does_not_become_that_of_another_line(tmp_path):
    times = times_of(12)
    times[[0, 7]] = np.datetime64("NaT")
    path = put(openhsi_cube().assign_coords(time=times), tmp_path / "nat.nc")
    made = processed(path, tmp_path / "made")
    for cube in (path, made):
        with open_cube(cube) as opened, xr.open_dataset(cube) as theirs:
            assert np.array_equal(opened.times_ns.astype("datetime64[ns]"), times, equal_nan=True)
            assert np.array_equal(theirs.time.values, times, equal_nan=True)
    assert made.name.startswith("2024_05_01-02_03_04_133456")
    with SharedReplayCamera(path=path, n_lines=12) as camera:
        camera.collect()
        assert camera.n_collected == 12


def test_lines_that_openhsi_never_filled_are_left_out(tmp_path, caplog):
    data, times = scene(12), times_of(12)
    data[:, 8:] = 0
    data[:, 2] = 0  # a dark line of a real time stays
    times[8:] = np.arange(8, 12).astype("datetime64[ns]")
    path = put(openhsi_cube(data).assign_coords(time=times), tmp_path / "half.nc")
    with open_cube(path) as cube:
        assert np.array_equal(cube.lines, data[:, :8].transpose(1, 0, 2))
        assert np.array_equal(cube.dataset.datacube, data[:, :8])
        assert np.array_equal(cube.dataset.time, times[:8])
        assert len(cube.times_ns) == len(cube.temperatures) == len(cube.dataset.temperature) == 8
    assert "4 of 12 lines are left out" in caplog.text
    with open_cube(processed(path, tmp_path / "made")) as cube:
        assert np.array_equal(cube.lines, data[:, :8].transpose(1, 0, 2))
        assert cube.attributes["time_coverage_start"].startswith("2024")


@pytest.mark.parametrize("begin", ["1969-12-31T23:59:59.95", "1970-01-01T00:00:05", "1931-05-01"])
def test_times_before_and_in_1970_that_are_real_stay(tmp_path, begin):
    times = np.datetime64(begin, "ns") + np.arange(12) * STEP
    path = put(openhsi_cube().assign_coords(time=times), tmp_path / "old.nc")
    made = processed(path, tmp_path / "made")
    assert made.name.startswith(begin[:4])
    with open_cube(made) as cube:
        assert np.array_equal(cube.times_ns.astype("datetime64[ns]"), times)


# ---- labels that are odd ----


def seconds(units, **labels):
    return lambda cube: cube.assign_coords(time=("time", np.arange(12) * 0.01, {"units": units, **labels}))


LOCAL = "2024-05-01T02:03:04"
LABELS = {  # kind: (change of the cube, its first time in UTC)
    "local time": (seconds("seconds since 2024-05-01 12:03:04 +10:00"), LOCAL),
    "west": (seconds("seconds since 2024-04-30T20:33:04-0530"), LOCAL),
    "short numbers": (seconds("s since 2024-5-1 2:3:4"), LOCAL),
    "no units": (lambda cube: cube.assign_coords(time=1714528984.123 + np.arange(12) * 0.01), None),
    "units of another thing": (seconds("metres"), None),
    "a calendar without leap days": (seconds("days since 2024-01-01", calendar="noleap"), None),
    "one time": (lambda cube: cube.isel(time=0), None),
    "texts as times": (lambda cube: cube.assign_coords(time=[str(time) for time in times_of(12)]), None),
    "texts as temperatures": (lambda cube: cube.assign_coords(temperature=[f"{n} C" for n in range(12)]), str(BEGIN)),
    "y is time": (lambda cube: cube.drop_vars("time").assign_coords(y=times_of(12)), None),
    "year 1": (seconds("days since 0001-01-01"), None),
    "floats of 32 bit": (
        lambda cube: cube.assign_coords(
            time=("time", np.arange(12, dtype=np.float32), {"units": "s since 2024-05-01"})
        ),
        "2024-05-01",
    ),
}


@pytest.mark.parametrize("label", LABELS)
def test_odd_labels_stop_only_what_needs_them(tmp_path, label, capsys):
    change, begin = LABELS[label]
    path = put(change(openhsi_cube()), tmp_path / "odd.nc")
    with open_cube(path) as cube:
        assert np.array_equal(cube.lines, scene(12).transpose(1, 0, 2))
        assert np.array_equal(cube.dataset.datacube, scene(12))
        assert (cube.times_ns is None) == (begin is None)
        assert begin is None or np.datetime64(int(cube.times_ns[0]), "ns") == np.datetime64(begin, "ns")
        assert "damaged" not in cube._repr_html_()
    assert read_picture(path).n_lines == 12
    with pytest.raises(SystemExit) as ended:
        info([str(path)])
    assert ended.value.code == 0


@pytest.mark.parametrize("label", some("local time", "one time", "texts as temperatures", all_of=LABELS))
def test_cubes_with_odd_labels_are_replayed(tmp_path, label):
    path = put(LABELS[label][0](openhsi_cube()), tmp_path / "odd.nc")
    with SharedReplayCamera(path=path, rate=None, n_lines=12) as camera:
        camera.collect()
        assert camera.n_collected == 12


@pytest.mark.parametrize("longer", ["y", "x", "wavelength"])
def test_a_cube_that_is_shorter_than_an_axis_is_refused(tmp_path, longer):
    """A logger appended times to an unlimited axis, and the lines were not written: xarray shows made-up pixels."""
    sizes = {"x": 4, "y": 5, "wavelength": 6}
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        for name, size in sizes.items():
            file.createDimension(name, None if name == longer else size)
        file.createVariable("datacube", "u2", tuple(sizes))[:] = np.ones(tuple(sizes.values()), "u2")
        file.createVariable("along", "f8", (longer,))[:] = np.arange(sizes[longer] + 3)
    with pytest.raises(FileError, match=f"datacube has {sizes[longer]} of {sizes[longer] + 3} along {longer}"):
        open_cube(tmp_path / "a.nc")


@pytest.mark.parametrize("axis", ["y", "x", "wavelength"])
def test_a_cube_without_lines_pixels_or_bands_is_described_and_otherwise_refused(tmp_path, axis, capsys):
    path = put(openhsi_cube().isel({axis: slice(0)}), tmp_path / "empty.nc")
    with open_cube(path) as cube:
        assert "0 " in cube._repr_html_()
        with pytest.raises(FileError, match="is empty: its shape is"):
            cube.show()
    info.main([str(path)], standalone_mode=False)
    assert "no pixels" in capsys.readouterr().out
    for use in (read_picture, ProcessRawDatacube, ProcessDatacube, cube_viewer, _replay):
        with pytest.raises(FileError, match="is empty: its shape is"):
            use(path)


def _replay(path):
    SharedReplayCamera(n_lines=1, path=path).start_cam()
