"""NetCDF files that jobs write are those of saved cubes, in whatever order and by how many threads blocks are put."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from openhsi_shared import open_cube, verify
from openhsi_shared.errors import ArgumentError, SaveError
from openhsi_shared.files.journal import Journal
from openhsi_shared.files.preview import read_picture
from openhsi_shared.jobs.outputs import Done, LineFlag, open_output
from tests.support.job_plans import BinLines, crcs_of, plan_of, put_all, result_lines, source_file
from tests.support.products import each_value_once

ROWS = np.array([(1, 2.5, 3), (5, 0.5, 4)], [("y", "i8"), ("score", "f4"), ("x0", "i4")])
COMPRESSIONS = [None, "deflate-1", "zstd-1"]
RANDOM = np.random.default_rng(2)


def write(plan, lines, *, order=None, rows=None, flags=None):
    with open_output(plan) as output:
        put_all(output, plan, lines, order)
        flags = np.zeros(plan.result.n_lines, np.uint8) if flags is None else flags
        return output.finish(Done(line_flag=flags, rows=rows, attributes={"pipeline_id": "id", "pipeline_hash": "0"}))


@pytest.mark.parametrize(
    ("shape", "old_style", "compression"), each_value_once([(9, 5, 7), (7, 130, 150)], [True, False], COMPRESSIONS)
)
def test_blocks_in_any_order_become_a_whole_cube(tmp_path, shape, old_style, compression):
    n_lines, x, bands = shape
    path = source_file(tmp_path, n_lines, x, bands)
    plan = plan_of(path, tmp_path / "a" / "out.nc", job={"old_style": old_style, "compression": compression})
    plan.target.parent.mkdir()
    lines = result_lines(plan)
    flags = np.zeros(n_lines, np.uint8)
    flags[2] = LineFlag.FAILED
    published = write(plan, lines, order=reversed(range(len(plan.blocks))), flags=flags)
    assert published.path == plan.target
    assert published.preview_path == plan.target.with_suffix(".png")
    assert published.preview_path.exists()
    assert sorted(file.name for file in plan.target.parent.iterdir()) == ["out.nc", "out.png"]
    assert verify(plan.target).problems == ()
    with open_cube(plan.target) as cube, open_cube(path) as source:
        np.testing.assert_array_equal(cube.lines[:], lines)
        assert cube.dims == (("x", "y", "wavelength") if old_style else ("wavelength", "x", "y"))
        assert cube.column("line_flag").tolist() == flags.tolist()
        assert cube.column("altitude").tolist() == source.column("altitude").tolist()
        np.testing.assert_array_equal(cube.times_ns, source.times_ns)
        np.testing.assert_array_equal(cube.temperatures, source.temperatures)
        assert list(cube.groups) == list(source.groups)
        assert cube.level == 4
        assert cube.attributes["source_uuid"] == source.attributes["uuid"] != cube.attributes["uuid"]
        assert cube.attributes["source_lines_lost"] == 3
        assert cube.attributes["institution"] == "sea"
        assert cube.attributes["pipeline_id"] == "id"


def test_threads_put_blocks_at_the_same_time(tmp_path):
    plan = plan_of(source_file(tmp_path, 40, 130, 150), tmp_path / "out.nc", block_lines=3)
    lines = result_lines(plan)
    with open_output(plan) as output, ThreadPoolExecutor(4) as pool:
        assert not output.is_ordered
        list(
            pool.map(lambda b: output.put(b[0], lines[b[0] : b[-1] + 1], crcs_of(lines[b[0] : b[-1] + 1])), plan.blocks)
        )
        output.finish(Done(line_flag=np.zeros(40, np.uint8)))
    assert verify(plan.target).ok
    with open_cube(plan.target) as cube:
        np.testing.assert_array_equal(cube.lines[:], lines)


@pytest.mark.parametrize(("n_lines", "x"), [(40, 130), (9000, 3), (5, 5000)])
def test_its_picture_is_the_one_that_is_made_of_the_file(tmp_path, n_lines, x):
    plan = plan_of(source_file(tmp_path, n_lines, x, 20), tmp_path / "out.nc", block_lines=7)
    lines = result_lines(plan)
    lines *= RANDOM.random(lines.shape, np.float32)
    published = write(plan, lines)
    found = np.asarray(Image.open(published.preview_path))
    expected = read_picture(published.path).image
    assert found.shape == expected.shape
    assert found.std() > 20
    np.testing.assert_array_equal(found, expected)


def test_rows_become_a_group_along_a_dimension_of_its_own(tmp_path):
    plan = plan_of(source_file(tmp_path), tmp_path / "out.nc")
    write(plan, result_lines(plan), rows=ROWS)
    assert verify(plan.target).problems == ()
    with xr.open_dataset(plan.target, group="detections") as table:
        assert table.sizes == {"detections": 2}
        assert table.y.values.tolist() == [1, 5]
        assert table.score.values.tolist() == [2.5, 0.5]
    with open_cube(plan.target) as cube:
        table = cube.groups["detections"]
        assert table.variables["y"].dims == ("detections",)
        assert table.dataset.y.values.tolist() == [1, 5]


@pytest.mark.parametrize(
    ("old_style", "changes"),
    each_value_once([True, False], [{}, {"level": None, "quantity": None, "labels": {"units": "1"}}]),
)
def test_the_compliance_checker_finds_no_fault(tmp_path, old_style, changes):
    checker = Path(sys.executable).with_name("compliance-checker")
    if not checker.exists():
        pytest.skip("compliance-checker is not installed beside this Python")
    job = {"old_style": old_style, "significant_bits": 9}
    plan = plan_of(source_file(tmp_path), tmp_path / "out.nc", job=job, **changes)
    write(plan, result_lines(plan), rows=ROWS)
    assert verify(plan.target).problems == ()
    command = [str(checker), "--test=cf:1.11", str(plan.target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "All tests passed" in done.stdout, done.stdout + done.stderr


def test_some_lines_of_a_source_take_their_columns_with_them(tmp_path):
    path = source_file(tmp_path, 12)
    plan = plan_of(path, tmp_path / "out.nc", lines=range(3, 9))
    write(plan, result_lines(plan))
    with open_cube(plan.target) as cube, open_cube(path) as source:
        assert cube.frame_ids.tolist() == source.frame_ids[3:9].tolist()
        np.testing.assert_array_equal(cube.times_ns, source.times_ns[3:9])
        assert cube.column("altitude").tolist() == [3, 4, 5, 6, 7, 8]
        age = cube.groups["imu"].variables["age"].data
        np.testing.assert_array_equal(age, source.groups["imu"].variables["age"].data[3:9])
        assert len(cube.groups["imu"].variables["id"].data) == 11  # not along y
        assert cube.attributes["source_lines"] == '{"first": 3, "stop": 9, "lines_per_result": 1}'


def test_a_line_made_of_several_has_mean_times_and_the_columns_of_the_middle_one(tmp_path):
    path = source_file(tmp_path, 12)
    plan = plan_of(path, tmp_path / "out.nc", lines=range(1, 11), stages=[BinLines()])
    assert plan.result.n_lines == 3
    write(plan, result_lines(plan))
    with open_cube(plan.target) as cube, open_cube(path) as source:
        times = source.times_ns
        means = [
            times[1] + (times[4] - times[1]) // 2,
            times[5] + (times[8] - times[5]) // 2,
            (times[9] + times[10]) // 2,
        ]
        np.testing.assert_allclose(cube.times_ns - times[0], np.array(means) - times[0], atol=1)
        assert cube.frame_ids.tolist() == source.frame_ids[[2, 6, 9]].tolist()
        assert cube.column("altitude").tolist() == [2, 6, 9]
        found = [np.nanmean(source.temperatures[part]) for part in (slice(1, 5), slice(5, 9), slice(9, 11))]
        np.testing.assert_allclose(cube.temperatures, found)


@pytest.mark.parametrize("lines", [None, range(8), range(1, 8)])
def test_rows_of_an_earlier_job_travel_with_the_same_lines(tmp_path, caplog, lines):
    first = plan_of(source_file(tmp_path, 8), tmp_path / "first.nc")
    write(first, result_lines(first), rows=ROWS)
    plan = plan_of(first.target, tmp_path / "copy.nc", lines=lines)
    write(plan, result_lines(plan))
    assert verify(plan.target).ok
    with open_cube(plan.target) as cube, open_cube(first.target) as source:
        if len(plan.lines) < 8:
            assert "detections" not in cube.groups
            assert cube.attributes["source_groups_left_out"] == '["detections"]'
            assert "its rows belong to lines by their numbers" in caplog.text
        else:
            found, expected = (one.groups["detections"].variables for one in (cube, source))
            assert set(found) == set(expected)
            assert all(np.array_equal(found[name].data, expected[name].data) for name in expected)
            assert "source_groups_left_out" not in cube.attributes


def test_a_line_that_failed_in_an_earlier_job_stays_flagged(tmp_path):
    first = plan_of(source_file(tmp_path, 8), tmp_path / "first.nc")
    write(first, result_lines(first), flags=np.array([0, 0, 1, 0, 0, 0, 0, 3], np.uint8), rows=ROWS)
    plan = plan_of(first.target, tmp_path / "second.nc", stages=[BinLines()])
    write(plan, result_lines(plan))
    with open_cube(plan.target) as cube:
        assert cube.column("line_flag").tolist() == [1, 3]
        assert "detections" not in cube.groups  # their lines are those of another cube
        assert cube.attributes["source_groups_left_out"] == '["detections"]'
        assert cube.attributes["source_pipeline_hash"] == "0"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounded_floats_keep_the_relative_error_and_are_recorded(tmp_path, dtype):
    plan = plan_of(source_file(tmp_path), tmp_path / "out.nc", job={"significant_bits": 7}, dtype=np.dtype(dtype))
    lines = result_lines(plan)
    lines[1, 2, :3] = [np.nan, np.inf, np.finfo(dtype).max]
    lines[2, 1].view(f"u{lines.itemsize}")[0] = np.iinfo(f"u{lines.itemsize}").max  # a NaN, whose rounding overflows
    before = lines.copy()
    write(plan, lines)
    assert verify(plan.target).ok
    with open_cube(plan.target) as cube:
        found = cube.lines[:]
        labels = cube.contents.attributes("datacube")
        assert labels["significant_bits"] == 7
        assert "at most 2^-8" in labels["rounding"]
    assert np.isnan(found[[1, 2], [2, 1], 0]).all()
    assert found[1, 2, 1] == np.inf
    assert np.isfinite(found[1, 2, 2])
    known = np.isfinite(before)
    error = np.abs(found[known].astype(np.float64) / before[known] - 1)
    assert 2.0**-9 < error.max() <= 2.0**-8
    bits = np.frombuffer(found.tobytes(), f"u{found.itemsize}")
    is_max = found.reshape(-1) == np.finfo(dtype).max
    assert not (bits[np.isfinite(found.reshape(-1)) & ~is_max] & (2 ** (np.finfo(dtype).nmant - 7) - 1)).any()


def test_whole_numbers_are_not_rounded(tmp_path):
    plan = plan_of(source_file(tmp_path), tmp_path / "out.nc", job={"significant_bits": 7}, dtype=np.dtype(np.uint16))
    with pytest.raises(ArgumentError, match="significant_bits=7 rounds float32 or float64, but the result is uint16"):
        open_output(plan)


def test_nothing_is_overwritten_whenever_the_name_is_taken(tmp_path):
    plan = plan_of(source_file(tmp_path), tmp_path / "out.nc")
    lines = result_lines(plan)
    with open_output(plan) as output:
        put_all(output, plan, lines)
        plan.target.write_text("mine")
        with pytest.raises(SaveError, match=r"out\.nc"):
            output.finish(Done(line_flag=np.zeros(6, np.uint8)))
    assert plan.target.read_text() == "mine"
    with pytest.raises(SaveError, match="nothing is overwritten"):
        open_output(plan)
    assert not list(tmp_path.glob(".*"))


def test_a_file_without_all_its_lines_is_never_published(tmp_path):
    plan = plan_of(source_file(tmp_path), tmp_path / "out.nc")
    with open_output(plan) as output:
        put_all(output, plan, result_lines(plan), [0])
        with pytest.raises(ArgumentError, match=r"2 lines of .* were never put, from 4 on"):
            output.finish(Done(line_flag=np.zeros(6, np.uint8)))
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(("old_style", "compression"), each_value_once([True, False], COMPRESSIONS))
def test_a_run_goes_on_where_an_earlier_one_was_interrupted(tmp_path, old_style, compression):
    path = source_file(tmp_path, 20, 130, 150)
    job = {"old_style": old_style, "compression": compression}
    plan = plan_of(path, tmp_path / "out.nc", block_lines=4, job=job)
    lines = result_lines(plan)
    good = np.zeros(4, np.uint8), np.zeros(4, np.int64)
    journal = Journal.open(plan.target, plan.ppid_hash, {})
    output = open_output(plan, resume=True, journal=journal)
    put_all(output, plan, lines, [2, 0, 3, 1])
    for first in (8, 0, 12, 4):
        journal.note_known(first, *good, None)
    part = output._file.temporary_path
    place = output._file._image.offsets[13] if compression is None else journal_places(journal.path)[12]
    output.close(keep=True)
    journal.close(keep=True)
    with part.open("r+b") as file:  # line 13 did not reach the disk
        file.seek(place)
        file.write(bytes(100))
    journal = Journal.open(plan.target, plan.ppid_hash, {})
    with open_output(plan, resume=True, journal=journal) as output:
        behind = {4} if compression is None else set()  # the place of chunks depends on those before
        assert output.finished_blocks() == {8, 0} | behind
        put_all(output, plan, lines, [3, 4, 1])
        output.finish(Done(line_flag=np.zeros(20, np.uint8)))
    journal.close()
    assert verify(plan.target).problems == ()
    with open_cube(plan.target) as cube:
        np.testing.assert_array_equal(cube.lines[:], lines)
    again = plan_of(path, tmp_path / "again.nc", block_lines=4, job=job)
    write(again, lines)
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "out.png").read_bytes()  # with the lines of both runs
    assert not list(tmp_path.glob(".*"))


def journal_places(path):
    """Offset of the second line of each block."""
    notes = [json.loads(line.split(b" ", 1)[1]) for line in path.read_bytes().splitlines()]
    return {note["written"]: note["extra"][1][1][0] for note in notes if "written" in note}
