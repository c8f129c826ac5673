"""Saved cubes are processed again: the same values as from the camera, with the recorded times."""

import json
import shutil
from itertools import product
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from openhsi_shared import ProcessDatacube, ProcessRawDatacube, SharedDataCube, SharedSimulatedCamera, open_cube, verify
from openhsi_shared.calibration import write_calibration
from openhsi_shared.errors import ArgumentError, FileError, LevelError, SourceEnded, UnknownKeyword
from tests.support.flow import COUNTING, cubes_in
from tests.support.level_oracle import FWHM_NM, ROWS, SHAPE, Formulas, line_of, make_calibration, make_frame, make_plan
from tests.support.products import some

N_LINES = 5
KEPT = ("time", "temperature", "frame_id", "camera_time_ns")


@pytest.fixture
def cal_path(tmp_path):
    return write_calibration(make_calibration(), tmp_path / "calibration.nc")


@pytest.fixture
def keywords(cal_path):
    return {
        "n_lines": N_LINES,
        "cal_path": cal_path,
        "resolution": SHAPE,
        "row_slice": (ROWS.start, ROWS.stop),
        "fwhm_nm": FWHM_NM,
        "exposure_ms": 10,
    }


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    """Cubes of five frames by what `saved` was called with."""
    return tmp_path_factory.mktemp("saved"), {}


@pytest.fixture
def saved(keywords, tmp_path, cubes):
    """Return a copy of the file of five frames that were saved at a level, with metadata of the user's."""
    folder, made = cubes

    def save(level=-1, old_style=True):
        key = level, old_style
        if key not in made:
            (tmp_path / "meta.json").write_text(json.dumps({"pilot": "Ada", "site": "Rocky Beach"}))
            with SharedDataCube(processing_lvl=level, **keywords) as cube:
                for seed in range(N_LINES):
                    cube.put(make_frame(seed=seed))
                where = folder / f"{level}{old_style}"
                made[key] = cube.save(where, tmp_path / "meta.json", savefig=False, old_style=old_style).result().path
        (tmp_path / f"level{level}").mkdir()
        return Path(shutil.copy(made[key], tmp_path / f"level{level}"))

    return save


def _columns(path):
    with open_cube(path) as cube:
        return {name: cube.column(name).tolist() for name in KEPT if name in cube.dataset}


LEVELS = (-1, 0, 1, 2, 3, 4, 5, 6, 7, 8)
IN_EVERY_RUN = ((-1, True), (0, True), (2, False), (4, True), (4, False), (7, True))
"""Frames, bands, radiance, both orders of axes; `tests/levels` has the formulas of all levels."""


@pytest.mark.parametrize(("level", "old_style"), some(*IN_EVERY_RUN, all_of=product(LEVELS, (True, False))))
def test_a_raw_cube_becomes_what_the_camera_would_have_made(saved, cal_path, tmp_path, level, old_style):
    path = saved(old_style=old_style)
    with ProcessRawDatacube(path, level, cal_path=cal_path) as cube:
        assert cube.n_lines == N_LINES
        cube.collect()
        assert cube.timestamps.data.astype("datetime64[ns]").tolist() == _columns(path)["time"]
        result = cube.save(tmp_path / "out").result()
    assert verify(result.path).ok
    with open_cube(result.path) as made, open_cube(path) as source:
        for y in range(N_LINES):
            expected = make_frame(seed=y) if level == -1 else Formulas().level(level, make_frame(seed=y))
            np.testing.assert_allclose(made.lines[y], expected, rtol=2e-6, atol=2e-6 * abs(expected).max())
        assert made.level == level
        np.testing.assert_array_equal(made.times_ns, source.times_ns)
        np.testing.assert_array_equal(made.frame_ids, source.frame_ids)
        np.testing.assert_array_equal(made.temperatures, source.temperatures)
        if level > 1:
            np.testing.assert_allclose(made.wavelengths_nm, make_plan(level).wavelengths_nm)
        after, before = made.attributes, source.attributes
        assert (after["pilot"], after["site"]) == ("Ada", "Rocky Beach")
        assert (
            after["source_file"],
            after["source_uuid"],
            after["source_level"],
        ) == (path.name, before["uuid"], -1)
        assert after["uuid"] != before["uuid"]
        assert not [name for name in after if name.startswith("metadata_")]
        assert after["exposure_ms"] == 10
    assert result.path.name == path.name  # the name is the time of the first line
    assert result.preview_path.exists()


