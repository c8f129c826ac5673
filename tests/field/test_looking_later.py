"""What was collected last stays visible: scripts for openhsi, and its web controller, look later."""

import logging

import matplotlib as mpl
import numpy as np
import pytest

from openhsi_shared import SharedDataCube, SharedSimulatedCamera
from openhsi_shared.datacube import visible_cube
from openhsi_shared.errors import ArgumentError, ClosedError, NothingToSave
from tests.support.flow import COUNTING, SHAPE, cubes_in, frame

mpl.use("Agg")


def camera(**keywords):
    return SharedSimulatedCamera(**{**COUNTING, "n_lines": 8, **keywords})


def look(cam, first, n=8):
    """All that shows lines shows frames `first` to `first + n`."""
    frames = np.stack([frame(number) for number in range(first, first + n)])
    assert (cam.dc.data[:, :n] == frames.transpose(1, 0, 2)).all()
    assert (cam.lines == frames).all()
    assert cam.timestamps.count == n
    assert cam.timestamps[0] <= cam.timestamps[n - 1]
    assert cam.cam_temperatures.data.shape == (n,)
    assert cam.show(plot_lib="matplotlib", quick_imshow=True) is not None


@pytest.mark.parametrize("old_style", [True, False])
def test_after_save_and_after_the_block_the_last_cube_is_visible_until_the_next_line(tmp_path, old_style):
    with camera() as cam:
        with pytest.raises(ArgumentError, match="nothing collected yet"):
            cam.show(quick_imshow=True)
        for first in (0, 8):
            cam.collect()
            look(cam, first)
            cam.save(tmp_path, old_style=old_style)
            look(cam, first)
            assert cam.n_collected == 0
    look(cam, 8)
    with pytest.raises(ValueError, match="read-only"):
        cam.dc.data[...] = 0
    with pytest.raises(ClosedError):
        cam.collect()


def test_what_was_collected_and_not_saved_is_saved_at_the_end_of_the_block_to_where_the_last_cube_went(
    tmp_path, caplog
):
    with camera() as cam:
        cam.collect()
        cam.save(tmp_path, prefix="sea_", savefig=False)
        cam.collect()
    assert "8 lines were collected and not saved: saving them to" in caplog.text
    assert [cube.numbers for cube in cubes_in(tmp_path)] == [list(range(8)), list(range(8, 16))]
    assert all(cube.path.name.startswith("sea_") for cube in cubes_in(tmp_path))
    look(cam, 8)


@pytest.mark.parametrize("n", [3, 8, 11])
def test_what_was_never_saved_is_visible_after_the_block_and_can_still_be_saved(tmp_path, caplog, n):
    with SharedDataCube(n_lines=8, resolution=SHAPE) as cube:
        for number in range(n):
            cube.put(frame(number))
    assert "save() still saves them" in caplog.text
    n_left = min(n, 8)
    look(cube, n - n_left, n_left)
    result = cube.save(tmp_path).result(0)
    assert (result.n_lines, result.path.parent) == (n_left, cube.directory)
    (saved,) = cubes_in(tmp_path)
    assert saved.numbers == saved.ids == list(range(n - n_left, n))
    assert saved.attributes["lines_overwritten"] == n - n_left
    assert saved.attributes["cube_number"] == 1
    look(cube, n - n_left, n_left)
    with pytest.raises(ClosedError, match="closed: make a new one"):
        cube.save(tmp_path)


def test_what_close_discards_stays_visible_and_cannot_be_saved(tmp_path, caplog):
    cube = SharedDataCube(n_lines=8, resolution=SHAPE)
    cube.put(frame(1))
    cube.close()
    assert "1 lines were collected and not saved: they are discarded" in caplog.text
    look(cube, 1, 1)
    with pytest.raises(ClosedError, match="closed: make a new one"):
        cube.save(tmp_path)


def test_frames_lost_before_lines_that_are_saved_after_the_block_are_in_their_file(tmp_path):
    with camera(rate=2000, queue=4) as cam:
        cam.start_streaming()
        cam.collect()
        cam.collect(lambda n, _: [cam.get_img() for _ in range(3)] if n == 4 else None)
        lost = [number for ids in cam.status().lost_ids for number in range(ids.first, ids.last + 1)]
    saved_path = cam.save(tmp_path).result().path
    (saved,) = cubes_in(tmp_path)
    assert saved.path == saved_path
    assert saved.numbers == saved.ids
    assert saved.attributes["lines_lost"] == len(lost) > 0


def test_a_cube_that_is_too_large_is_not_kept_and_the_loss_is_logged(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(visible_cube, "KEPT_BYTES", 100)
    caplog.set_level(logging.WARNING)
    with SharedDataCube(n_lines=8, resolution=SHAPE) as cube:
        cube.put(frame(1))
    assert "1 lines were collected and not saved: they are discarded" in caplog.text
    with pytest.raises(ClosedError, match="closed: make a new one"):
        cube.save(tmp_path)


def test_a_save_after_the_block_that_fails_says_so_and_can_be_tried_again(tmp_path):
    (tmp_path / "file").write_text("")
    with SharedDataCube(n_lines=8, resolution=SHAPE) as cube:
        cube.put(frame(1))
    handle = cube.save(tmp_path / "file" / "below")
    assert handle.exitcode == 1
    assert handle.retry(tmp_path / "good").result(60).path
    cube.close()
    assert [saved.numbers for saved in cubes_in(tmp_path)] == [[1]]


def test_the_folder_and_the_level_have_the_names_of_openhsi(tmp_path):
    with SharedDataCube(n_lines=8, resolution=SHAPE, processing_lvl=0) as cube:
        assert cube.directory is None
        assert cube.proc_lvl == 0
        cube.put(frame(1))
        handle = cube.save(tmp_path)
        early = cube.directory
        assert handle.result(60).path.parent == early == cube.directory
        with pytest.raises(NothingToSave):
            cube.save(tmp_path)
