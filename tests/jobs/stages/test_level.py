"""The level of a job is that of the camera, bit for bit."""

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError, LevelError, StageNotApplicable
from openhsi_shared.jobs.stages.level import Level
from openhsi_shared.processing_levels import LABELS, LEVELS
from openhsi_shared.settings import CameraSettings
from openhsi_shared.testing.stage_contract import format_of
from tests.support.level_oracle import CALIBRATION, FWHM_NM, ROWS, SHAPE, line_of, make_frame, make_plan
from tests.support.stages import plan_of, run

SETTINGS = CameraSettings(
    resolution=SHAPE, row_slice=(ROWS.start, ROWS.stop), fwhm_nm=FWHM_NM, exposure_ms=10.0, pixel_format="Mono16"
)
FRAMES = np.stack([make_frame(seed=seed) for seed in range(5)])


def source_of(frames=FRAMES, **known):
    return format_of(frames, settings=SETTINGS, calibration=CALIBRATION, **known)


@pytest.mark.parametrize("gap", [0, 64])
@pytest.mark.parametrize("compat", [None, "openhsi"])
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_is_that_of_the_camera(level, compat, gap):
    plan = plan_of(source_of(), Level(level, compat), block_lines=2)
    made, _ = run(plan, FRAMES, gap=gap)
    of_camera = make_plan(level, compat=compat)
    assert made.dtype == of_camera.line_dtype
    assert made.tobytes() == np.stack([line_of(of_camera, frame) for frame in FRAMES]).tobytes()
    result = plan.result
    assert (result.level, result.quantity) == (level, LEVELS[level].quantity)
    assert result.labels == LABELS[result.quantity]
    if level > 1:
        np.testing.assert_array_equal(result.wavelengths_nm, of_camera.wavelengths_nm)


def test_lines_of_a_level_become_those_of_another():
    binned, _ = run(plan_of(source_of(), Level(2)), FRAMES)
    made, _ = run(plan_of(source_of(binned, level=2, wavelengths_nm=make_plan(2).wavelengths_nm), Level(4)), binned)
    expected, _ = run(plan_of(source_of(), Level(4)), FRAMES)
    np.testing.assert_allclose(made, expected, rtol=2e-6, atol=1e-5)


def test_it_must_get_the_lines_of_the_file():
    source = source_of()
    with pytest.raises(StageNotApplicable, match=r"needs .* \(lines of 20 x 48 uint16, level -1\)"):
        Level(4).check(source.replace(line_shape=(10, 48)))
    with pytest.raises(StageNotApplicable, match="of level None: make it the first stage"):
        Level(4).check(source.replace(level=None))


def test_a_level_that_cannot_be_reached_is_refused():
    with pytest.raises(LevelError, match="below that"):
        Level(2).check(source_of(level=4))
    with pytest.raises(LevelError, match="processing_lvl must be one of"):
        Level(9)
    with pytest.raises(ArgumentError, match="compat must be None or 'openhsi', got 'xarray'"):
        Level(4, "xarray")