def test_compat_gives_openhsis_numbers(saved, cal_path, tmp_path):
    with ProcessRawDatacube(saved(), 7, cal_path=cal_path, compat="openhsi") as cube:
        cube.collect()
        path = cube.save(tmp_path / "out").result().path
    with open_cube(path) as made:
        expected = Formulas(buffer=np.uint16).level(7, make_frame(seed=2)).astype(np.float32)
        np.testing.assert_array_equal(made.lines[2], expected)


def test_ids_gaps_and_temperatures_of_a_recording_are_kept(tmp_path):
    with SharedSimulatedCamera(**COUNTING, n_lines=12, rate=2000, queue=2) as cam:
        cam.start_cam()
        cam.collect()
        while cam.status().lines_lost == 0:  # the queue overflows while this loop waits
            cam.save(tmp_path / "in").join()
            cam.collect()
        cam.save(tmp_path / "in")
    path = max((tmp_path / "in").rglob("*.nc"))
    with ProcessRawDatacube(path, -1) as cube:
        cube.collect()
        made = cube.save(tmp_path / "out").result().path
    assert _columns(made) == _columns(path)
    assert cubes_in(tmp_path / "out")[0].numbers == cubes_in(path.parent)[-1].numbers
    with open_cube(made) as new, open_cube(path) as old:
        assert new.attributes["source_lines_lost"] == old.attributes["lines_lost"]
        assert new.attributes["lines_lost_within"] == old.attributes["lines_lost_within"]


def test_frames_can_be_looked_at_one_by_one(saved):
    with ProcessRawDatacube(saved()) as cube:
        for seed in range(N_LINES):
            np.testing.assert_array_equal(cube.get_img(), make_frame(seed=seed))
        with pytest.raises(SourceEnded, match="all lines of"):
            cube.get_img()
        cube.reinitialise()
        np.testing.assert_array_equal(cube.get_img(), make_frame(seed=0))


def test_another_level_begins_with_the_first_line_again(saved, cal_path, tmp_path):
    with ProcessRawDatacube(saved(), 0, cal_path=cal_path) as cube:
        for level in (0, 4, 6):
            cube.set_processing_lvl(level)
            cube.collect()
            path = cube.save(tmp_path / f"out{level}").result().path
            with open_cube(path) as made:
                assert (made.level, len(made.lines)) == (level, N_LINES)


UNITS = dict.fromkeys((4, 5, 7), "uW/cm^2/sr/nm") | dict.fromkeys((6, 8), "percentage reflectance")


def _of_openhsi(path, old_style=True, times_ns=range(N_LINES), level=-1, with_temperature=True):
    """A cube as openhsi 0.4 writes it: its level is not stored, only the units."""
    frames = np.stack([make_frame(seed=seed) for seed in range(N_LINES)])
    if level >= 0:
        plan = make_plan(level)
        frames = np.stack([line_of(plan, frame) for frame in frames])
    shape = frames.shape[1:]
    dims = ("x", "y", "wavelength") if old_style else ("wavelength", "x", "y")
    lines = frames.transpose(1, 0, 2) if old_style else frames.transpose(2, 1, 0)
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("x", shape[0]), ("y", N_LINES), ("wavelength", shape[1])):
            file.createDimension(name, size)
            is_band = name == "wavelength" and level > 1
            file.createVariable(name, "f8", (name,))[:] = plan.wavelengths_nm if is_band else np.arange(size)
        file["wavelength"].units = "nanometers"
        datacube = file.createVariable("datacube", lines.dtype, dims)
        datacube[:] = lines
        datacube.units = UNITS.get(level, "digital number")
        time = file.createVariable("time", "i8", ("y",))
        time.units, time.calendar = "nanoseconds since 1970-01-01", "proleptic_gregorian"
        time[:] = times_ns
        if with_temperature:
            file.createVariable("temperature", "f4", ("y",))[:] = 20 + np.arange(N_LINES)
        file.description = "a cube of openhsi"
        file.operator = "Grace"


