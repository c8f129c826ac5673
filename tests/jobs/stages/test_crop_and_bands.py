"""Pixels and bands that are cut out are those that were meant."""

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError, StageNotApplicable
from openhsi_shared.jobs.stages.bands import SelectBands
from openhsi_shared.jobs.stages.crop import Crop
from openhsi_shared.jobs.stages.registry import stage_from_text
from openhsi_shared.testing.stage_contract import format_of
from tests.support.stages import plan_of, run

LINES = np.random.default_rng(5).integers(0, 60000, (7, 9, 11)).astype(np.uint16)
NM = np.linspace(400.0, 500.0, 11)


def made_by(stage, lines=LINES, **known):
    plan = plan_of(format_of(lines, **known), stage, block_lines=3)
    results = [run(plan, lines, gap=gap)[0] for gap in (0, 24)]
    assert results[0].tobytes() == results[1].tobytes()
    return results[0], plan.result


@pytest.mark.parametrize(
    "rows", [None, slice(2, 7), slice(-3, None), slice(None, -4), slice(0, 9), slice(8, 9), slice(np.int64(2), 5, 1)]
)
def test_crop(rows):
    made, result = made_by(Crop(rows))
    np.testing.assert_array_equal(made, LINES[:, rows or slice(None)])
    assert result.level == (-1 if made.shape == LINES.shape else None)
    assert made_by(Crop(rows), level=4)[1].level == 4  # radiance stays what it is


@pytest.mark.parametrize(
    ("stage", "kept"),
    [
        (SelectBands(420, 450), [2, 3, 4, 5]),
        (SelectBands(from_nm=481.0), [9, 10]),
        (SelectBands(to_nm=410), [0, 1]),
        (SelectBands(bands=slice(3, -2)), [3, 4, 5, 6, 7, 8]),
        (SelectBands(bands=(1, 5, 10)), [1, 5, 10]),
        (SelectBands(bands=np.array([4, 5])), [4, 5]),
        (stage_from_text("select_bands:bands=1,5"), [1, 5]),
        (stage_from_text("select_bands:bands=7"), [7]),
        (stage_from_text("select_bands:bands=7-"), [7, 8, 9, 10]),
    ],
)
def test_select_bands(stage, kept):
    made, result = made_by(stage, wavelengths_nm=NM)
    np.testing.assert_array_equal(made, LINES[:, :, kept])
    np.testing.assert_array_equal(result.wavelengths_nm, NM[kept])
    assert (result.level, result.quantity) == (None, "counts")


@pytest.mark.parametrize(
    ("stage", "why"),
    [
        (
            Crop(slice(2, 10)),
            "crop: rows=2-10 is outside of the 9 cross-track pixels: expected at least one from 0 to 8",
        ),
        (Crop(slice(5, 5)), "rows=5-5 is outside"),
        (Crop(slice(-10, None)), "rows=-10- is outside"),
        (SelectBands(bands=(3, 11)), "band 11 does not exist: there are 11, from 0 on"),
        (SelectBands(bands=slice(3, 12)), "bands=3-12 is outside of the 11 bands"),
        (SelectBands(700, 800), "no band is from 700 to 800 nm: of 11 from 400.0 to 500.0 nm"),
    ],
)
def test_what_is_not_there_is_refused(stage, why):
    with pytest.raises(StageNotApplicable, match=why):
        stage.check(format_of(LINES, wavelengths_nm=NM))


def test_without_wavelengths_only_numbers_select_bands():
    with pytest.raises(StageNotApplicable, match="wavelengths of the 11 bands are unknown: give bands="):
        SelectBands(400, 500).check(format_of(LINES))
    assert made_by(SelectBands(bands=slice(2)))[1].wavelengths_nm is None


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Crop((2, 7)), "rows must be a slice such as slice"),
        (lambda: Crop(slice(0, 8, 2)), "a slice without steps, got .*: bin instead"),
        (lambda: Crop(slice(0.5, 8)), "rows must be a slice"),
        (SelectBands, "needs either from_nm, to_nm or both, or bands"),
        (lambda: SelectBands(400, bands=(1,)), "needs either"),
        (lambda: SelectBands(500, 400), "from_nm=500 is above to_nm=400"),
        (lambda: SelectBands("blue"), "from_nm must be a wavelength in nm, got 'blue'"),
        (lambda: SelectBands(np.nan), "from_nm must be a wavelength"),
        (lambda: SelectBands(bands=(5, 3)), "in increasing order, each once"),
        (lambda: SelectBands(bands=(5, 5)), "in increasing order, each once"),
        (lambda: SelectBands(bands=()), "in increasing order"),
        (lambda: SelectBands(bands="red"), "in increasing order"),
        (lambda: SelectBands(bands=(-1, 3)), "numbers from 0 on"),
    ],
)
def test_parameters_are_checked(make, why):
    with pytest.raises(ArgumentError, match=why):
        make()
