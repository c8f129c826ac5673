"""What is known of a saved cube is enough to process it, as the classes that process cubes again do."""

import dataclasses
import json
import os
import pickle

import numpy as np
import pytest
import xarray as xr

from openhsi_shared import ProcessDatacube, ProcessRawDatacube
from openhsi_shared.calibration import write_calibration
from openhsi_shared.columns import COLUMNS, Column
from openhsi_shared.errors import CalibrationError, FileError, LevelError, SettingsError
from openhsi_shared.files import CubeWriter
from openhsi_shared.files.source_attributes import kept_attributes, source_attributes
from openhsi_shared.files.source_cube import SourceCube
from tests.files.test_reading import openhsi_file
from tests.support.cubes import make_cube, make_groups
from tests.support.level_oracle import FWHM_NM, ROWS, SHAPE, line_of, make_calibration, make_frame, make_plan
from tests.support.products import each_value_once

SETTINGS = {"resolution": SHAPE, "row_slice": (ROWS.start, ROWS.stop), "fwhm_nm": FWHM_NM}


@pytest.fixture(scope="module")
def cal_path(tmp_path_factory):
    return write_calibration(make_calibration(), tmp_path_factory.mktemp("cal") / "calibration.nc")


@pytest.fixture
def json_path(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(SETTINGS))
    return path


@pytest.fixture
def saved(tmp_path):
    """Write three lines of a level, of a recording with these settings."""

    def save(level=-1, **attributes):
        plan = make_plan(level)
        lines = [line_of(plan, make_frame(seed=seed)) for seed in range(3)]
        about = {"settings": json.dumps(SETTINGS), "exposure_ms": 10.0, "run_id": "r"} | attributes
        about = {name: value for name, value in about.items() if value is not None}
        nm = plan.wavelengths_nm if level > 0 else None
        columns = {"altitude": np.arange(3.0)}
        descriptions = (*COLUMNS, Column("altitude", "float64", "m", "height"))
        groups = {"marks": make_groups(3)["marks"]}
        cube = make_cube(
            *(3, *plan.line_shape, plan.line_dtype),
            level=level,
            attributes=about,
            wavelengths_nm=nm,
            metadata={"pilot": "Ada"},
            columns=columns,
            column_descriptions=descriptions,
            groups=groups,
        )
        cube.memory[:] = lines
        with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype) as writer:
            return writer.write(cube, [tmp_path], picture=False).path

    return save


def test_its_settings_are_unpacked_when_they_are_used(saved, json_path):
    source = SourceCube.look_at(saved(), json_path=json_path)
    travelled = pickle.loads(pickle.dumps(source))
    again = pickle.loads(pickle.dumps(travelled))  # before they were used
    assert "settings" not in vars(again)
    assert again.settings == source.settings
    assert again.settings.resolution == SHAPE
    assert vars(again)["settings"] is again.settings
    assert dataclasses.replace(travelled, level=3).settings == source.settings
    with pytest.raises(AttributeError, match="SourceCube has no attribute 'setings'"):
        again.setings  # noqa: B018


def test_all_that_is_known_of_a_cube_travels(saved, cal_path):
    source = pickle.loads(pickle.dumps(SourceCube.look_at(saved(4), cal_path=cal_path)))
    assert (source.n_lines, source.line_shape, source.dtype) == (3, (14, 22), np.float32)
    assert (source.level, source.quantity, source.is_ours) == (4, "radiance", True)
    assert (source.settings.resolution, source.settings.exposure_ms) == (SHAPE, 10.0)
    assert source.exposure_is_known
    assert source.wavelengths_nm.tolist() == make_plan(4).wavelengths_nm.tolist()
    assert source.labels["units"] == "uW cm-2 sr-1 nm-1"
    assert source.uuid == source.attributes["uuid"]
    assert source.times_ns.shape == (3,)
    assert (source.columns, source.groups) == (("altitude",), ("marks",))
    assert source.calibration["smile_shifts"].shape == (14,)
    assert "3 lines of 14 x 22 float32, level 4" in repr(source)


WAYS = [(-1, -1), (-1, 0), (-1, 4), (-1, 8), (0, 4), (1, 6), (2, 2), (4, 6), (7, 8)]


@pytest.mark.parametrize(("way", "compat"), each_value_once(WAYS, [None, "openhsi"]), ids=str)
def test_the_plan_is_that_of_the_classes_that_process_cubes_again(saved, cal_path, way, compat):
    before, after = way
    path = saved(before)
    source = SourceCube.look_at(path, cal_path=cal_path)
    plan = source.plan_to(after, compat)
    process = ProcessRawDatacube if before == -1 else ProcessDatacube
    with process(path, after, cal_path=cal_path, compat=compat) as cube:
        line = line_of(make_plan(before), make_frame(seed=2))
        assert np.array_equal(line_of(plan, line), cube.pipeline(line))
        found, expected = source.wavelengths_after(plan), cube.wavelengths_nm
        assert np.array_equal(found, expected) if expected is not None else found is None


@pytest.mark.parametrize(
    ("own", "compat", "way"), [("openhsi", None, "give"), ("openhsi_shared", "openhsi", "leave out")]
)
def test_sums_over_bands_are_not_taken_for_averages(saved, cal_path, own, compat, way):
    source = SourceCube.look_at(saved(7, level_arithmetic=own), cal_path=cal_path)
    with pytest.raises(LevelError, match=rf"over each band \(by {own}\).*{way} compat='openhsi'"):
        source.plan_to(8, compat)
    source.plan_to(8, None if compat else "openhsi")
    four = SourceCube.look_at(saved(4, level_arithmetic=own), cal_path=cal_path)
    assert four.plan_to(6, compat).level == 6  # the same of both