@pytest.mark.parametrize("old_style", [True, False])
def test_a_cube_of_openhsi_is_processed_whatever_its_order_and_its_clock(tmp_path, keywords, old_style):
    begin = 1_700_000_000_000_000_000
    times_ns = begin + np.array([0, 2, -3600, -3598, -3596]) * 10**9  # the clock was set back an hour
    path = tmp_path / "openhsi.nc"
    _of_openhsi(path, old_style, times_ns)
    of_settings = {name: keywords[name] for name in ("row_slice", "fwhm_nm", "exposure_ms", "cal_path")}
    with ProcessRawDatacube(path, 4, old_style=old_style, **of_settings) as cube:
        cube.collect()
        made = cube.save(tmp_path / "out").result().path
    with open_cube(made) as new:
        expected = Formulas().level(4, make_frame(seed=3))
        np.testing.assert_allclose(new.lines[3], expected, rtol=2e-6, atol=2e-6 * abs(expected).max())
        assert new.times_ns.tolist() == times_ns.tolist()
        assert new.temperatures.tolist() == [20, 21, 22, 23, 24]
        assert (new.attributes["operator"], new.attributes["source_file"]) == ("Grace", "openhsi.nc")


@pytest.fixture
def of_settings(keywords):
    return {name: value for name, value in keywords.items() if name != "n_lines"}


CONCLUDED = [(-1, 4), (0, 1), (0, 4), (1, 4), (2, 4), (2, 6), (7, 8), (3, None), (6, None), (8, 8)]


@pytest.mark.parametrize(("before", "after"), some((-1, 4), (0, 1), (2, 6), (7, 8), (3, None), all_of=CONCLUDED))
def test_the_level_of_a_cube_of_openhsi_is_concluded_where_there_is_no_doubt(tmp_path, of_settings, before, after):
    _of_openhsi(tmp_path / "openhsi.nc", level=before)
    with ProcessDatacube(tmp_path / "openhsi.nc", after, **of_settings) as cube:
        cube.collect()
        assert cube.source_level == before
        made = cube.save(tmp_path / "out").result().path
    after = before if after is None else after
    with open_cube(made) as new:
        expected = Formulas().level(after, make_frame(seed=2))
        np.testing.assert_allclose(new.lines[2], expected, rtol=1e-5, atol=2e-6 * abs(expected).max())
        assert new.level == after


IN_DOUBT = {
    "units of two levels": (4, {}),
    "units of two levels, in sums": (5, {}),
    "bands of another width": (2, {"fwhm_nm": 9.0}),
    "no calibration, in bands": (2, {"cal_path": None}),
    "no calibration": (1, {"cal_path": None}),
    "rows that are not cropped": (0, {"row_slice": None}),
}
"""Level of a cube of openhsi, and what is changed in its settings."""


@pytest.mark.parametrize(
    "case",
    some("units of two levels", "bands of another width", "rows that are not cropped", all_of=IN_DOUBT),
)
def test_a_cube_whose_level_is_in_doubt_is_one_clear_error(tmp_path, of_settings, case):
    before, changed = IN_DOUBT[case]
    _of_openhsi(tmp_path / "openhsi.nc", level=before)
    message = r"level of .*openhsi\.nc is unknown, so .* its lines of \d+ x \d+ \w+ in '.*load_next_tfms or custom_tfms"
    with (
        ProcessDatacube(tmp_path / "openhsi.nc", 6, **of_settings | changed) as cube,
        pytest.raises(LevelError, match=message),
    ):
        cube.collect()


@pytest.mark.parametrize("case", some("units of two levels", all_of=IN_DOUBT))
def test_a_cube_whose_level_is_in_doubt_can_be_processed_by_functions(tmp_path, of_settings, case):
    path, (before, changed) = tmp_path / "openhsi.nc", IN_DOUBT[case]
    _of_openhsi(path, level=before)
    with ProcessDatacube(path, **of_settings | changed) as cube:
        cube.collect()
        unchanged = cube.save(tmp_path / "same").result().path
        cube.load_next_tfms([np.sqrt])
        cube.collect()
        made = cube.save(tmp_path / "out").result().path
    expected = Formulas().level(before, make_frame(seed=1))
    for result, values in ((unchanged, expected), (made, np.sqrt(np.maximum(expected, 0)))):
        with open_cube(result) as new:
            np.testing.assert_allclose(np.nan_to_num(new.lines[1])[values > 0], values[values > 0], rtol=1e-5)
            labels = new.dataset.datacube.attrs
            assert (labels["units"], labels["long_name"]) == ("1", "made by custom_tfms")
            assert new.attributes["level_arithmetic"] == "custom_tfms"


