"""What is shown, drawn for real by both libraries."""

import io
import logging
import subprocess
import sys

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError, UnknownKeyword
from openhsi_shared.show import show_array, show_lines

WAVELENGTHS_NM = np.linspace(400, 1000, 121)
RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)


@pytest.fixture(scope="module")
def hv():
    import holoviews

    return holoviews


@pytest.fixture
def lines():
    """30 lines of 20 pixels, black but for red at line 2, pixel 19; green at 29, 0; blue at 10, 10."""
    values = np.zeros((30, 20, 121), np.uint16)
    for line, pixel, middle_nm in ((2, 19, 640), (29, 0, 550), (10, 10, 470)):
        values[line, pixel, np.abs(WAVELENGTHS_NM - middle_nm) <= 15] = 4095
    return values


def pixels_of(element):
    """The picture in the order of the screen: the first row is the one that is drawn at the top."""
    channels = [element.dimension_values(k, flat=False) for k in range(2, 2 + len(element.vdims))]
    return np.squeeze(np.dstack(channels)).astype(int)  # rows from the least value of the inverted axis on


@pytest.mark.parametrize("plot_lib", ["bokeh", "matplotlib"])
def test_colours_stand_where_they_are(hv, lines, plot_lib):
    element = show_lines(lines, WAVELENGTHS_NM, plot_lib=plot_lib)
    assert isinstance(element, hv.RGB)
    pixels = pixels_of(element)
    assert pixels.shape == (20, 30, 3)
    assert [tuple(pixels[at]) for at in ((19, 2), (0, 29), (10, 10), (0, 0))] == [RED, GREEN, BLUE, BLACK]
    assert element.dimension_values("along-track", expanded=False).tolist() == pytest.approx(list(range(30)))
    assert element.dimension_values("cross-track", expanded=False).tolist() == pytest.approx(list(range(20)))


def test_bokeh_draws_labelled_axes_at_true_aspect(hv, lines):
    figure = hv.render(show_lines(lines, WAVELENGTHS_NM), backend="bokeh")
    assert (figure.xaxis[0].axis_label, figure.yaxis[0].axis_label) == ("along-track", "cross-track")
    assert (figure.x_range.start, figure.x_range.end) == (-0.5, 29.5)
    assert (figure.y_range.start, figure.y_range.end) == (19.5, -0.5)  # pixel 0 is at the top
    assert figure.frame_width / figure.frame_height == pytest.approx(30 / 20, rel=0.01)
    assert figure.match_aspect  # also when one zooms, or where the frame cannot have the aspect of the cube


def test_matplotlib_draws_labelled_axes_at_true_aspect(hv, lines):
    figure = hv.render(show_lines(lines, WAVELENGTHS_NM, plot_lib="matplotlib"), backend="matplotlib")
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("along-track", "cross-track")
    assert axes.yaxis_inverted()
    assert axes.get_aspect() == 1
    figure.savefig(io.BytesIO())  # only now the axes get their place
    box = axes.transData.transform([(0, 0), (1, 1)])
    assert abs(box[1, 0] - box[0, 0]) == pytest.approx(abs(box[1, 1] - box[0, 1]))


@pytest.mark.parametrize("shape", [(1, 644), (100_000, 8), (1, 1), (3, 5000)])
@pytest.mark.parametrize("plot_lib", ["bokeh", "matplotlib"])
def test_cubes_of_every_aspect_are_drawn(hv, shape, plot_lib):
    lines = np.random.default_rng(0).integers(0, 9, (*shape, 3), dtype=np.uint8)
    element = show_lines(lines, plot_lib=plot_lib)
    assert isinstance(element, hv.Image)
    assert max(pixels_of(element).shape, default=1) <= 4096
    assert element.bounds.lbrt() == (-0.5, -0.5, shape[0] - 0.5, shape[1] - 0.5)
    hv.render(element, backend=plot_lib)


def test_without_wavelengths_the_mean_is_shown_in_grey(hv, lines):
    element = show_lines(lines)
    assert isinstance(element, hv.Image)
    assert not isinstance(element, hv.RGB)
    assert sorted(zip(*np.nonzero(pixels_of(element)), strict=True)) == [(0, 29), (10, 10), (19, 2)]
    hv.render(element, backend="bokeh")


