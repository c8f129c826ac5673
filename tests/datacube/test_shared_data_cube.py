"""`SharedDataCube`: the files contain the lines that were put, once, in order, and nothing else."""

import ctypes
import json
import logging
import re
import time

import numpy as np
import pytest

from openhsi_shared import SharedDataCube
from openhsi_shared.errors import (
    ArgumentError,
    ClosedError,
    FrameError,
    LevelError,
    MemoryShortage,
    NothingToSave,
    SettingsError,
    UnknownKeyword,
)
from tests.support.flow import SHAPE, account, cubes_in, frame, read


@pytest.fixture
def cube():
    with SharedDataCube(n_lines=8, resolution=SHAPE) as made:
        yield made


def _put(cube, numbers):
    for number in numbers:
        cube.put(frame(number))


def test_ten_cubes_saved_in_a_row_are_ten_files_with_every_line(cube, tmp_path):
    for n in range(10):
        _put(cube, range(8 * n, 8 * n + 8))
        saving = cube.save(tmp_path)
    assert saving.result(60).n_lines == 8
    cube.close()
    assert [saved.numbers for saved in cubes_in(tmp_path)] == [list(range(8 * n, 8 * n + 8)) for n in range(10)]
    assert account(tmp_path) == (list(range(80)), [])
    assert len(list(tmp_path.rglob("*.png"))) == 10


def test_a_file_is_named_for_the_utc_time_of_its_first_line_in_microseconds(cube, tmp_path):
    _put(cube, range(3))
    first = cube.timestamps[0]
    result = cube.save(tmp_path, prefix="sea_", suffix="_raw").result(60)
    assert result.path == tmp_path / first.strftime("%Y_%m_%d/sea_%Y_%m_%d-%H_%M_%S_%f_raw.nc")
    assert result.preview_path == result.path.with_suffix(".png")


def test_a_partial_cube_holds_only_its_lines_and_nothing_stale(cube, tmp_path):
    for n in (8, 3, 2, 1):
        _put(cube, range(100 * n, 100 * n + n))
        cube.save(tmp_path).join()
    assert [saved.numbers for saved in cubes_in(tmp_path)] == [
        [*range(800, 808)],
        [300, 301, 302],
        [200, 201],
        [100],
    ]
    assert all(len(saved.times_ns) == len(saved.lines) for saved in cubes_in(tmp_path))
    assert min(min(saved.times_ns) for saved in cubes_in(tmp_path)) > 1.7e18


def test_a_cube_that_went_round_is_saved_in_time_order_and_counts_what_it_lost(cube, tmp_path):
    for n_put in (9, 12, 15, 16, 17, 29):
        _put(cube, range(n_put))
        assert cube.timestamps.data.tolist() == sorted(cube.timestamps.data.tolist())
        assert [line[0, 0] for line in cube.lines] == [frame(n)[0, 0] for n in range(n_put - 8, n_put)]
        before = cube.status().lines_overwritten
        assert cube.status().lines_lost == 0
        saved = read(cube.save(tmp_path).result(60).path)
        assert saved.numbers == list(range(n_put - 8, n_put))
        assert saved.times_ns == sorted(saved.times_ns)
        assert saved.attributes["lines_overwritten"] == n_put - 8
        assert saved.attributes["lines_lost"] == 0
    assert before == sum(n_put - 8 for n_put in (9, 12, 15, 16, 17, 29))


def test_a_wrapped_cube_whose_next_frame_was_refused_still_accounts_for_every_line(cube, tmp_path):
    _put(cube, range(11))
    with pytest.raises(FrameError):
        cube.put(np.zeros((2, 2), np.uint16))
    saved = read(cube.save(tmp_path).result(60).path)
    assert len(saved.numbers) + saved.attributes["lines_overwritten"] == 11


def test_two_saves_in_the_same_instant_are_two_files(tmp_path):
    with (
        SharedDataCube(n_lines=1, resolution=SHAPE) as one,
        SharedDataCube(n_lines=1, resolution=SHAPE) as other,
    ):
        handles = []
        for n in range(5):
            one.put(frame(n))
            other.put(frame(n))
            handles += [one.save(tmp_path), other.save(tmp_path)]
        paths = {handle.result(60).path for handle in handles}
    assert len(paths) == 10


def test_save_before_anything_was_collected_is_a_clear_error(cube, tmp_path):
    with pytest.raises(NothingToSave, match="nothing was collected since the last save; call collect"):
        cube.save(tmp_path)
    _put(cube, [1])
    cube.save(tmp_path)
    with pytest.raises(NothingToSave):
        cube.save(tmp_path)
    assert len(cubes_in(tmp_path)) <= 1


@pytest.mark.parametrize("compression", [None, "deflate", "zstd"])
def test_both_orders_and_all_compressions_hold_the_same_lines(tmp_path, compression):
    with SharedDataCube(n_lines=8, resolution=SHAPE, compression=compression) as cube:
        for old_style in (True, False):
            _put(cube, range(11))
            saved = read(cube.save(tmp_path, old_style=old_style).result(60).path)
            assert saved.numbers == list(range(3, 11))
            assert saved.dims == (("x", "y", "wavelength") if old_style else ("wavelength", "x", "y"))


