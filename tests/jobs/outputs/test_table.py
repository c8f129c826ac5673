"""Tables of rows without a datacube, and results that contain only what is new beside their source."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from openhsi_shared import open_cube, verify
from openhsi_shared.jobs.outputs import Done, LineFlag, attributes_of, open_output, problems_of
from openhsi_shared.jobs.stages.stage import Stage
from tests.support.job_plans import BinLines, plan_of, put_all, result_lines, source_file

ROWS = np.array([(1, 2.5, 3), (5, 0.5, 4)], [("y", "i8"), ("score", "f4"), ("x0", "i4")])


class Rows(Stage):
    """Stands for a stage of rows."""

    code = "rows"
    row_dtype = np.dtype([("score", "f4"), ("x0", "i4")])
    row_units = {"score": "1"}  # noqa: RUF012


def write(plan, rows=None):
    flags = np.zeros(plan.result.n_lines, np.uint8)
    flags[-1] = LineFlag.FAILED
    lines = result_lines(plan)
    with open_output(plan) as output:
        put_all(output, plan, lines)
        output.finish(Done(line_flag=flags, rows=rows, attributes={"pipeline_hash": "0"}))
    return lines


@pytest.mark.parametrize("rows", [ROWS, ROWS[:0]])
def test_a_table_is_whole_and_read_by_others(tmp_path, rows):
    plan = plan_of(source_file(tmp_path), tmp_path / "t.nc", job={"output": "table"}, stages=[Rows()])
    write(plan, rows)
    assert verify(plan.target).problems == problems_of(plan.target) == ()
    assert attributes_of(plan.target)["source_lines_lost"] == 3
    with xr.open_dataset(plan.target, group="detections") as table:
        assert table.y.values.tolist() == rows["y"].tolist()
        assert table.score.attrs["units"] == "1"
        assert table.x0.values.tolist() == rows["x0"].tolist()
    with xr.open_dataset(plan.target) as lines:
        assert lines.line_flag.values.tolist() == [0, 0, 0, 0, 0, 1]
        assert lines.altitude.values.tolist() == list(range(6))
    checker = Path(sys.executable).with_name("compliance-checker")
    if checker.exists() and len(rows):
        command = [str(checker), "--test=cf:1.11", str(plan.target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "All tests passed" in done.stdout, done.stdout + done.stderr


def test_a_damaged_table_is_reported(tmp_path):
    plan = plan_of(source_file(tmp_path), tmp_path / "t.nc", job={"output": "table"}, stages=[Rows()])
    write(plan, ROWS)
    content = plan.target.read_bytes()
    scores = ROWS["score"].tobytes()
    assert content.count(scores) == 1
    plan.target.write_bytes(content.replace(scores, scores[:-1] + b"\0"))
    assert "score" in problems_of(plan.target)[0]


def test_a_linked_result_holds_only_what_is_new(tmp_path):
    path = source_file(tmp_path, 40)
    plan = plan_of(path, tmp_path / "linked.nc", job={"link_to_input": True}, stages=[Stage()])
    plan.stages[0].code = "any"
    lines = write(plan)
    assert verify(plan.target).problems == ()
    with open_cube(plan.target) as cube, open_cube(path) as source:
        np.testing.assert_array_equal(cube.lines[:], lines)
        assert cube.source.path == path
        assert "frame_id" not in cube.contents.file
        assert "imu" not in cube.contents.file
        assert cube.frame_ids.tolist() == source.frame_ids.tolist()
        assert cube.column("altitude").tolist() == source.column("altitude").tolist()
        assert list(cube.groups) == list(source.groups)
        assert cube.column("line_flag").tolist() == [0] * 39 + [1]


def test_a_linked_result_of_several_lines_each_has_its_own_columns(tmp_path):
    path = source_file(tmp_path, 8)
    plan = plan_of(path, tmp_path / "linked.nc", job={"link_to_input": True}, stages=[BinLines()])
    write(plan)
    assert verify(plan.target).problems == ()
    with open_cube(plan.target) as cube, open_cube(path) as source:
        assert cube.frame_ids.tolist() == source.frame_ids[[1, 5]].tolist()
        assert len(cube.lines) == 2


def test_a_linked_result_of_rows_has_the_lines_of_its_source(tmp_path):
    path = source_file(tmp_path)
    plan = plan_of(path, tmp_path / "linked.nc", job={"link_to_input": True}, stages=[Rows()])
    write(plan, ROWS)
    assert verify(plan.target).problems == ()
    with open_cube(plan.target) as cube, open_cube(path) as source:
        np.testing.assert_array_equal(cube.lines[:], source.lines[:])
        assert cube.groups["detections"].variables["y"].data.tolist() == [1, 5]
        assert "datacube" not in cube.contents.file
