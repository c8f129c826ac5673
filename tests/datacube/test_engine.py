"""The lines of the cube being filled, as they are shown."""

import tracemalloc

import numpy as np
import pytest

from openhsi_shared import SharedDataCube
from openhsi_shared.errors import ArgumentError, ClosedError


def filled(n, n_lines=6, shape=(8, 16)):
    """A cube whose line k is full of k."""
    cube = SharedDataCube(n_lines=n_lines, resolution=shape, pixel_format="Mono12")
    for number in range(n):
        cube.put(np.full(shape, number, np.uint16))
    return cube


def test_lines_so_far_are_those_of_the_copy_in_time_order():
    with filled(0) as cube:
        for n in range(1, 18):
            cube.put(np.full((8, 16), n, np.uint16))
            seen = cube._engine.lines_so_far()
            assert seen.shape == cube.lines.shape
            assert seen.dtype == cube.lines.dtype
            for key in (slice(None), slice(1, 3), slice(0, None, 2), slice(4, 99)):
                assert np.array_equal(seen[key], cube.lines[key])


def test_without_lines_there_are_none_and_after_close_it_is_an_error():
    with filled(0) as cube:
        assert cube._engine.lines_so_far().shape == (0, 8, 16)
        with pytest.raises(ArgumentError, match="nothing collected yet"):
            cube.show()
    with pytest.raises(ClosedError, match="is closed"):
        cube._engine.lines_so_far()


def test_show_never_copies_the_whole_cube(monkeypatch):
    monkeypatch.setattr("openhsi_shared.rgb.bands.READ_BYTES", 1 << 20)  # of larger cubes it is a small part
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