@pytest.mark.parametrize("shape", [(16, 2048), (17, 1999)])
def test_lines_that_are_large_enough_for_pages_are_saved_as_exactly(tmp_path, shape):
    with SharedDataCube(n_lines=5, resolution=shape) as cube:
        for n in range(7):
            cube.put(frame(n, shape))
        first = cube.save(tmp_path)
        cube.put(frame(7, shape))
        last = cube.save(tmp_path)
        assert read(first.result(60).path).numbers == [2, 3, 4, 5, 6]
        assert read(last.result(60).path).numbers == [7]


def test_the_picture_is_left_out_where_nobody_wants_it(cube, tmp_path):
    _put(cube, [1, 2])
    result = cube.save(tmp_path, savefig=False).result(60)
    assert result.preview_path is None
    assert not list(tmp_path.rglob("*.png"))


def test_metadata_become_attributes_of_the_file(cube, tmp_path):
    metadata = tmp_path / "metadata.json"
    metadata.write_text(json.dumps({"title": "a coast", "project": "tides", "complete": 7}))
    _put(cube, [1])
    saved = read(cube.save(tmp_path, metadata).result(60).path)
    assert (saved.attributes["title"], saved.attributes["project"]) == ("a coast", "tides")
    metadata.write_text(json.dumps({"title": "another coast"}))
    _put(cube, [2])
    saved = read(cube.save(tmp_path, preconfig_meta_path=str(metadata)).result(60).path)
    assert saved.attributes["title"] == "another coast"


def test_metadata_that_cannot_be_used_are_refused_and_no_line_is_lost(cube, tmp_path):
    _put(cube, range(5))
    with pytest.raises(SettingsError, match=r"preconfig_meta_path .*missing.json cannot be read"):
        cube.save(tmp_path, tmp_path / "missing.json")
    huge = tmp_path / "huge.json"
    huge.write_text(json.dumps({"comment": "x" * 3_000_000}))
    with pytest.raises(ArgumentError, match="bytes: at most"):
        cube.save(tmp_path, huge)
    with pytest.raises(ArgumentError, match="cannot be part of a file's name"):
        cube.save(tmp_path, prefix="a/b")
    with pytest.raises(ArgumentError, match="prefix must be text"):
        cube.save(tmp_path, prefix=None)
    with pytest.raises(ArgumentError, match="suffix must be text"):
        cube.save(tmp_path, suffix=0)
    with pytest.raises(ArgumentError, match="save_dir must be a directory, got 7"):
        cube.save(7)
    for metadata in (7, {"title": "a coast"}):
        with pytest.raises(ArgumentError, match="preconfig_meta_path must be the path of a file"):
            cube.save(tmp_path, metadata)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(SettingsError, match=r"preconfig_meta_path .*list.json holds a list"):
        cube.save(tmp_path, tmp_path / "list.json")
    _put(cube, [5])
    assert read(cube.save(tmp_path).result(60).path).numbers == [0, 1, 2, 3, 4, 5]


BAD = [
    (np.zeros((3, 4), np.uint16), r"shape \(3, 4\), expected \(16, 32\)"),
    (None, r"shape \(\), expected"),
    (np.full(SHAPE, 0.5), "float64, expected uint16"),
    (np.full(SHAPE, 70_000), "70000 does not fit into uint16"),
    (np.full(SHAPE, -1), "-1 to -1 does not fit"),
    (np.full(SHAPE, "a"), "expected uint16"),
]


def test_a_frame_that_does_not_fit_is_refused_and_the_lines_before_it_are_kept(cube, tmp_path):
    for bad, words in BAD:
        _put(cube, [0, 1])
        with pytest.raises(FrameError, match=words):
            cube.put(bad)
        _put(cube, [2])
        assert read(cube.save(tmp_path).result(60).path).numbers == [0, 1, 2]


def test_a_frame_of_another_type_that_fits_is_taken(cube, tmp_path):
    cube.put(frame(5).astype(np.int64))
    cube.put(np.asfortranarray(frame(6)))
    cube.put(frame(7).astype(">u2"))
    assert read(cube.save(tmp_path).result(60).path).numbers == [5, 6, 7]


def test_a_level_0_cube_is_cropped_to_the_rows(tmp_path):
    with SharedDataCube(n_lines=4, processing_lvl=0, resolution=SHAPE, row_slice=(3, 11)) as cube:
        assert cube.dc_shape == (8, 4, 32)
        _put(cube, [7, 8])
        saved = read(cube.save(tmp_path).result(60).path)
    assert saved.lines.shape == (2, 8, 32)
    assert saved.numbers == [7, 8]
    np.testing.assert_array_equal(saved.lines[0], frame(7)[3:11])


