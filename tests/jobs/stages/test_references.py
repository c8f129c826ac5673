"""References: their mean is what is subtracted or divided by, and one that does not fit is refused."""

import copy
import json
import threading

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError, FileError, ReferenceRefused, StageNotApplicable
from openhsi_shared.files import CubeWriter, open_cube
from openhsi_shared.files.references import Reference
from openhsi_shared.groups import Group
from openhsi_shared.jobs import JobRunner, PipelineJob
from openhsi_shared.jobs.stages import reference_files
from openhsi_shared.jobs.stages.binning import BinLines
from openhsi_shared.jobs.stages.references import Dark, Reflectance, White
from openhsi_shared.processing_levels import LABELS
from openhsi_shared.save_options import SaveOptions
from openhsi_shared.testing.stage_contract import format_of, run_stage
from tests.support.cubes import make_cube
from tests.support.stages import plan_of, run

RANDOM = np.random.default_rng(2)
LINES = RANDOM.integers(200, 4000, (10, 5, 7)).astype(np.uint16)
DARK = RANDOM.integers(90, 110, (19, 5, 7)).astype(np.uint16)
WHITE = RANDOM.integers(3000, 4000, (6, 5, 7)).astype(np.uint16)


@pytest.fixture
def saved(tmp_path):
    """Save lines as a cube of this library."""

    def save(lines, **about):
        cube = make_cube(len(lines), *lines.shape[1:], dtype=lines.dtype, **about)
        cube.memory[:] = lines
        with CubeWriter(len(lines), lines.shape[1:], lines.dtype, SaveOptions()) as writer:
            return writer.write(cube, [tmp_path]).path

    return save


def made_by(*stages, lines=LINES, **known):
    """The result, which must not depend on blocks; a survey as the workers make it."""
    source = format_of(lines, **known)
    stages = tuple(copy.deepcopy(stage) for stage in stages)
    for number, stage in enumerate(stages):
        plan = plan_of(source, *stages[:number])
        before = run(plan, lines)[0] if number else lines
        stage.check(plan.result)
        surveyed = stage.survey_lines(plan.result)
        if surveyed is not None:
            parts = [surveyed[first : first + 16] for first in range(0, len(surveyed), 16)]
            stage.surveyed = stage.combine([stage.survey(before[part.start : part.stop]) for part in parts])
    results = [run(plan_of(source, *stages, block_lines=size), lines, gap=8)[0] for size in (1, 3, 100)]
    assert len({result.tobytes() for result in results}) == 1
    return results[0], plan_of(source, *stages).result


def test_the_mean_of_a_dark_cube_is_subtracted(saved):
    made, result = made_by(Dark(saved(DARK)))
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, LINES - DARK.mean(axis=0), atol=2e-4)
    assert (result.level, result.quantity) == (None, "counts")
    assert result.labels["long_name"] == "digital numbers of the sensor, dark subtracted"


def test_some_lines_of_a_reference(saved):
    made, _ = made_by(Dark(str(saved(DARK)), slice(3, 9)))
    np.testing.assert_allclose(made, LINES - DARK[3:9].mean(axis=0), atol=2e-4)


def test_lines_of_the_same_cube():
    lines = np.concatenate([DARK, LINES, WHITE])
    made, _ = made_by(Dark(lines=slice(0, 19)), White(lines=slice(-6, None), reflectance=0.5), lines=lines)
    dark, white = DARK.mean(axis=0), WHITE.mean(axis=0)
    np.testing.assert_allclose(made, 0.5 * (lines - dark) / (white - dark), rtol=1e-5, atol=1e-6)


def test_reflectance_of_raw_lines_with_both_references(saved):
    dark, white = saved(DARK), saved(WHITE)
    made, result = made_by(Dark(dark), White(white, reflectance=0.98, dark_path=dark))
    of_dark = DARK.mean(axis=0)
    np.testing.assert_allclose(made, 0.98 * (LINES - of_dark) / (WHITE.mean(axis=0) - of_dark), rtol=2e-6, atol=1e-6)
    assert (result.level, result.quantity, result.labels) == (None, "reflectance", LABELS["reflectance"])


def test_without_light_there_is_no_reflectance(saved):
    white = WHITE.astype(np.float32)
    white[:, 1, 2], white[:, 3, 4], white[:, 0, 0] = 0, -5, np.nan
    white[2, 2, 1] = np.inf
    made, _ = made_by(White(saved(white, level=4)), lines=LINES.astype(np.float32), level=4)
    assert np.isnan(made[0]).nonzero()[0].tolist() == [0, 1, 2, 3]


def taken(kind, lines, **about):
    """A reference of a camera, (5, 7)."""
    mean, deviation = (values.astype(np.float32) for values in (lines.mean(axis=0), lines.std(axis=0, ddof=1)))
    numbers = {"n_frames": len(lines), "time_ns": 1_700_000_000_000_000_000, "temperature": 20.0, "units": "1"}
    about = {"exposure_ms": 10.0, "level": -1} | about
    return Reference(
        kind=kind, mean=mean, standard_deviation=deviation, saturated=0.0, brightness=0.5, attributes=about, **numbers
    )


