"""Spectral indices: what their formulas mean, and what they refuse."""

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError
from openhsi_shared.indices import FORMULAS, parse_formula

WAVELENGTHS = np.arange(430.0, 901.0, 4.0)


def value(text, **terms):
    formula = parse_formula(text)
    return formula.index([np.array([terms[term]], np.float64) for term in formula.terms])[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ndvi", (7 - 3) / (7 + 3)),
        ("R800/R670", 7 / 3),
        ("-R800 + 2*R670**2", -7 + 2 * 9),
        ("sqrt(R800 - R670) - log(R670)*exp(R670)", 2 - np.log(3) * np.exp(3)),
        ("(R800-R670)/(R800+R670+0.5)*1.5", 4 / 10.5 * 1.5),  # SAVI
        ("abs(R670-R800)", 4),
    ],
)
def test_a_formula_is_computed_as_python_would(text, expected):
    assert value(text, R800=7, R670=3) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("name", FORMULAS)
def test_each_named_formula_fits_a_camera_of_visible_light(name):
    assert len(parse_formula(name).bands(WAVELENGTHS)) == 2


@pytest.mark.parametrize(
    ("text", "r800", "r670"),
    [
        ("ndvi", 0, 0),
        ("ndvi", 5, -5),
        ("ndvi", np.nan, 1),
        ("ndvi", np.inf, 1),
        ("R670/R800", np.inf, 1),  # 0 without a word
        ("R800**0*R670", np.nan, 1),  # NaN**0 is 1
        ("1/(R670/R800)", 0, 1),  # the inner infinity would make it 0
        ("(R670/R800)**0", 0, 0),
        ("sqrt(R800)", -1, 1),
        ("1/log(R800)", 0, 1),
        ("exp(R800)", 1000, 1),
    ],
)
def test_what_has_no_value_is_nan_never_a_number(text, r800, r670):
    assert np.isnan(value(text, R800=r800, R670=r670))


@pytest.mark.parametrize(
    "text",
    [
        "", "nvdi", "__import__('os').system('true')", "R800.real", "(lambda: R800)()", "R800 if R670 else 1",
        "[R800][0]",
        "R800 > 1", "1j*R800", "True*R800", "f'{R800}'", "R800;R670", "\0", "1e999*R800", "9**9**9**9", "R1",
        "R800_700", "R670_670", "sqrt(R800, 2)", "sqrt(x=R800)", "eval(R800)", "R800" + "+R800" * 100, "R800(",
    ],
)  # fmt: skip
def test_all_else_is_refused_and_nothing_is_executed(text):
    with pytest.raises(ArgumentError, match="formula"):
        parse_formula(text)


def test_a_wavelength_is_its_nearest_band_and_a_range_all_bands_in_it():
    bands = parse_formula("R801/R640_652 + R427").bands(WAVELENGTHS)
    assert [WAVELENGTHS[band].tolist() for band in bands] == [[802.0], [642.0, 646.0, 650.0], [430.0]]
    assert [band.tolist() for band in parse_formula("R500").bands([600.0, 500.0])] == [[1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("R800/R1240", "R1240 has no band within 15 nm: there are 118 bands from 430 to 898 nm"),
        ("R800/R950_990", "R950_990 is not in the spectrum"),
        ("R800/R600_990", "R600_990 is not in the spectrum"),
        ("(R801-R802)/R670", "R801 and R802 of .* are the same bands"),
    ],
)
def test_wavelengths_that_the_lines_do_not_have_are_refused(text, expected):
    with pytest.raises(ArgumentError, match=expected):
        parse_formula(text).bands(WAVELENGTHS)


def test_unknown_wavelengths_are_refused():
    with pytest.raises(ArgumentError, match="NaN"):
        parse_formula("ndvi").bands([670.0, np.nan])