def test_the_current_array_has_the_shape_of_openhsi_and_is_the_shared_memory(cube):
    assert cube.dc.data.shape == cube.dc_shape == (16, 8, 32)
    assert cube.dc.c_dtype is ctypes.c_uint16
    _put(cube, [3])
    np.testing.assert_array_equal(cube.dc.data[:, 0, :], frame(3))
    cube.dc.put(frame(4))
    assert cube.n_collected == 2
    np.testing.assert_array_equal(cube.lines, [frame(3), frame(4)])


def test_there_are_as_many_times_as_lines(cube):
    assert cube.timestamps.data.shape == (0,)
    for n in range(1, 12):
        before_s = time.time()
        _put(cube, [n])
        assert len(cube.timestamps.data) == len(cube.timestamps) == min(n, 8)
    assert cube.timestamps.data.dtype == "datetime64[ns]"
    assert before_s - 5 < cube.timestamps[-1].timestamp() < time.time() + 5
    with pytest.raises(IndexError):
        cube.timestamps[8]


def test_show_works_with_no_line_and_with_some(cube):
    with pytest.raises(ArgumentError, match="nothing collected yet"):
        cube.show(quick_imshow=True)
    _put(cube, [1, 2])
    assert cube.show(quick_imshow=True) is not None
    assert cube.show(plot_lib="matplotlib", robust=True) is not None


def test_five_slots_are_five_slots(tmp_path):
    with SharedDataCube(n_lines=2, resolution=SHAPE, n_buffers=5) as cube:
        assert sum(cube.status().slots.values()) == 5
        for n in range(12):
            _put(cube, [2 * n, 2 * n + 1])
            cube.save(tmp_path)
    assert account(tmp_path) == (list(range(24)), [])


def test_a_closed_cube_says_so_and_may_be_closed_again(tmp_path):
    cube = SharedDataCube(n_lines=2, resolution=SHAPE)
    cube.put(frame(1))
    cube.save(tmp_path)
    cube.close()
    cube.close()
    for use in (lambda: cube.put(frame(2)), lambda: cube.save(tmp_path), cube.__enter__):
        with pytest.raises(ClosedError, match="closed: make a new one"):
            use()
    assert cube.status().cubes_saved == 1


def test_lines_that_were_never_saved_are_told_when_a_cube_is_closed(caplog):
    with SharedDataCube(n_lines=8, resolution=SHAPE) as cube:
        _put(cube, [1, 2, 3])
    assert "3 lines were collected and not saved" in caplog.text


def test_nothing_is_printed(capfd, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    with SharedDataCube(n_lines=2, resolution=SHAPE, print_settings=True) as cube:
        _put(cube, [1, 2])
        cube.save(tmp_path).join()
    assert capfd.readouterr() == ("", "")
    assert "resolution" in caplog.text


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        ({"n_line": 4}, UnknownKeyword, "SharedDataCube() has no keyword 'n_line' (did you mean n_lines?)"),
        ({"exposure_mss": 4}, UnknownKeyword, "did you mean exposure_ms?"),
        ({"mode": "counting"}, UnknownKeyword, "no keyword 'mode'"),
        ({"n_lines": 0}, ArgumentError, "n_lines must be a whole number > 0, got 0"),
        ({"n_lines": -3}, ArgumentError, "n_lines must be a whole number > 0, got -3"),
        ({"n_lines": 2.5}, ArgumentError, "n_lines must be a whole number > 0, got 2.5"),
        ({"n_lines": True}, ArgumentError, "n_lines must be a whole number > 0, got True"),
        ({"n_lines": 10**12}, MemoryError, "use fewer lines or slots"),
        ({"n_buffers": 1}, ArgumentError, "n_buffers must be 2 or more"),
        ({"when_full": "overwrite"}, ArgumentError, "when_full must be one of ('block', 'drop', 'stop')"),
        ({"resolution": (10**7, 10**7)}, MemoryShortage, "a frame of 10000000 x 10000000 pixels (resolution) needs"),
        ({"processing_lvl": 9}, LevelError, "processing_lvl must be one of (-1, 0"),
        ({"resolution": (0, 4)}, SettingsError, "resolution"),
        ({"resolution": None}, SettingsError, "resolution is missing"),
        ({"row_slice": (5, 99), "processing_lvl": 0}, SettingsError, "row_slice [5, 99] must be"),
        ({"row_slice": (5, 5)}, SettingsError, "row_slice [5, 5] must be"),
        ({"pixel_format": "RGB"}, SettingsError, "pixel_format 'RGB' must name"),
        ({"json_path": "no/such.json"}, SettingsError, "no/such.json cannot be read"),
        ({"json_path": 5}, SettingsError, "settings file 5 cannot be read"),
        ({"cal_path": "no/such.nc"}, ValueError, "no/such.nc"),
        ({"cal_path": "a.nc", "pkl_path": "b.pkl"}, ValueError, "two names of the same"),
    ],
)
def test_a_bad_argument_is_one_clear_error(keywords, error, words):
    with pytest.raises(error, match=re.escape(words)):
        SharedDataCube(**{"n_lines": 2, "resolution": SHAPE, **keywords})


def test_an_unknown_keyword_is_also_a_type_error():
    with pytest.raises(TypeError, match="did you mean"):
        SharedDataCube(procesing_lvl=0)
