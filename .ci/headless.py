"""What a small installation can do, and what it refuses: run in an empty directory (docs/platforms.md)."""

from collections.abc import Callable

from openhsi_shared import SharedRing, SharedSimulatedCamera, Viewer, cube_viewer, open_cube, record
from openhsi_shared.errors import PackageMissing


def refused(package: str, what: Callable[[], object]) -> None:
    """Check that `what` raises the one error that names the package."""
    try:
        what()
    except PackageMissing as error:
        if not str(error).endswith(f"pip install {package}"):
            raise
    else:
        raise AssertionError(f"this does not need {package}")


with SharedSimulatedCamera(n_lines=16, exposure_ms=1, processing_lvl=0) as cam:
    cam.collect(progress=False)
    path = cam.save("by_hand").result().path
    assert "<table" in cam._repr_html_()
    refused("bokeh tornado", cam.view)
    refused("holoviews bokeh", cam.show)
assert path.with_suffix(".png").exists()
with record(SharedSimulatedCamera, "recorded", n_lines=16, n_cubes=2, progress=False) as run:
    assert run.wait().lines_lost == 0
with open_cube(path) as cube:
    assert cube.lines[3].any()
    assert "xarray" in cube._repr_html_()
    refused("xarray", lambda: cube.dataset)
    refused("matplotlib", lambda: cube.show(quick_imshow=True))
    refused("bokeh", lambda: cube_viewer(cube))
refused("numba", lambda: SharedSimulatedCamera(n_lines=4, processing_lvl=1))
refused("numba scipy", lambda: SharedSimulatedCamera(n_lines=4, processing_lvl=4))
refused("scipy", lambda: SharedSimulatedCamera(n_lines=4, processing_lvl=4, compat="openhsi"))
with SharedRing(1 << 16, create=True) as ring:
    refused("bokeh tornado", lambda: Viewer(ring, (4, 4)))
    refused("matplotlib", lambda: Viewer(ring, (4, 4), backend="matplotlib"))