@pytest.mark.parametrize("level", [2, 4, 6])
def test_a_cube_of_openhsi_that_is_not_raw_is_refused(tmp_path, of_settings, level):
    path = tmp_path / "openhsi.nc"
    _of_openhsi(path, level=level)
    with pytest.raises(LevelError, match=r"lines of 14 x 22 float32 in '.*', not raw frames .*: .*ProcessDatacube"):
        ProcessRawDatacube(path, 4, **of_settings)


@pytest.mark.parametrize("level", [0, 1])
def test_a_cube_of_openhsi_that_the_settings_show_to_be_cropped_is_refused(tmp_path, of_settings, level):
    path = tmp_path / "openhsi.nc"
    _of_openhsi(path, level=level)
    with pytest.raises(LevelError, match=rf"which by the settings are of level {level}, not raw frames of \(20, 48\)"):
        ProcessRawDatacube(path, 4, **of_settings)


def test_raw_frames_that_functions_made_floats_of_are_no_raw_frames(keywords, tmp_path):
    with SharedDataCube(**keywords, custom_tfms=[np.sqrt]) as cube:
        cube.put(make_frame())
        path = cube.save(tmp_path).result().path
    with pytest.raises(LevelError, match=r"lines of 20 x 48 float32, not raw frames"):
        ProcessRawDatacube(path)


def test_lines_that_do_not_fit_the_settings_are_not_blamed_on_functions_that_nobody_gave(saved, cal_path):
    path = saved(2)
    message = r"lines of 14 x 22 float32 of level 2, which do not fit settings .* for level 4 \(.*broadcast"
    with pytest.raises(LevelError, match=message):
        ProcessDatacube(path, 4, cal_path=cal_path, fwhm_nm=8.0)


def test_smile_corrected_later_keeps_the_wavelengths_of_level_1(saved, cal_path, tmp_path):
    with ProcessDatacube(saved(0), 1, cal_path=cal_path) as cube:
        cube.collect()
        path = cube.save(tmp_path / "out").result().path
    with open_cube(path) as made:
        assert made.wavelengths_nm.tolist() == make_plan(1).wavelengths_nm.tolist()


def test_a_cube_without_temperatures_has_none_as_that_of_a_camera_without_thermometer(tmp_path, saved):
    path = tmp_path / "openhsi.nc"
    _of_openhsi(path, with_temperature=False)
    with ProcessRawDatacube(path) as cube:
        cube.collect()
        made = cube.save(tmp_path / "out").result().path
    assert np.isnan(_columns(made)["temperature"]).all()
    assert np.isnan(_columns(saved())["temperature"]).all()


def test_radiance_is_not_made_with_an_exposure_that_nobody_told(tmp_path, of_settings):
    path = tmp_path / "openhsi.nc"
    _of_openhsi(path)
    del of_settings["exposure_ms"]
    for process in (ProcessRawDatacube, ProcessDatacube):
        with pytest.raises(LevelError, match=r"processing_lvl=4 computes radiance, which needs .*exposure_ms="):
            process(path, 4, **of_settings)
        with process(path, 3, **of_settings) as cube:
            assert cube.settings["exposure_ms"] is None
            with pytest.raises(LevelError, match="dn2rad computes radiance"):
                cube.dn2rad(make_frame())


FURTHER = [(0, 1), (0, 4), (1, 2), (1, 6), (2, 4), (2, 6), (4, 6), (7, 8), (4, 4)]


@pytest.mark.parametrize(("before", "after"), some((0, 4), (1, 2), (2, 6), (7, 8), (4, 4), all_of=FURTHER))
def test_a_processed_cube_is_processed_further(saved, cal_path, tmp_path, before, after):
    with ProcessDatacube(saved(before), after, cal_path=cal_path) as cube:
        cube.collect()
        path = cube.save(tmp_path / "out").result().path
    assert verify(path).ok
    with open_cube(path) as made:
        for y in range(N_LINES):
            expected = Formulas().level(after, make_frame(seed=y))
            np.testing.assert_allclose(made.lines[y], expected, rtol=1e-5, atol=2e-6 * abs(expected).max())
        assert made.level == after
        if after > 1:
            np.testing.assert_allclose(made.wavelengths_nm, make_plan(after).wavelengths_nm)
        assert made.attributes["source_level"] == before


