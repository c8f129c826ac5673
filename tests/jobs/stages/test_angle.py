"""The angle between spectra, against a plain loop and Spectral Python."""

import h5py
import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError, ChecksumError, FileError, StageNotApplicable
from openhsi_shared.files import CubeWriter, open_cube
from openhsi_shared.jobs.stages.angle import SpectralAngle
from tests.support.cubes import make_cube
from tests.support.stage_runs import line_format, run_in_blocks

WAVELENGTHS = np.arange(450.0, 850.0, 50.0)
SPECTRUM = [0.04, 0.08, 0.1, 0.07, 0.05, 0.3, 0.5, 0.52]
PAIRS = list(zip(WAVELENGTHS, SPECTRUM, strict=True))
LIBRARY = """Name: grass
First X Value: 450

# comment
wavelength;value
450;0.04\n500;0.08\n550;.1\n575;-1.23e34
600.0;0.07\n650;0.05\n700;0.3\n750;0.5\n800;0.52
"""


def made_lines(dtype="float32"):
    lines = np.random.default_rng(5).uniform(1, 4000, (19, 6, 8)).astype(dtype)
    lines[4, 2] = 0
    lines[5, 3] = (np.array(SPECTRUM) * 5000).astype(dtype)
    return lines


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32", "float64"])
def test_the_angle_is_that_of_a_plain_loop_and_of_spectral_python(dtype):
    spectral = pytest.importorskip("spectral")
    lines = made_lines(dtype)
    found = run_in_blocks(SpectralAngle(SPECTRUM), lines, 4)[:, :, 0]
    for i, x in np.ndindex(found.shape):
        pixel = lines[i, x].astype(float)
        with np.errstate(all="ignore"):
            cosine = pixel @ SPECTRUM / np.linalg.norm(pixel) / np.linalg.norm(SPECTRUM)
            expected = np.arccos(np.clip(cosine, -1, 1))
        assert found[i, x] == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert np.isnan(found[4, 2])
    assert found[5, 3] < 1e-3
    with np.errstate(all="ignore"):
        theirs = spectral.spectral_angles(lines.astype(float), np.array([SPECTRUM]))[:, :, 0]
    assert np.allclose(found, theirs, atol=1e-6, equal_nan=True)


def test_the_angle_does_not_depend_on_brightness_and_the_opposite_is_pi():
    lines = made_lines("float64")
    one = run_in_blocks(SpectralAngle(SPECTRUM), lines, 4)
    other = run_in_blocks(SpectralAngle([value * 7 for value in SPECTRUM]), lines * 1e-9, 4)
    assert np.allclose(one, other, atol=1e-6, equal_nan=True)
    opposite = run_in_blocks(SpectralAngle(SPECTRUM), -lines, 4)
    assert np.allclose(opposite, np.pi - one, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_pixel_without_a_number_is_nan(bad):
    lines = made_lines()
    lines[7, 1, 3] = bad
    found = run_in_blocks(SpectralAngle(SPECTRUM), lines, 4)[:, :, 0]
    assert np.argwhere(np.isnan(found)).tolist() == [[4, 2], [7, 1]]


@pytest.mark.parametrize("factor", [1e200, 1e-200])
def test_numbers_whose_squares_are_none_have_no_angle(factor):
    lines = made_lines("float64")
    lines[7, 1] *= factor
    found = run_in_blocks(SpectralAngle(SPECTRUM), lines, 4)[:, :, 0]
    assert np.argwhere(np.isnan(found)).tolist() == [[4, 2], [7, 1]]


def test_blocks_of_every_size_give_the_same_bits():
    lines = made_lines()
    whole = run_in_blocks(SpectralAngle(SPECTRUM), lines, 19)
    for size in range(1, 19):
        assert np.array_equal(run_in_blocks(SpectralAngle(SPECTRUM), lines, size), whole, equal_nan=True)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("".join(f"{nm} {value}\n" for nm, value in PAIRS), "nm"),
        (LIBRARY, "nm"),
        ("\ufeff" + "".join(f"{nm / 1e3},{value}  # {nm}\r\n" for nm, value in PAIRS[::-1]), "um"),
    ],
)
def test_a_spectrum_is_read_from_a_text_and_the_stage_has_its_values(tmp_path, text, units):
    path = tmp_path / "grass.txt"
    path.write_text(text, encoding="utf-8")
    stage = SpectralAngle(path=path, units=units)
    path.unlink()
    assert stage == SpectralAngle(SPECTRUM, wavelengths_nm=list(WAVELENGTHS))
    assert stage.path is None
    assert stage.spectrum == tuple(SPECTRUM)
    lines = made_lines()
    found = run_in_blocks(stage, lines, 4, wavelengths_nm=WAVELENGTHS)
    assert np.array_equal(found, run_in_blocks(SpectralAngle(SPECTRUM), lines, 4), equal_nan=True)