def test_a_saturated_cube_is_white(hv):
    lines = np.full((4, 5, 6), 65535, np.uint16)
    assert show_lines(lines, quick_imshow=True).axes[0].images[0].get_clim() == (0, 255)
    from bokeh.models import LinearColorMapper  # here: all workers import this module, and this takes them long

    (mapper,) = hv.render(show_lines(lines), backend="bokeh").select({"type": LinearColorMapper})
    assert (mapper.low, mapper.high) == (0, 255)


def test_colours_may_be_chosen_as_wavelengths_or_ranges(lines):
    swapped = show_lines(lines, WAVELENGTHS_NM, red_nm=470, green_nm=(530, 590), blue_nm=(625.0, 655.0))
    pixels = pixels_of(swapped)
    assert tuple(pixels[10, 10]) == RED
    assert tuple(pixels[19, 2]) == BLUE


@pytest.mark.parametrize("quick", [False, True])
def test_the_stretch_is_handed_on(lines, quick):
    lines[5:25, 5:15] = 100
    plain, robust, equalised = (
        show_lines(lines, WAVELENGTHS_NM, quick_imshow=quick, **options)
        for options in ({"robust": False}, {"robust": 10}, {"hist_eq": True})
    )
    dark, light, even = (
        element.axes[0].images[0].get_array()[12, 7] if quick else pixels_of(element)[12, 7]
        for element in (plain, robust, equalised)
    )
    assert (int(dark[0]), int(light[0])) == (6, 255)
    assert 100 < even[0] < 255
    with pytest.raises(ArgumentError, match="mutually exclusive"):
        show_lines(lines, robust=True, hist_eq=True, quick_imshow=quick)


def test_options_of_holoviews_are_honoured(hv, lines):
    figure = hv.render(
        show_lines(lines, WAVELENGTHS_NM, title="pass 7", frame_width=321, data_aspect=2), backend="bokeh"
    )
    assert (figure.title.text, figure.frame_width) == ("pass 7", 321)
    figure = hv.render(show_lines(lines, width=400, height=300), backend="bokeh")
    assert (figure.width, figure.height, figure.frame_width, figure.frame_height) == (400, 300, None, None)
    figure = hv.render(
        show_lines(lines, plot_lib="matplotlib", fig_inches=(5, 6), cmap="viridis"), backend="matplotlib"
    )
    assert figure.get_size_inches().tolist() == [5, 6]
    assert figure.axes[0].images[0].get_cmap()(255)[:3] == pytest.approx((0.993, 0.906, 0.144), abs=0.01)  # its yellow


@pytest.mark.parametrize("plot_lib", ["bokeh", "matplotlib"])
def test_a_mistyped_option_is_refused_by_its_name(lines, plot_lib):
    with pytest.raises(UnknownKeyword, match=rf"unknown holoviews options of {plot_lib}: .*'cmpa'.*cmap"):
        show_lines(lines, plot_lib=plot_lib, cmpa="gray")


def test_an_unknown_library_is_refused(lines):
    for draw in (show_lines, show_array):
        with pytest.raises(ArgumentError, match=r"plot_lib='plotly' must be one of \('bokeh', 'matplotlib'\)"):
            draw(lines, plot_lib="plotly")


def test_an_empty_cube_says_so():
    for quick in (False, True):
        with pytest.raises(ArgumentError, match="nothing collected yet"):
            show_lines(np.zeros((0, 644, 800), np.uint16), quick_imshow=quick)


def test_quick_imshow_is_a_figure_with_the_picture(lines):
    figure = show_lines(lines, WAVELENGTHS_NM, quick_imshow=True, alpha=0.5)
    assert figure.get_size_inches().tolist() == [12, 3]
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("along-track", "cross-track")
    shown = axes.images[0].get_array()
    assert [tuple(shown[at]) for at in ((19, 2), (0, 29), (10, 10))] == [RED, GREEN, BLUE]
    assert axes.get_aspect() == 1
    assert axes.images[0].get_alpha() == 0.5
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    assert stream.getvalue().startswith(b"\x89PNG")


