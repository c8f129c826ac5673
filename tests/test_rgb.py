"""Pictures of lines, against references computed another way."""

import doctest
import threading
import tracemalloc

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError
from openhsi_shared.rgb import (
    PREVIEW_RANGES_NM,
    SHOW_NM,
    bands,
    decimation,
    mean_of_bands,
    picture,
    preview_bands,
    stretch,
    thinned,
)

WAVELENGTHS_NM = np.linspace(400, 1000, 121)  # every 5 nm


def indices_of(band, n_bands):
    return np.arange(n_bands)[band].tolist()


def scene(colours, n_bands=121, dtype=np.uint16):
    """Lines whose pixels have the given colours (n, X, 3) in the ranges of a preview, and 7 elsewhere."""
    colours = np.asarray(colours)
    lines = np.full((*colours.shape[:2], n_bands), 7, dtype)
    for channel, (low, high) in enumerate(PREVIEW_RANGES_NM):
        inside = (low <= WAVELENGTHS_NM) & (high >= WAVELENGTHS_NM)
        lines[..., inside] = colours[..., channel, None]
    return lines


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(bands).failed == 0


def test_a_preview_takes_exactly_the_bands_of_its_ranges():
    bands = preview_bands(WAVELENGTHS_NM, 121)
    for band, (low, high) in zip(bands, PREVIEW_RANGES_NM, strict=True):
        assert isinstance(band, slice)
        assert indices_of(band, 121) == [i for i, nm in enumerate(WAVELENGTHS_NM) if low <= nm <= high]


def test_a_single_wavelength_takes_the_bands_within_15_nm():
    bands = preview_bands(WAVELENGTHS_NM, 121, SHOW_NM)
    assert [WAVELENGTHS_NM[band].tolist() for band in bands] == [
        [625, 630, 635, 640, 645, 650, 655],
        [535, 540, 545, 550, 555, 560, 565],
        [455, 460, 465, 470, 475, 480, 485],
    ]


def test_a_single_wavelength_between_bands_far_apart_takes_the_nearest():
    bands = preview_bands([420, 500, 580, 660], 4, SHOW_NM)
    assert [indices_of(band, 4) for band in bands] == [[3], [2], [1]]


def test_bands_that_are_no_neighbours_are_found_too():
    wavelengths = WAVELENGTHS_NM[::-1].reshape(11, 11).T.ravel()
    for band, (low, high) in zip(preview_bands(wavelengths, 121), PREVIEW_RANGES_NM, strict=True):
        assert indices_of(band, 121) == [i for i, nm in enumerate(wavelengths) if low <= nm <= high]


@pytest.mark.parametrize(
    ("wavelengths", "ranges"),
    [
        (None, PREVIEW_RANGES_NM),
        (np.arange(800), PREVIEW_RANGES_NM),  # indices, as openhsi writes them: 640 is no nanometre here
        (np.arange(800.0), SHOW_NM),
        (np.full(800, np.nan), SHOW_NM),
        (np.linspace(900, 1700, 800), PREVIEW_RANGES_NM),
        (np.linspace(900, 1700, 800), SHOW_NM),
        (np.linspace(400, 520, 800), SHOW_NM),
    ],
)
def test_without_wavelengths_for_a_colour_the_picture_is_grey(wavelengths, ranges):
    assert preview_bands(wavelengths, 800, ranges) == [slice(0, 800)]


def test_wavelengths_of_another_cube_are_refused():
    with pytest.raises(ArgumentError, match=r"shape \(121,\), expected \(800,\): one for each band"):
        preview_bands(WAVELENGTHS_NM, 800)


@pytest.mark.parametrize("colour", [(670, 640), "red", (640,), (1, 2, 3), (640, None), float("nan")])
def test_a_colour_that_is_no_range_is_refused_by_its_value(colour):
    with pytest.raises(ArgumentError, match="one wavelength or \\(first, last\\) in nm, got"):
        preview_bands(WAVELENGTHS_NM, 121, (colour, 550, 470))


