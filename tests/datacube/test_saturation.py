"""Which saturated pixels of a camera's lines are counted, and why they are not where they are not."""

import math

import numpy as np
import pytest

from openhsi_shared import SharedDataCube, SharedSimulatedCamera, open_cube
from openhsi_shared.columns import Saturation
from openhsi_shared.datacube.saturation import saturation_of
from openhsi_shared.levels import LevelPlan
from openhsi_shared.settings import CameraSettings

SHAPE = (16, 48)


@pytest.mark.parametrize(
    ("settings", "plan", "expected"),
    [
        ({"pixel_format": "Mono12"}, {}, Saturation(4095, 0, 16)),
        ({"row_slice": (3, 9)}, {}, Saturation(65535, 3, 9)),
        ({"row_slice": (3, -1), "full_scale": 1000}, {}, Saturation(1000, 3, 16)),
        ({"row_slice": (3, 9), "pixel_format": "Mono12"}, {"level": 0}, Saturation(4095, 0, 6)),
        ({}, {"frame_dtype": np.dtype(np.uint8)}, Saturation(255, 0, 16)),
        ({}, {"frame_dtype": np.dtype(np.float32)}, "lines of level -1 are of type float32, not counts of pixels"),
        ({}, {"custom_tfms": [lambda frame: frame > 9]}, "lines are made by custom_tfms"),
        ({"row_slice": (3, 90)}, {}, "row_slice (3, 90) is outside the 16 rows that the camera delivers"),
    ],
)
def test_pixels_inside_row_slice_are_counted_where_lines_are_counts(settings, plan, expected):
    settings = CameraSettings(**settings)
    first, end = settings.row_slice or (0, -1)
    rows = slice(first, 16 if end == -1 else end)
    made = {"level": -1, "frame_shape": SHAPE, "frame_dtype": np.dtype(np.uint16), "rows": rows} | plan
    assert saturation_of(LevelPlan(**made), settings) == expected


def test_files_and_status_have_the_share_of_known_frames(tmp_path):
    frames = np.zeros((4, *SHAPE), np.uint16)
    frames[:, 0] = 4095  # outside row_slice
    frames[1, 2, :24], frames[3, 2:6], frames[2, 3] = 4095, 4095, 4094
    keywords = {"resolution": SHAPE, "row_slice": (2, 6), "pixel_format": "Mono12"}
    with SharedDataCube(4, **keywords) as cube:
        assert math.isnan(cube.status().saturated)
        for frame in frames:
            cube.put(frame)
        path = cube.save(tmp_path, savefig=False).result().path
        assert cube.status().saturated == pytest.approx(1.125 / 4)
        assert "28.1 % saturated" in str(cube.status())
    with open_cube(path) as saved:
        assert saved.saturated.tolist() == [0, 0.125, 0, 1]
        assert "saturated_unknown" not in saved.attributes


def test_a_file_says_why_it_has_no_shares(tmp_path):
    with SharedSimulatedCamera(2, 2, mode="flat", light=1e6) as camera:
        camera.collect(progress=False)
        path = camera.save(tmp_path, savefig=False).result().path
        assert math.isnan(camera.status().saturated)
    with open_cube(path) as saved:
        assert saved.saturated is None
        assert saved.attributes["saturated_unknown"] == "lines of level 2 are sums of bands, not counts of pixels"
