"""What a notebook shows of a camera: its lines so far, and a table."""

import base64
import io
import re
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from openhsi_shared import SharedDataCube, SharedSimulatedCamera
from openhsi_shared.datacube.looking import LinesSoFar
from openhsi_shared.datacube.status import Status
from openhsi_shared.errors import ArgumentError, ClosedError
from openhsi_shared.frames.losses import IdRange
from openhsi_shared.recording.messages import RecordingStatus


def filled(n, n_lines=6, shape=(8, 16)):
    """A cube whose line k is full of k."""
    cube = SharedDataCube(n_lines=n_lines, resolution=shape, pixel_format="Mono12")
    for number in range(n):
        cube.put(np.full(shape, number, np.uint16))
    return cube


def picture_in(html):
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


# ---- the lines so far ----


@pytest.mark.parametrize("n", [1, 5, 6, 9, 17])
@pytest.mark.parametrize("key", [slice(None), slice(1, 3), slice(0, None, 2), slice(4, 99)])
def test_lines_so_far_are_those_of_the_copy_in_time_order(n, key):
    with filled(n) as cube:
        seen = LinesSoFar(cube)
        assert seen.shape == cube.lines.shape
        assert seen.dtype == cube.lines.dtype
        assert np.array_equal(seen[key], cube.lines[key])


def test_without_lines_there_are_none_and_after_close_it_is_an_error():
    with filled(0) as cube:
        assert LinesSoFar(cube).shape == (0, 8, 16)
        with pytest.raises(ArgumentError, match="nothing collected yet"):
            cube.show()
    with pytest.raises(ClosedError, match="is closed"):
        LinesSoFar(cube)


def test_show_never_copies_the_whole_cube(monkeypatch):
    monkeypatch.setattr("openhsi_shared.rgb.READ_BYTES", 1 << 20)  # of larger cubes it is a small part
    with filled(400, 400, (100, 200)) as cube:  # 16 MB
        cube.show(quick_imshow=True)
        tracemalloc.start()
        try:
            cube.show(quick_imshow=True)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 14e6


def test_show_draws_the_lines_there_are():
    with filled(4, n_lines=10) as cube:
        picture = cube.show(quick_imshow=True).axes[0].images[0].get_array()
    assert picture.shape == (8, 4)
    assert picture[0].tolist() == [0, 85, 170, 255]


# ---- the table ----


def test_a_camera_shows_itself_with_the_colours_of_its_scene(tmp_path):
    pixels = np.zeros((100, 50, 3), np.uint8)
    pixels[:50, :, 0] = pixels[50:, :, 2] = 255
    Image.fromarray(pixels).save(tmp_path / "scene.png")
    with SharedSimulatedCamera(n_lines=30, img_path=tmp_path / "scene.png") as cam:
        assert "<img" not in cam._repr_html_(), "nothing collected yet"
        cam.collect(progress=False)
        html = cam._repr_html_()
        cam.save(tmp_path).join()
    picture = picture_in(html).astype(int)
    height = picture.shape[0]
    assert (picture[height // 8 : height // 3, :, 0] > picture[height // 8 : height // 3, :, 2] + 100).all()
    assert (picture[-height // 3 : -height // 8, :, 2] > picture[-height // 3 : -height // 8, :, 0] + 100).all()
    assert "30 of 30 lines" in html
    closed = cam._repr_html_()
    assert "SharedSimulatedCamera, closed" in closed
    assert "<img" not in closed


STATUS = {
    "lines": 12345,
    "lines_lost": 3,
    "lost_ids": (IdRange(7, 9),),
    "lines_overwritten": 0,
    "rate": 250.0,
    "slots": {"FREE": 1, "FILLING": 1, "HELD": 0},
    "fill": 0.5,
    "cubes_saved": 2,
    "cubes_pending": 0,
    "writer_mb_per_s": float("nan"),
    "writer_restarts": 0,
    "temperature": 31.26,
    "errors": ("no <space>",),
}


def test_a_status_is_a_short_table():
    status = Status(**STATUS)
    assert dict(status.rows()) == {
        "lines": "12,345",
        "lines lost": "3",
        "lost ids": "7-9",
        "lines per second": "250.0",
        "slots": "1 FREE, 1 FILLING",
        "fill": "50 %",
        "cubes saved": "2",
        "cubes pending": "0",
        "temperature, celsius": "31.3",
        "errors": "no <space>",
    }
    assert "no &lt;space&gt;" in status._repr_html_()


def test_a_status_of_a_recording_tells_its_own_as_well():
    status = RecordingStatus(**STATUS, seconds=7.25, cubes=3, disk_minutes_left=float("inf"))
    assert dict(status.rows()).items() >= {"seconds": "7.2", "cubes": "3", "minutes of disk left": "inf"}.items()
    assert "RecordingStatus" in status._repr_html_()