@pytest.mark.parametrize("n", [1, 15, 16, 17, 33, 80, 800])
def test_a_preview_takes_at_most_16_bands_of_a_colour_around_its_middle(n):
    indices = np.random.default_rng(n).permutation(1000)[:n]
    for band in (slice(70, 70 + n), indices):
        all_of_them = indices_of(band, 1000)
        taken = indices_of(thinned([band, band, band])[1], 1000)
        assert min(n, 8) <= len(taken) <= 16
        places = [all_of_them.index(number) for number in taken]
        assert len(set(np.diff(places))) <= 1
        assert abs(sum(places) / len(places) - (n - 1) / 2) <= 0.5


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4", "f8", ">u2", ">f4"])
@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("all_bands", [slice(0, 121), slice(0, 121, 6)])
def test_the_mean_is_that_of_python(dtype, step, all_bands):
    lines = np.random.default_rng(1).integers(0, 200, (10, 7, 121)).astype(dtype)
    bands = [slice(40, 60), np.array([3, 1, 90]), all_bands]  # few bands, and many, are added in different ways
    means = mean_of_bands(lines, bands, step=step)
    assert means.dtype == np.float32
    for line, at in enumerate(range(0, 10, step)):
        for pixel in range(7):
            values = lines[at, pixel].tolist()
            expected = [sum(values[40:60]) / 20, (values[3] + values[1] + values[90]) / 3]
            expected.append(sum(values[all_bands]) / len(values[all_bands]))
            assert means[line, pixel] == pytest.approx(expected, rel=1e-6)


def test_the_largest_pixels_do_not_overflow():
    lines = np.full((2, 3, 4000), 65535, np.uint16)
    assert (mean_of_bands(lines, [slice(0, 4000)]) == 65535).all()


def test_the_seams_between_blocks_do_not_show(monkeypatch):
    lines = np.random.default_rng(2).integers(0, 4096, (23, 5, 40), dtype=np.uint16)
    expected = lines[::2].mean(-1, dtype=np.float64)
    for block_pixels, read_bytes in [(1, 1), (200, 800), (600, 2000), (10**6, 10**6)]:
        monkeypatch.setattr(bands, "BLOCK_PIXELS", block_pixels)
        monkeypatch.setattr(bands, "READ_BYTES", read_bytes)
        assert np.allclose(mean_of_bands(lines, [slice(0, 40)], step=2)[..., 0], expected, rtol=1e-6)


def test_lines_with_a_stride_as_in_a_slot_are_averaged_alike():
    memory = np.random.default_rng(3).integers(0, 4096, (6, 500), dtype=np.uint16)
    lines = np.lib.stride_tricks.as_strided(memory, (6, 10, 40), (1000, 80, 2))
    assert np.array_equal(
        mean_of_bands(lines, [slice(3, 9)]), mean_of_bands(np.ascontiguousarray(lines), [slice(3, 9)])
    )


def test_what_is_no_number_is_left_out_of_the_mean():
    lines = np.ones((2, 3, 6), np.float32) * np.arange(6, dtype=np.float32)
    lines[0, 0, 5] = np.nan
    lines[0, 1, :2] = np.inf
    lines[1, 2] = np.nan
    lines[1, 1, 0], lines[1, 1, 1] = np.inf, -np.inf
    means = mean_of_bands(lines, [slice(0, 6), slice(0, 2)])
    assert means[0, :, 0].tolist() == [2.0, 3.5, 2.5]
    assert means[1, :, 0].tolist()[:2] == [2.5, 3.5]
    assert np.isnan(means[1, 2]).all()
    assert np.isnan(means[0, 1, 1])
    assert np.isnan(means[1, 1, 1])


def test_doubles_beyond_single_precision_give_no_warning():
    lines = np.full((1, 2, 3), 1e300)
    lines[0, 1, 0] = 5.0
    assert mean_of_bands(lines, [slice(0, 3)])[0, 1, 0] == 5.0