def test_a_spectrum_is_interpolated_to_the_bands(tmp_path):
    path = tmp_path / "line.txt"
    path.write_text("400 0\n900 1\n")
    found = run_in_blocks(SpectralAngle(path=path), made_lines(), 4, wavelengths_nm=WAVELENGTHS)
    expected = run_in_blocks(SpectralAngle((WAVELENGTHS - 400) / 500), made_lines(), 4)
    assert np.allclose(found, expected, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no columns of numbers"),
        ("grass\n", "no columns of numbers"),
        ("1 2 3\n", r"\[3\] columns"),
        ("1 2\n3\n", r"\[1, 2\] columns"),
        ("400 1\nend\n", "line 2 is 'end'"),
        ("400 1\n400 2\n", "twice"),
        ("0.1\n-1.23e34\n", "no value"),
        ("0.1\nnan\n", "no value"),
        ("400 1\0\n", "is no spectrum"),
    ],
)
def test_a_text_that_is_no_spectrum_is_refused(tmp_path, text, message):
    path = tmp_path / "other.txt"
    path.write_text(text)
    with pytest.raises(FileError, match=message):
        SpectralAngle(path=path)
    with pytest.raises(FileError, match="cannot be read"):
        SpectralAngle(path=tmp_path / "missing.txt")


@pytest.fixture
def cube_path(tmp_path):
    """A cube of float32 with its wavelengths, in which pixels are missing."""
    cube = make_cube(6, 5, 8, np.float32, wavelengths_nm=WAVELENGTHS)
    cube.memory[2, 3, 4] = np.nan
    with CubeWriter(6, (5, 8), np.float32) as writer:
        return writer.write(cube, [tmp_path]).path


def test_the_mean_of_a_cube_is_a_spectrum(cube_path):
    with open_cube(cube_path) as cube:
        expected = np.nanmean(np.asarray(cube.lines, np.float64), axis=(0, 1))
    stage = SpectralAngle(path=str(cube_path))
    assert np.allclose(stage.spectrum, expected, rtol=1e-12)
    assert stage.wavelengths_nm == tuple(WAVELENGTHS)


def test_a_damaged_cube_is_no_spectrum(cube_path):
    content = bytearray(cube_path.read_bytes())
    with h5py.File(cube_path) as file:
        content[file["datacube"].id.get_chunk_info(0).byte_offset + 9] ^= 1
    cube_path.write_bytes(content)
    with pytest.raises(ChecksumError):
        SpectralAngle(path=cube_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either spectrum="),
        ({"spectrum": SPECTRUM, "path": "x"}, "either spectrum="),
        ({"path": "x", "wavelengths_nm": [1]}, "are those of the file"),
        ({"spectrum": "green"}, "must be numbers"),
        ({"spectrum": [1]}, "two or more finite numbers"),
        ({"spectrum": [1, np.nan]}, "two or more finite numbers"),
        ({"spectrum": [0, 0]}, "zero in all bands"),
        ({"spectrum": [1, 2], "wavelengths_nm": [400]}, "two or more finite numbers"),
        ({"spectrum": [1, 2], "wavelengths_nm": [400, 500, 600]}, "2 values and 3 wavelengths"),
        ({"spectrum": [1, 2], "wavelengths_nm": [500, 400]}, "increasing order"),
        ({"spectrum": [1, 2], "wavelengths_nm": [0.4, 0.9]}, "micrometers"),
    ],
)
def test_what_is_no_spectrum_is_refused_where_it_is_given(values, message):
    with pytest.raises(ArgumentError, match=message):
        SpectralAngle(**values)


def test_lines_that_do_not_have_its_bands_are_refused_before_the_run():
    lines = made_lines()
    with pytest.raises(StageNotApplicable, match="has 3 values, and the lines have 8 bands"):
        SpectralAngle([1, 2, 3]).check(line_format(lines))
    known = SpectralAngle([1, 2], wavelengths_nm=[500, 700])
    with pytest.raises(StageNotApplicable, match="those of the lines are unknown"):
        known.check(line_format(lines))
    with pytest.raises(StageNotApplicable, match=r"from 500 to 700 nm, the lines from 450 to 800 nm.*select_bands"):
        known.check(line_format(lines, WAVELENGTHS))
    with pytest.raises(StageNotApplicable, match="zero at all bands"):
        SpectralAngle([1, 0, 0], wavelengths_nm=[300, 400, 900]).check(line_format(lines, WAVELENGTHS))
    with pytest.raises(StageNotApplicable, match="2 or more"):
        SpectralAngle([1, 2]).check(line_format(lines[:, :, :1]))
    with pytest.raises(StageNotApplicable, match="real numbers"):
        SpectralAngle(SPECTRUM).check(line_format(lines.astype(complex)))