def test_references_of_a_camera_are_taken_as_they_are(tmp_path):
    dark, white = (taken(kind, lines).write(tmp_path).path for kind, lines in (("dark", DARK), ("white", WHITE)))
    made, _ = made_by(Dark(dark), White(white, reflectance=0.98, dark_path=dark))
    of_dark = DARK.mean(axis=0)
    np.testing.assert_allclose(made, 0.98 * (LINES - of_dark) / (WHITE.mean(axis=0) - of_dark), rtol=2e-5, atol=1e-6)
    source = format_of(LINES, attributes={"exposure_ms": 5.0})
    with pytest.raises(StageNotApplicable, match=r"does not belong to made_up\.nc: its exposure_ms is 10\.0, not 5\.0"):
        Dark(dark).check(source)
    with pytest.raises(StageNotApplicable, match="changed by another stage"):
        White(white).check(format_of(LINES, level=None))
    with pytest.raises(StageNotApplicable, match="is a reference, and has no lines"):
        Dark(dark, slice(3)).prepare(format_of(LINES))


def test_reflectance_by_the_references_in_the_cube(tmp_path):
    white = WHITE.copy()
    white[:, 1, 2] = DARK[:6, 1, 2]  # no light: no reflectance
    own = {"dark": taken("dark", DARK).group({}), "white": taken("white", white).group({})}
    cube = make_cube(10, 5, 7, groups={"references": Group(groups=own)}, attributes={"exposure_ms": 10.0})
    cube.memory[:] = LINES
    with CubeWriter(10, (5, 7), np.uint16, SaveOptions()) as writer:
        path = writer.write(cube, [tmp_path]).path
    done = JobRunner(PipelineJob(path, tmp_path / "out", stages=["reflectance:panel=0.9"])).run().path
    dark = DARK.mean(axis=0)
    expected = 0.9 * (LINES - dark) / (white.mean(axis=0) - dark)
    expected[:, 1, 2] = np.nan
    with open_cube(path) as source, open_cube(done) as result:
        np.testing.assert_allclose(result.lines[:], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(result.lines[:], source.reflectance(0.9)[:], rtol=1e-6)
        with pytest.raises(ReferenceRefused, match="not those of the camera any more"):
            result.reflectance()
    start = format_of(LINES, path=path)
    for changed in ({"level": 0}, {"level": None}, {"line_shape": (5, 6)}):
        with pytest.raises(StageNotApplicable, match="make it the first stage"):
            Reflectance().check(start.replace(**changed))


def test_an_array_of_numpy_is_a_reference(tmp_path):
    np.save(tmp_path / "dark.npy", DARK[0])
    made, _ = made_by(Dark(tmp_path / "dark.npy"))
    np.testing.assert_array_equal(made, LINES - DARK[0].astype(np.float32))


def test_a_damaged_line_of_a_reference_does_not_count(saved):
    path = saved(DARK)
    content = bytearray(path.read_bytes())
    content[content.index(DARK[4].tobytes()) + 5] ^= 1
    path.write_bytes(content)
    made, _ = made_by(Dark(path))
    np.testing.assert_allclose(made, LINES - np.delete(DARK, 4, axis=0).mean(axis=0), atol=2e-4)


def test_a_reference_is_read_once_and_in_blocks(saved, monkeypatch):
    monkeypatch.setattr(reference_files, "BLOCK_BYTES", 4 * 5 * 7 * 2)
    n_read = []
    read = reference_files.ReferenceFile._mean_of_cube
    monkeypatch.setattr(reference_files.ReferenceFile, "_mean_of_cube", lambda self: n_read.append(1) or read(self))
    stage = Dark(saved(DARK))
    workers = [threading.Thread(target=copy.deepcopy(stage).prepare, args=(format_of(LINES),)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    made, _ = made_by(stage)
    assert n_read == [1]
    np.testing.assert_allclose(made, LINES - DARK.mean(axis=0), atol=2e-4)


@pytest.mark.parametrize(
    ("about", "known", "why"),
    [
        ({"level": 2}, {}, "is of level 2, but the lines are of level -1: process the reference as them"),
        ({}, {"level": None}, "is of level -1, but the lines are changed by another stage"),
        ({"attributes": {"exposure_ms": 5.0}}, {}, "was exposed for 5.0 ms, but made_up.nc for 10.0 ms"),
        (
            {"wavelengths_nm": np.arange(7) + 420.0},
            {},
            "from 420.0 to 426.0 nm, those of the lines from 400.0 to 406.0",
        ),
    ],
)
def test_a_reference_of_another_kind_is_refused(saved, about, known, why):
    path = saved(DARK, **about)
    source = format_of(LINES, **{"wavelengths_nm": np.arange(7) + 400.0, "attributes": {"exposure_ms": 10.0}} | known)
    for stage in (Dark(path), White(path)):
        with pytest.raises(StageNotApplicable, match=why):
            stage.check(source)


def settings_of(**values):
    return {"attributes": {"settings": json.dumps(values)}}


@pytest.mark.parametrize(
    ("about", "known", "why"),
    [
        (
            {"level": 0} | settings_of(row_slice=[0, 5]),
            {"level": 0} | settings_of(row_slice=[2, 7]),
            "its row_slice is",
        ),
        (settings_of(win_offset=[0, 4]), settings_of(win_offset=[0, 8]), "its win_offset is"),
        (settings_of(binxy=[1, 1]), settings_of(binxy=[2, 2]), "its binxy is"),
    ],
)
def test_a_reference_of_other_pixels_of_the_sensor_is_refused(saved, about, known, why):
    with pytest.raises(StageNotApplicable, match=why):
        Dark(saved(DARK, **about)).check(format_of(LINES, **known))
    Dark(saved(DARK, **known)).check(format_of(LINES, **known))
    Dark(saved(DARK, **settings_of(row_slice=[0, 5]))).check(format_of(LINES, **settings_of(row_slice=[2, 7])))  # whole


def test_a_reference_and_lines_must_have_gone_through_the_same(saved, tmp_path):
    """Else an offset stays, or goes twice, or the reflectance of a sum of lines is too large."""
    dark, white = saved(DARK), saved(WHITE)
    jobs = [PipelineJob(white, tmp_path / f"{n}.nc", stages=s) for n, s in enumerate([[Dark(dark)], ["bin_lines:n=2"]])]
    without_offset, binned = (JobRunner(job).run().path for job in jobs)
    with pytest.raises(StageNotApplicable, match="no dark reference is from the lines: use the stage dark before"):
        White(white, dark_path=dark).check(format_of(LINES))
    with pytest.raises(StageNotApplicable, match="has a dark subtracted, but the lines have the numbers of"):
        White(without_offset).check(format_of(LINES))
    with pytest.raises(StageNotApplicable, match="the lines have a sum of 2 lines"):
        made_by(Dark(dark), BinLines(2, "sum"), White(white, dark_path=dark))
    White(binned).check(format_of(LINES))  # a mean is the same
    made, _ = made_by(Dark(dark), White(without_offset, reflectance=0.98))
    expected, _ = made_by(Dark(dark), White(white, reflectance=0.98, dark_path=dark))
    np.testing.assert_allclose(made, expected, rtol=2e-6)


def test_a_reference_that_does_not_fit_is_refused(saved, tmp_path):
    source = format_of(LINES)
    with pytest.raises(StageNotApplicable, match=r"has 4 x 7 \(cross-track, wavelength\), the lines 5 x 7"):
        Dark(saved(DARK[:, :4])).check(source)
    with pytest.raises(StageNotApplicable, match=r"lines=3-30 is outside of the 19 lines"):
        Dark(saved(DARK), slice(3, 30)).check(source)
    with pytest.raises(StageNotApplicable, match=r"dark: lines=3-30 is outside of the 10 lines"):
        Dark(lines=slice(3, 30)).check(source)
    with pytest.raises(FileError, match="nowhere"):
        Dark(tmp_path / "nowhere.nc").check(source)
    with pytest.raises(FileError, match=r"nowhere\.npy cannot be read"):
        Dark(tmp_path / "nowhere.npy").check(source)
    np.save(tmp_path / "cube.npy", DARK)
    with pytest.raises(FileError, match=r"has uint16 \(19, 5, 7\), expected numbers \(cross-track, wavelength\)"):
        Dark(tmp_path / "cube.npy").check(source)
    np.save(tmp_path / "one.npy", DARK[0])
    with pytest.raises(StageNotApplicable, match="is one reference in an array, and has no lines: leave out lines="):
        Dark(tmp_path / "one.npy", slice(0, 1)).check(source)
    with pytest.raises(StageNotApplicable, match="the lines are reflectance already"):
        White(lines=slice(3)).check(format_of(LINES.astype("f4"), level=6))
    with pytest.raises(StageNotApplicable, match="none of the lines of the reference could be read"):
        Dark(lines=slice(3)).combine([])


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Dark, "dark: give path=, a reference, or lines="),
        (lambda: Dark(7), "path of dark must be the path of a reference, got 7"),
        (lambda: Dark(lines=5), "lines must be a slice"),
        (lambda: White("white.nc", reflectance=0), "reflectance must be above 0, such as 0.99, got 0"),
        (lambda: White("white.nc", reflectance="all"), "reflectance must be above 0"),
        (lambda: White(lines=slice(3), dark_path="dark.nc"), "dark_path is for the reference at path"),
        (lambda: Reflectance(panel=0), "panel must be the reflectance of the white target, such as 0.99, got 0"),
    ],
)
def test_parameters_are_checked(make, why):
    with pytest.raises(ArgumentError, match=why):
        make()


@pytest.mark.parametrize("scale", [1e-40, 1e38])
def test_the_reciprocal_of_a_reference_need_not_be_a_number_of_the_result(scale):
    lines = (LINES / 4000 * scale).astype(np.float32)
    white, _ = run_stage(White(lines=slice(2)), lines)
    expected = lines / lines[:2].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(white, expected, rtol=1e-5)
    assert white.dtype == np.float32