def test_a_frame_is_no_lines():
    with pytest.raises(ArgumentError, match=r"shape \(4, 5\), expected \(along_track, cross_track, wavelength\)"):
        mean_of_bands(np.zeros((4, 5)), [slice(0, 5)])


def test_no_lines_give_no_means():
    assert mean_of_bands(np.zeros((0, 4, 5), np.uint16), [slice(0, 5)]).shape == (0, 4, 1)


def test_the_cube_is_never_copied_as_floats():
    lines = np.zeros((400, 100, 800), np.uint16)  # 64 MB, as floats 128 MB
    tracemalloc.start()
    try:
        mean_of_bands(lines, [slice(0, 800)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6e6


class FromFile:
    """Stands for lines in a file: knows shape and type, and gives arrays for slices, noting what was read."""

    def __init__(self, lines):
        self._lines, self.shape, self.dtype, self.read = lines, lines.shape, lines.dtype, []

    def __getitem__(self, key):
        self.read.append(key)
        return self._lines[key]


def test_lines_in_a_file_are_read_in_order_and_each_once(monkeypatch):
    lines = FromFile(np.random.default_rng(4).integers(0, 9, (50, 4, 10), dtype=np.uint16))
    monkeypatch.setattr(bands, "READ_BYTES", 8 * 80)
    monkeypatch.setattr(bands, "BLOCK_PIXELS", 2 * 40)
    means = mean_of_bands(lines, [slice(0, 10)], step=3)
    assert np.allclose(means[..., 0], lines._lines[::3].mean(-1))
    assert [line for key in lines.read for line in range(50)[key]] == list(range(0, 50, 3))
    assert len(lines.read) == 3


def test_two_threads_may_average_at_once():
    lines = np.random.default_rng(5).integers(0, 4096, (64, 64, 200), dtype=np.uint16)
    found = {}

    def average(k):
        found[k] = mean_of_bands(lines, [slice(k, k + 50)])

    threads = [threading.Thread(target=average, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(4):
        assert np.allclose(found[k][..., 0], lines[..., k : k + 50].mean(-1), rtol=1e-6)


def test_colours_come_out_where_they_are():
    colours = np.zeros((5, 4, 3))
    colours[0, 3], colours[4, 0], colours[2, 1] = (255, 0, 0), (0, 255, 0), (10, 20, 200)
    image = picture(mean_of_bands(scene(colours), preview_bands(WAVELENGTHS_NM, 121)))
    assert image.shape == (4, 5, 3)
    assert image.dtype == np.uint8
    assert np.array_equal(image, colours.swapaxes(0, 1))


def test_a_grey_picture_has_two_axes():
    lines = np.zeros((5, 4, 10), np.uint16)
    lines[1, 3], lines[2, 0] = 4000, 2000
    image = picture(mean_of_bands(lines, preview_bands(None, 10)))
    expected = np.zeros((4, 5))
    expected[3, 1], expected[0, 2] = 255, 128
    assert np.array_equal(image, expected)


def test_a_side_above_4096_is_decimated_by_a_whole_number():
    means = np.zeros((10_000, 2, 3), np.float32)
    means[::3] = np.arange(3334)[:, None, None]
    image = picture(means)
    assert image.shape == (2, 3334, 3)
    assert np.array_equal(image[0, :, 0], np.rint(255 * np.arange(3334) / 3333))
    assert picture(np.zeros((2, 5000, 1), np.float32)).shape == (2500, 2)
    assert max(n // decimation(n) for n in range(1, 50_000, 7)) <= 4096


def test_the_default_stretch_goes_from_the_least_to_the_largest_of_all_channels():
    image = np.array([[100.0, 200.0, 300.0]])
    assert stretch(image).tolist() == [[0, 128, 255]]


def test_robust_cuts_off_the_tails():
    image = np.arange(1001.0)
    image[0], image[1000] = -1e6, 1e6
    for robust, tail in ((True, 2), (2, 2), (10.0, 10)):
        low, high = np.percentile(image, [tail, 100 - tail])
        expected = [round(255 * min(1, max(0, (value - low) / (high - low)))) for value in image.tolist()]
        assert np.abs(stretch(image, robust=robust).astype(int) - expected).max() <= 1
    assert np.unique(stretch(image)).size == 3


def test_robust_zero_cuts_off_nothing():
    image = np.arange(100.0)
    assert np.array_equal(stretch(image, robust=0), stretch(image))


def test_robust_shows_a_few_bright_pixels_before_nothing():
    image = np.zeros(1000)
    image[5], image[6] = 100, 50
    assert stretch(image, robust=True)[[5, 6, 7]].tolist() == [255, 128, 0]


@pytest.mark.parametrize("robust", [-1, 50, 99.5, float("nan")])
def test_a_percentile_that_cannot_be_is_refused(robust):
    with pytest.raises(ArgumentError, match="True or a percentile of at least 0 and below 50"):
        stretch(np.arange(9.0), robust=robust)


def test_equalised_values_come_out_about_equally_often():
    image = np.random.default_rng(6).exponential(100, (200, 100))
    counts = np.bincount(stretch(image, hist_eq=True).ravel() // 16, minlength=16)
    assert counts.min() > 0.9 * counts.mean()
    assert counts.max() < 1.1 * counts.mean()
    order = np.argsort(image.ravel())
    assert (np.diff(stretch(image, hist_eq=True).ravel()[order].astype(int)) >= 0).all()


def test_two_values_equalised_are_black_and_white():
    assert stretch(np.array([3.0, 3.0, 9.0]), hist_eq=True).tolist() == [0, 0, 255]


@pytest.mark.parametrize("robust", [True, 5])
def test_robust_and_equalised_exclude_each_other(robust):
    with pytest.raises(ArgumentError, match=f"robust={robust} and hist_eq=True are mutually exclusive: omit one"):
        stretch(np.arange(9.0), robust=robust, hist_eq=True)


@pytest.mark.parametrize("options", [{}, {"robust": True}, {"robust": 10}, {"hist_eq": True}])
@pytest.mark.parametrize(("value", "expected"), [(65535, 255), (0.1, 255), (0, 0), (-3.5, 0), (np.nan, 0), (np.inf, 0)])
def test_one_value_everywhere_is_white_or_black(options, value, expected):
    image = np.full((3, 4), value, np.float32)
    assert np.unique(stretch(image, **options)).tolist() == [expected]


def test_rounding_is_not_stretched_into_a_picture():
    means = mean_of_bands(np.full((3, 4, 121), 0.7, np.float32), [slice(0, 121), slice(0, 13), slice(0, 7)])
    assert np.unique(means).size > 1  # they differ in their last digits
    assert np.unique(picture(means)).tolist() == [255]


@pytest.mark.parametrize("options", [{}, {"robust": True}, {"hist_eq": True}])
def test_what_is_no_number_is_black_and_spoils_nothing(options):
    image = np.array([np.nan, 1, 2, 3, np.inf, -np.inf])
    assert stretch(image, **options).tolist()[:1] == [0]
    assert stretch(image, **options)[[1, 3]].tolist() == [0, 255]
    assert stretch(image, **options)[4:].tolist() == [0, 0]


def test_numbers_at_the_end_of_single_precision_give_no_warning():
    image = np.array([-3e38, 0, 3e38], np.float32)
    assert stretch(image)[[0, 2]].tolist() == [0, 255]


@pytest.mark.parametrize("shape", [(1, 644, 3), (1, 1, 1), (7, 1, 3)])
def test_a_single_line_or_pixel_is_a_picture(shape):
    means = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert picture(means).shape[:2] == (shape[1], shape[0])


def test_a_picture_takes_no_copy_of_the_means():
    means = np.random.default_rng(5).normal(1000, 100, (4096, 300, 3)).astype(np.float32)
    tracemalloc.start()
    image = picture(means, robust=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < image.nbytes + 0.6 * means.nbytes  # the 131072 pixels of the percentiles are copied several times
    assert image.shape == (300, 4096, 3)
