"""The cube viewer: what is in its page, and what the mouse does there, in a real browser."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openhsi_shared import SharedDataCube, open_cube
from openhsi_shared.errors import ArgumentError
from openhsi_shared.viewer.cube_viewer import CubeViewer, cube_viewer, describe, sample_of

WAVELENGTHS_NM = np.linspace(400.0, 1000.0, 31)
SHAPE = (24, 12, 31)


def numbered_lines() -> np.ndarray:
    """Every pixel of line i, pixel j, band k is 1000 i + 40 j + k."""
    i, j, k = np.indices(SHAPE)
    return (1000 * i + 40 * j + k).astype(np.uint16)


def coloured_lines() -> np.ndarray:
    """Red in the upper left, green in the upper right, blue in the lower left, black in the lower right."""
    lines = np.zeros((40, 20, 31), np.uint16)
    for along, cross, (low, high) in ((0, 0, (620, 680)), (20, 0, (530, 580)), (0, 10, (440, 500))):
        inside = (low <= WAVELENGTHS_NM) & (high >= WAVELENGTHS_NM)
        lines[along : along + 20, cross : cross + 10, inside] = 4000
    return lines


# ---- the sample ----


def test_a_small_cube_is_in_the_page_as_it_is():
    sample = sample_of(numbered_lines(), WAVELENGTHS_NM, 8.0)
    assert np.array_equal(sample.values, numbered_lines())
    assert np.array_equal(sample.wavelengths, WAVELENGTHS_NM)
    assert (sample.step, sample.n_bands_each) == (1, 1.0)
    assert "every line, pixel and band" in describe(sample)


def test_of_a_large_one_pixels_are_picked_and_bands_averaged():
    rng = np.random.default_rng(3)
    lines = rng.integers(0, 4096, (70, 90, 300), dtype=np.uint16)
    wavelengths = np.linspace(400, 1000, 300)
    sample = sample_of(lines, wavelengths, 0.1)
    assert sample.values.nbytes <= 0.15e6
    edges = np.linspace(0, 300, 129).astype(int)
    for band in (0, 1, 77, 127):
        inside = slice(edges[band], edges[band + 1])
        expected = lines[:: sample.step, :: sample.step, inside].mean(axis=-1)
        assert np.abs(sample.values[..., band] - expected).max() <= 0.51
        assert sample.wavelengths[band] == pytest.approx(wavelengths[inside].mean())
    assert f"1 of {sample.step} lines and pixels, means of about 2.3 bands" in describe(sample)


def test_radiances_stay_fractions():
    lines = np.linspace(0, 1, 2 * 3 * 31, dtype=np.float32).reshape(2, 3, 31)
    assert np.array_equal(sample_of(lines, None, 8.0).values, lines)


def test_what_is_no_cube_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="int is not a cube: expected an opened cube"):
        cube_viewer(7)
    with pytest.raises(ArgumentError, match="nothing collected yet"):
        cube_viewer(np.zeros((0, 4, 5)))
    with pytest.raises(ArgumentError, match="megabytes=0 must be > 0"):
        cube_viewer(numbered_lines(), megabytes=0)
    with pytest.raises(ArgumentError, match="expected \\(31,\\)"):
        cube_viewer(numbered_lines(), [1, 2])


def test_a_camera_an_opened_cube_and_its_path_are_explored_alike(tmp_path):
    with SharedDataCube(n_lines=40, resolution=(20, 31), pixel_format="Mono12") as cube:
        for line in coloured_lines()[:30]:
            cube.put(line)
        of_camera = cube_viewer(cube)
        path = cube.save(tmp_path).result().path
    with open_cube(path) as opened:
        of_opened = cube_viewer(opened)
    for viewer in (of_camera, of_opened, cube_viewer(path), cube_viewer(str(path))):
        assert np.array_equal(viewer.sample.values, coloured_lines()[:30])


@pytest.mark.parametrize(
    "lines", [np.full((1, 1, 1), 7), np.full((3, 400, 5), np.nan), np.zeros((500, 2, 3), np.uint8)]
)
def test_odd_cubes_make_a_page(lines):
    page = cube_viewer(lines).html
    assert "embed_item" in page


# ---- the page ----


def test_the_page_brings_everything_along():
    """Also where holoviews has brought panel, which has scripts of its own for every page of bokeh's."""
    import holoviews

    holoviews.extension("bokeh", logo=False)
    page = cube_viewer(coloured_lines(), WAVELENGTHS_NM).html
    assert not re.findall(r"<(?:script|link)[^>]*(?:src|href)=", page)
    assert len(page) > 1_000_000