def test_the_integers_of_a_step_are_those_of_the_lines(saved, cal_path, json_path):
    """As from the raw frames, whatever the settings have for pixel_format."""
    source = SourceCube.look_at(saved(1), cal_path=cal_path, json_path=json_path)
    frame = make_frame(np.uint8)
    line = line_of(make_plan(1, frame_dtype=frame.dtype), frame)
    plan = dataclasses.replace(source, dtype=line.dtype).plan_to(3, "openhsi")
    assert np.array_equal(line_of(plan, line), line_of(make_plan(3, frame_dtype=frame.dtype, compat="openhsi"), frame))


@pytest.mark.parametrize("level", [-1, 0, 1])
def test_the_level_of_a_cube_of_openhsi_is_inferred(tmp_path, cal_path, json_path, level):
    plan = make_plan(level)
    lines = np.stack([line_of(plan, make_frame(seed=seed)) for seed in range(3)])
    path = openhsi_file(tmp_path / "theirs.nc", lines, True)
    source = SourceCube.look_at(path, json_path=json_path, cal_path=cal_path)
    assert (source.level, source.level_in_file, source.uuid, source.exposure_is_known) == (level, None, None, False)
    assert source.plan_to(2).line_shape == make_plan(2).line_shape
    with pytest.raises(LevelError, match="needs the exposure of the frames"):
        source.plan_to(4)
    other = SourceCube.look_at(path)  # without settings every frame may be a raw one
    assert other.level == -1


def test_what_cannot_be_computed_is_refused(saved, cal_path, tmp_path, json_path):
    source = SourceCube.look_at(saved(4), cal_path=cal_path)
    with pytest.raises(LevelError, match="processing_lvl=2 is below that of"):
        source.plan_to(2)
    with pytest.raises(LevelError, match="level 8 cannot be computed from lines of level 4"):
        source.plan_to(8)
    with pytest.raises(LevelError, match="must be one of"):
        source.plan_to(9)
    with pytest.raises(LevelError, match=r"smile_shifts.*no calibration was given"):
        SourceCube.look_at(saved(-1)).plan_to(4)
    unknown = openhsi_file(tmp_path / "floats.nc", np.ones((3, 14, 22), np.float32), True)
    source = SourceCube.look_at(unknown, json_path=json_path, cal_path=cal_path)
    assert source.level is None
    with pytest.raises(LevelError, match=r"the processing level of .*floats\.nc is unknown"):
        source.plan_to(4)
    (tmp_path / "rows.json").write_text(json.dumps(SETTINGS | {"row_slice": [3, 99], "resolution": None}))
    outside = SourceCube.look_at(saved(-1), json_path=tmp_path / "rows.json")
    assert outside.plan_to(-1).is_identity
    with pytest.raises(SettingsError, match="outside the 20 rows"):
        outside.plan_to(0)


def test_the_exposure_is_that_of_the_file(saved, json_path, tmp_path):
    json_path.write_text(json.dumps(SETTINGS | {"exposure_ms": 3.0}))
    assert SourceCube.look_at(saved(exposure_ms=7.0), json_path=json_path).settings.exposure_ms == 7
    source = SourceCube.look_at(saved(exposure_ms=None), json_path=json_path)
    assert (source.settings.exposure_ms, source.exposure_is_known) == (3, True)
    assert not SourceCube.look_at(saved(exposure_ms=None)).exposure_is_known


def test_bad_input_is_one_clear_error(saved, tmp_path):
    path = saved()
    with pytest.raises(FileError, match="missing"):
        SourceCube.look_at(tmp_path / "missing.nc")
    with pytest.raises(SettingsError, match=r"none\.json"):
        SourceCube.look_at(path, json_path=tmp_path / "none.json")
    with pytest.raises(CalibrationError, match=r"none\.nc"):
        SourceCube.look_at(path, cal_path=tmp_path / "none.nc")
    xr.Dataset({"datacube": (("y", "x", "wavelength"), np.zeros((0, 3, 4)))}).to_netcdf(tmp_path / "empty.nc")
    with pytest.raises(FileError, match="is empty"):
        SourceCube.look_at(tmp_path / "empty.nc")


def test_a_file_that_changes_is_noticed(saved):
    source = SourceCube.look_at(saved())
    source.check_unchanged()
    os.utime(source.path, ns=(1, 1))
    with pytest.raises(FileError, match="changed while it was read"):
        source.check_unchanged()
    source = SourceCube.look_at(source.path)
    before = source.path.stat()
    saved().replace(source.path)  # of the same size
    os.utime(source.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert source.path.stat().st_size == before.st_size
    with pytest.raises(FileError, match="changed while it was read"):
        source.check_unchanged()
    source.path.unlink()
    with pytest.raises(FileError, match=r"changed while it was read: .*No such file"):
        source.check_unchanged()


def test_attributes_of_the_recording_are_told_from_the_users_own(saved):
    source = SourceCube.look_at(saved(pipeline_id="p", pipeline_log="l"))
    of_source = source_attributes(source.path, source.attributes, source.is_ours)
    assert of_source == {
        "source_uuid": source.uuid,
        "source_level": -1,
        "source_run_id": "r",
        "source_pipeline_id": "p",
        "source_date_created": source.attributes["date_created"],
        "source_file": source.path.name,
    }
    kept = kept_attributes(source.attributes, source.is_ours)
    assert kept["pilot"] == "Ada"
    assert not {"uuid", "settings", "pipeline_id", "pipeline_log", "complete"} & kept.keys()
    assert kept_attributes({"uuid": "theirs", "source_file": "x"}, is_ours=False) == {"uuid": "theirs"}