def test_functions_of_the_users_are_run_one_after_the_other(saved, cal_path, tmp_path):
    def halved(line):
        return line / 2

    with ProcessDatacube(saved(4), 6, cal_path=cal_path) as cube:
        cube.load_next_tfms([halved, cube.rad2ref_6SV])
        cube.collect()
        path = cube.save(tmp_path / "out").result().path
    with open_cube(path) as made:
        expected = Formulas().level(6, make_frame(seed=1)) / 2
        np.testing.assert_allclose(made.lines[1], expected, rtol=1e-5, atol=2e-6 * abs(expected).max())
        assert made.attributes["level_arithmetic"] == "custom_tfms"


# ---- what is refused ----


def test_what_cannot_be_undone_is_refused(saved, cal_path):
    path = saved(4)
    with pytest.raises(LevelError, match=r"holds lines of level 4, not raw frames .* ProcessDatacube"):
        ProcessRawDatacube(path, 6, cal_path=cal_path)
    with pytest.raises(LevelError, match=r"processing_lvl=2 is below that of .*, 4: processing cannot be undone"):
        ProcessDatacube(path, 2, cal_path=cal_path)
    with pytest.raises(LevelError, match="level 8 cannot be computed from lines of level 4"):
        ProcessDatacube(path, 8, cal_path=cal_path)
    with pytest.raises(LevelError, match=r"level 8 cannot .* of level -1 .*: use ProcessRawDatacube"):
        ProcessDatacube(saved(-1), 8, cal_path=cal_path)
    with pytest.raises(LevelError, match="level 5 cannot be computed from lines of level 1"):
        ProcessDatacube(saved(1), 5, cal_path=cal_path)


def test_bad_input_is_one_clear_error(saved, tmp_path):
    path = saved()
    with pytest.raises(FileError, match=r"missing\.nc"):
        ProcessRawDatacube(tmp_path / "missing.nc")
    (tmp_path / "foreign.nc").write_bytes(b"no cube")
    with pytest.raises(FileError, match=r"foreign\.nc"):
        ProcessRawDatacube(tmp_path / "foreign.nc")
    for process in (ProcessRawDatacube, ProcessDatacube):
        with pytest.raises(ArgumentError, match="is a folder: process one cube at a time"):
            process(tmp_path)
        for nothing in (None, "", 5):
            with pytest.raises(ArgumentError, match="fname must be the path of a saved cube, got"):
                process(nothing)
    with pytest.raises(ArgumentError, match=r"custom_tfms must be a list of functions .*write custom_tfms=\[\.\.\.\]"):
        ProcessRawDatacube(path, custom_tfms=np.sqrt)
    with ProcessDatacube(path) as cube, pytest.raises(ArgumentError, match="next_tfms must be a list of functions"):
        cube.load_next_tfms(np.sqrt)
    with pytest.raises(LevelError, match="needs"):
        ProcessRawDatacube(path, 4)
    with pytest.raises(LevelError, match="processing_lvl must be one of"):
        ProcessRawDatacube(path, 9)
    with pytest.raises(UnknownKeyword, match=r"no keyword 'fwhm', did you mean 'fwhm_nm'|'fwhm'"):
        ProcessRawDatacube(path, fwhm=3)


def test_a_damaged_line_is_lost_with_its_id_and_the_others_are_processed(saved, tmp_path):
    path = saved()
    data = bytearray(path.read_bytes())
    with open_cube(path) as cube:
        at = data.index(cube.lines[3].tobytes())
    data[at + 10] ^= 8
    path.write_bytes(data)
    with ProcessRawDatacube(path) as cube:
        cube.collect()
        result = cube.save(tmp_path / "out").result()
    assert (result.n_lines, result.lines_lost) == (4, 1)
    with open_cube(result.path) as made:
        assert made.frame_ids.tolist() == [0, 1, 2, 4]
        np.testing.assert_array_equal(made.lines[3], make_frame(seed=4))