class Page:
    """The viewer in a browser; data of its models is read by name."""

    def __init__(self, look: Any, viewer: CubeViewer, path: Path) -> None:
        self.viewer = viewer
        self.tab = look(viewer.save(path).as_uri())
        self.page = self.tab.page
        self.page.wait_for_function("window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle")

    def data(self, name: str, column: str) -> list[Any]:
        values = f"Bokeh.documents[0].get_model_by_name('{name}').data.{column}"
        found: list[Any] = self.page.evaluate(f"Array.from({values}, (v) => v?.length ? Array.from(v) : v)")
        return found

    def point(self, line: float, pixel: float) -> tuple[float, float]:
        """Where on the screen a pixel of the cube is."""
        code = """([line, pixel]) => {
            const view = Bokeh.index.find_one_by_id(Bokeh.documents[0].get_model_by_name('picture').id)
            const {left, top} = view.canvas_view.el.getBoundingClientRect()
            return [left + view.frame.x_scale.compute(line), top + view.frame.y_scale.compute(pixel)]
        }"""
        x, y = self.page.evaluate(code, [line, pixel])
        return x, y

    def wait_for(self, condition: str) -> None:
        self.page.wait_for_function(
            f"() => {{ const named = (n) => Bokeh.documents[0].get_model_by_name(n); return {condition} }}"
        )


@pytest.fixture
def page_of(look, tmp_path):
    return lambda lines: Page(look, cube_viewer(lines, WAVELENGTHS_NM, robust=False), tmp_path / "cube.html")


@pytest.mark.browser
def test_moving_over_a_pixel_shows_its_spectrum(page_of):
    page = page_of(numbered_lines())
    for line, pixel in ((5, 3), (23, 11), (0, 0)):
        page.page.mouse.move(*page.point(line, pixel))
        page.wait_for(f"named('here').data.y[0] == {1000 * line + 40 * pixel}")
        assert page.data("here", "y") == numbered_lines()[line, pixel].tolist()
        assert page.data("here", "x") == WAVELENGTHS_NM.tolist()
    assert page.tab.hosts == set(), "it sent a request"
    assert page.tab.errors == []


@pytest.mark.browser
def test_clicks_keep_spectra_the_fifth_in_place_of_the_first(page_of):
    page = page_of(numbered_lines())
    places = [(2, 1), (9, 4), (15, 7), (20, 2), (11, 10)]
    for line, pixel in places:
        page.page.mouse.click(*page.point(line, pixel))
        page.wait_for(f"Array.from(named('pins').data.line).includes({line})")
    kept = [places[4], *places[1:4]]
    assert page.data("pins", "line") == [line for line, _ in kept]
    assert page.data("pins", "pixel") == [pixel for _, pixel in kept]
    assert page.data("pins", "ys") == [numbered_lines()[place].tolist() for place in kept]


@pytest.mark.browser
def test_a_double_click_keeps_one_spectrum(page_of):
    page = page_of(numbered_lines())
    page.page.mouse.dblclick(*page.point(9, 4))
    page.page.mouse.click(*page.point(15, 7))
    page.wait_for("Array.from(named('pins').data.line).includes(15)")
    assert [line for line in page.data("pins", "line") if line is not None and line == line] == [9, 15]


@pytest.mark.browser
def test_the_slider_shows_one_wavelength(page_of):
    page = page_of(numbered_lines())
    page.page.locator(".noUi-handle").first.focus()
    for _ in range(3):
        page.page.keyboard.press("ArrowRight")
    page.wait_for("named('band').visible && named('mark').location > 455")
    assert page.page.evaluate("Bokeh.documents[0].get_model_by_name('mark').location") == WAVELENGTHS_NM[3]
    band = numbered_lines()[..., 3].T.astype(float)
    low, high = np.percentile(band, [2, 98])
    shown = np.array(page.data("plane", "image")[0]).reshape(band.shape)
    assert np.allclose(shown, (band - low) / (high - low), atol=1e-4)
    page.page.get_by_text("colours", exact=True).click()
    page.wait_for("named('colours').visible && !named('band').visible")


@pytest.mark.browser
def test_the_colours_of_the_scene_are_at_their_places(page_of, tmp_path):
    from PIL import Image

    page = page_of(coloured_lines())
    page.page.screenshot(path=tmp_path / "page.png")
    screen = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    for (line, pixel), colour in {(10, 5): 0, (30, 5): 1, (10, 15): 2}.items():
        x, y = page.point(line, pixel)
        assert screen[int(y), int(x)].tolist() == [255 if k == colour else 0 for k in range(3)]
    x, y = page.point(30, 15)
    assert screen[int(y), int(x)].max() == 0


@pytest.mark.browser
def test_a_notebook_gets_it_in_a_frame(look, tmp_path):
    viewer = cube_viewer(coloured_lines(), WAVELENGTHS_NM)
    (tmp_path / "cell.html").write_text(f"<html><body>{viewer._repr_html_()}</body></html>")
    tab = look((tmp_path / "cell.html").as_uri())
    frame = tab.page.frame_locator("iframe")
    frame.get_by_text("one wavelength").wait_for()
    assert tab.hosts == set()