def test_quick_imshow_counts_all_lines_of_a_decimated_picture():
    axes = show_lines(np.ones((5000, 3, 2), np.uint8), quick_imshow=True).axes[0]
    assert axes.images[0].get_array().shape == (3, 2500)
    assert axes.get_xlim() == (-0.5, 4999.5)
    assert axes.get_ylim() == (2.5, -0.5)


def test_quick_imshow_refuses_a_mistyped_option(lines):
    with pytest.raises(UnknownKeyword, match=r"unknown keywords of imshow: .*'cmpa'"):
        show_lines(lines, quick_imshow=True, cmpa="gray")


def test_quick_imshow_needs_no_screen_and_nothing_heavy():
    heavy = {"holoviews", "bokeh", "matplotlib", "PIL", "scipy", "xarray"}
    script = (
        "import sys, numpy as np; from openhsi_shared.show import show_lines; "
        f"print(sorted({heavy} & set(sys.modules))); "
        "show_lines(np.ones((4, 5, 6)), quick_imshow=True); "
        "print('matplotlib.pyplot' in sys.modules, 'holoviews' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split("\n")[:2] == ["[]", "False False"]


def test_a_notebook_shows_the_figure_of_quick_imshow(lines, monkeypatch):
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)  # IPython warns where another one is active
    interactive = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell
    shell = interactive.instance()
    try:
        figure = show_lines(lines, quick_imshow=True)
        shell.display_formatter.active_types = ["text/plain", "image/png"]
        data, _ = shell.display_formatter.format(figure)
    finally:
        interactive.clear_instance()
    assert data["image/png"].startswith(b"\x89PNG")


@pytest.mark.parametrize("plot_lib", ["bokeh", "matplotlib"])
def test_a_frame_is_shown_as_it_is(hv, plot_lib):
    frame = np.arange(12, dtype=np.uint16).reshape(3, 4)
    element = show_array(frame, plot_lib)
    assert isinstance(element, hv.Image)
    assert np.array_equal(pixels_of(element), frame)
    figure = hv.render(element, backend=plot_lib)
    if plot_lib == "bokeh":
        assert (figure.xaxis[0].axis_label, figure.yaxis[0].axis_label) == ("wavelength index", "cross-track")


def test_an_array_of_frames_is_summed_over_its_last_axis(hv):
    cube = np.full((3, 4, 100), 60_000, np.uint16)
    cube[2, 1] = 1
    element = show_array(cube)
    assert pixels_of(element)[2, 1] == 100
    assert pixels_of(element)[0, 0] == 6_000_000
    assert element.kdims == ["along-track", "cross-track"]
    hv.render(element, backend="bokeh")


def test_a_1d_array_is_shown_as_text(caplog):
    with caplog.at_level(logging.INFO, logger="openhsi_shared.show"):
        assert show_array(np.array([7, 8, 2, 3, 4, 5, 6])) == "#(7) [7 8 2 3 4 5 6]"
    assert caplog.messages == ["#(7) [7 8 2 3 4 5 6]"]
    assert len(show_array(np.arange(10_000))) < 100


@pytest.mark.parametrize("shape", [(), (2, 3, 4, 5), (0, 4)])
def test_what_cannot_be_drawn_is_refused(shape):
    with pytest.raises(ArgumentError, match="cannot be shown, expected one to three axes, and not empty"):
        show_array(np.zeros(shape))


@pytest.mark.parametrize(("shape", "axis"), [((1, 644), "xaxis"), ((160, 644), "xaxis"), ((2000, 20), "yaxis")])
def test_numbers_at_a_short_axis_do_not_overlap(hv, shape, axis):
    figure = hv.render(show_lines(np.zeros((*shape, 3))))
    ticker = (
        getattr(figure, axis).ticker[0]
        if isinstance(getattr(figure, axis).ticker, list)
        else getattr(figure, axis).ticker
    )
    pixels = figure.frame_width if axis == "xaxis" else figure.frame_height
    assert 2 <= ticker.desired_num_ticks <= max(2, pixels / 40)
