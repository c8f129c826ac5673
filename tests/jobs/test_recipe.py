"""Recipes: their arguments, and the ways they travel."""

import datetime
import importlib
import linecache
import logging
import pickle
import shutil
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError, FileError, LevelError, UnknownKeyword
from openhsi_shared.jobs import PipelineJob, Stage
from tests.jobs import child_ids
from tests.support.helpers import in_child
from tests.support.job_cubes import save_cube

GAIN = 2


def amplify(line):
    return line * GAIN


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"processing_lvl": 9}, "must be one of"),
        ({"processing_lvl": 4, "compat": "dcnum"}, "compat must be one of None, 'openhsi'"),
        ({"compat": "openhsi"}, "processing_lvl is None"),
        ({"lines": slice(5, 3)}, "selects nothing"),
        ({"lines": slice(0, 9, 2)}, "without gaps"),
        ({"lines": slice(0.5, 9)}, "whole number, got 0.5"),
        ({"rows": "1-5"}, "rows must be a slice"),
        ({"output": "tiff"}, "'netcdf', 'zarr', 'envi', 'table', got 'tiff'"),
        ({"old_style": 1}, "True or False, got 1"),
        ({"compression": "zstd-99"}, "deflate-0, deflate-1, .*zstd-19, got 'zstd-99'"),
        ({"compression": "zstd"}, "zstd-19, got 'zstd'"),
        ({"compression": "zstd-1", "output": "envi"}, "not compressed"),
        ({"significant_bits": 0}, "from 1 to 52, got 0"),
        ({"link_to_input": True, "output": "zarr"}, "needs output='netcdf'"),
        ({"on_error": "skip"}, "'raise', 'nan', got 'skip'"),
        ({"workers": "dask"}, "'auto', 'threads', 'processes', got 'dask'"),
        ({"n_procs": 0}, "n_procs must be a whole number >= 1, got 0"),
        ({"n_procs": True}, "got True"),
        ({"block_lines": 2.0}, "got 2.0"),
        ({"n_blocks": -1}, "got -1"),
        ({"log_level": "LOUD"}, "got 'LOUD'"),
        ({"stages": "level"}, r"stages=\[...\] around it"),
        ({"stages": [5]}, r"stages\[0\] must be a stage"),
        ({"stages": ["levl:level=4"]}, "did you mean level"),
        ({"path_out": ""}, "path_out must be"),
        ({"cal_path": 5}, "cal_path must be"),
    ],
)
def test_what_is_invalid_in_itself_is_refused_when_the_job_is_made(values, message):
    with pytest.raises((ArgumentError, LevelError), match=message):
        PipelineJob("a.nc", **values)


@pytest.mark.parametrize("path", ["", 5, [], ["a.nc", ""], b"a.nc", "a\0.nc"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ArgumentError, match="path_in"):
        PipelineJob(path)


def test_values_are_normal_whatever_way_they_were_given():
    job = PipelineJob(
        ["a.nc"], lines=(np.int64(1), 5), rows=range(2, 4), compression="none", n_procs=np.int32(2), log_level="debug"
    )
    assert (job.path_in, job.lines, job.rows) == ((Path("a.nc"),), slice(1, 5), slice(2, 4))
    assert (job.compression, job.n_procs, job.log_level) == (None, 2, logging.DEBUG)
    assert PipelineJob("a.nc", compression="zstd-7").codec == ("zstd", 7)
    assert PipelineJob("a.nc", debug=True, n_procs=5).n_workers == 1


def test_a_value_is_got_by_its_name_and_another_job_is_made_by_replace():
    job = PipelineJob("a.nc", lines=slice(-5, None))
    assert job["lines"] == slice(-5, None)
    assert job.replace(processing_lvl=2)["processing_lvl"] == 2
    with pytest.raises(ArgumentError, match="did you mean lines"):
        job["line"]
    with pytest.raises(UnknownKeyword, match="did you mean rows"):
        job.replace(row=slice(1, 2))
    with pytest.raises(AttributeError):
        job.lines = None


def test_a_job_does_not_change_with_the_stage_it_was_given():
    from openhsi_shared.jobs import stage_named

    stage = stage_named("level", level=2)
    job = PipelineJob("a.nc", stages=[stage])
    stage.level = 4
    assert job.stages[0].level == 2


def job_of_many_kinds():
    return PipelineJob(
        ["~/a.nc", "b"], "out", processing_lvl=4, cal_path="c.nc", lines=slice(-9, None), rows=slice(None, -2),
        stages=["level:level=5"], on_error="nan", significant_bits=12, log_level=10, workers="threads",
    )  # fmt: skip


def test_json_gives_the_same_job_back(tmp_path):
    job = job_of_many_kinds()
    assert PipelineJob.from_json(job.to_json()) == job
    assert isinstance(PipelineJob.from_json(job.to_json()).rows, slice)
    file = tmp_path / "recipe.json"
    file.write_text(job.to_json(indent=1))
    assert PipelineJob.from_json(file) == job == PipelineJob.from_json(str(file))
    assert pickle.loads(pickle.dumps(job)) == job
    assert hash(pickle.loads(pickle.dumps(job))) == hash(job)
    assert job != job.replace(rows=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"version": 1', '"version": 2'), "install a newer one"),
        (lambda text: text.replace('"rows"', '"row"'), "'row' .did you mean rows"),
        (lambda text: text.replace('"rows"', '"rows": null, "colour"'), "unknown key 'colour'"),
        (lambda text: text.replace("$slice", "$slide"), r"unknown kind of value '\$slide'"),
        (lambda text: text.replace('"code": "level"', '"code": "levl"'), "did you mean level"),
        (lambda text: text[:-5], "is no JSON"),
        (lambda _: "[1]", "is not a recipe"),
        (lambda _: '{"a": 1}', "is not a recipe"),
        (lambda _: '{"format": "openhsi_shared job", "version": 1, "job": {}}', "no path_in"),
    ],
)
def test_a_recipe_that_is_damaged_or_of_another_version_is_refused(change, message):
    with pytest.raises(ArgumentError, match=message):
        PipelineJob.from_json(change(job_of_many_kinds().to_json()))


def test_a_recipe_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        PipelineJob.from_json(tmp_path / "recipe.json")


def test_an_output_that_no_job_wrote_has_no_recipe(tmp_path):
    with pytest.raises(ArgumentError, match="pipeline_job"):
        PipelineJob.from_output(save_cube(tmp_path / "a.nc"))


def test_a_recipe_is_made_of_the_output_that_contains_it(tmp_path):
    job = job_of_many_kinds()
    output = save_cube(tmp_path / "a.nc", attributes={"pipeline_job": job.to_json()})
    assert PipelineJob.from_output(output) == job


def test_a_stage_whose_parameters_are_no_fields_is_refused():
    class Undecorated(Stage):
        code = "mine"

        def __init__(self, by):
            self.by = by

    class Annotated(Stage):
        code: ClassVar[str] = "mine"
        by: int = 1

    class Plain(Stage):
        code: ClassVar[str] = "mine"

    for stage in (Undecorated(3), Annotated()):
        with pytest.raises(ArgumentError, match="write @dataclass before it"):
            PipelineJob("a.nc", stages=[stage])
    assert PipelineJob("a.nc", stages=[Plain()]).stages[0].code == "mine"


class TestFunctions:
    def test_a_function_travels_in_json_only_if_that_is_allowed(self):
        offset = 5
        job = PipelineJob("a.nc", stages=[lambda line: line + offset])
        with pytest.raises(ArgumentError, match="allow_functions=True"):
            PipelineJob.from_json(job.to_json())
        again = PipelineJob.from_json(job.to_json(), allow_functions=True)
        assert again == job
        assert again.stages[0].function(1) == 6

    def test_a_lambda_is_pickled_with_the_job_and_stays_the_same(self):
        offset = 5
        job = PipelineJob("a.nc", stages=[lambda line: line + offset, amplify])
        assert pickle.loads(pickle.dumps(job)) == job

    def test_a_job_has_the_same_key_in_another_process(self):
        offset = 5
        job = PipelineJob("a.nc", stages=[lambda line: line + offset, child_ids.plus_two])
        assert in_child(child_ids.key_of_pickle, pickle.dumps(job)) == job._key


def test_cubes_are_those_of_folders_with_the_tree_below(tmp_path):
    flight = tmp_path / "flight"
    for name in ("2026_11_20/a.nc", "2026_11_21/a.nc", "2026_11_21/.hidden.nc", "2026_11_21/a_detections.nc"):
        (flight / name).parent.mkdir(parents=True, exist_ok=True)
        (flight / name).touch()
    cubes = PipelineJob(flight, tmp_path / "out").cubes()
    assert [one.path_out for one in cubes] == [tmp_path / "out" / f"2026_11_2{n}" / "a.nc" for n in (0, 1)]
    (zarr, _) = PipelineJob(flight, tmp_path / "out", output="zarr").cubes()
    assert zarr.path_out == tmp_path / "out/2026_11_20/a.zarr"
    assert zarr.cubes() == [zarr]


def test_results_in_the_folder_of_their_input_are_not_taken_as_input(tmp_path):
    for name in ("a.nc", "b.nc", "a_level_4.nc", "out/b.nc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    beside = PipelineJob(tmp_path, processing_lvl=4).cubes()
    assert [one.path_in.name for one in beside] == ["a.nc", "b.nc", "b.nc"]
    (tmp_path / "link").symlink_to(tmp_path / "out")
    linked = PipelineJob(tmp_path, tmp_path / "link", processing_lvl=4).cubes()
    below = PipelineJob(tmp_path, tmp_path / "out", processing_lvl=4).cubes()
    assert [one.path_in for one in linked] == [one.path_in for one in below]
    assert [one.path_in.name for one in below] == ["a.nc", "a_level_4.nc", "b.nc"]


@pytest.mark.parametrize(
    ("path_out", "output", "expected"),
    [
        (None, "netcdf", "in/a_processed.nc"),
        (None, "table", "in/a_detections.nc"),
        (None, "envi", "in/a_processed.raw"),
        ("x.nc", "netcdf", "x.nc"),
        ("x.nc", "zarr", "x.nc/a.zarr"),
        ("x", "table", "x/a_detections.nc"),
        ("x.raw", "envi", "x.raw"),
    ],
)
def test_a_target_is_named_by_its_format(tmp_path, path_out, output, expected):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.nc").touch()
    out = None if path_out is None else tmp_path / path_out
    (one,) = PipelineJob(tmp_path / "in/a.nc", out, output=output).cubes()
    assert one.path_out == tmp_path / expected


class TestBadPaths:
    def test_a_folder_without_cubes(self, tmp_path):
        with pytest.raises(ArgumentError, match="contains no cube"):
            PipelineJob(tmp_path).cubes()

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(FileError, match="does not exist"):
            PipelineJob(tmp_path / "a.nc").cubes()

    def test_two_cubes_with_one_target(self, tmp_path):
        for name in "ab":
            (tmp_path / name).mkdir()
            (tmp_path / name / "x.nc").touch()
        with pytest.raises(ArgumentError, match="would both become"):
            PipelineJob([tmp_path / "a/x.nc", tmp_path / "b/x.nc"], tmp_path / "out").cubes()

    def test_one_target_for_a_folder(self, tmp_path):
        (tmp_path / "x.nc").touch()
        with pytest.raises(ArgumentError, match="is one file"):
            PipelineJob(tmp_path, tmp_path / "out.nc").cubes()

    def test_the_input_as_target(self, tmp_path):
        (tmp_path / "x.nc").touch()
        (tmp_path / "link.nc").symlink_to("x.nc")
        for target in ("x.nc", "link.nc", "."):
            with pytest.raises(ArgumentError, match="the input itself"):
                PipelineJob(tmp_path / "x.nc", tmp_path / target).cubes()
        with pytest.raises(ArgumentError, match="the input itself"):
            PipelineJob(tmp_path, tmp_path).cubes()

    def test_several_cubes_have_no_single_plan_and_id(self, tmp_path):
        (tmp_path / "x.nc").touch()
        for call in (PipelineJob(tmp_path).plan, PipelineJob(tmp_path).get_ppid):
            with pytest.raises(ArgumentError, match=r"use its cubes\(\)"):
                call()


def test_values_of_all_kinds_survive_json():
    from openhsi_shared.jobs.recipes.serial import from_jsonable, to_jsonable

    values = [
        None, True, 5, -0.0, float("inf"), "$x", Path("a"), slice(None, -3, None), range(3), (1, (2,)), [1, [2]],
        {"$a": 1, 2: None}, np.float32(0.1), np.int64(7), np.bool_(True), np.datetime64("2026-11-28", "ns"),
        np.arange(6, dtype=">i2").reshape(2, 3), np.zeros(2, [("y", "i8"), ("at", "f4", (2,))]), np.dtype("f4"),
        datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC), datetime.date(2026, 1, 1), datetime.timedelta(1, 2, 3),
        1 + 2j, b"\xff", np.array(["ä", "b"]),
    ]  # fmt: skip
    for value in values:
        again = from_jsonable(to_jsonable(value))
        assert type(again) is type(value) or isinstance(value, Path)
        if isinstance(value, np.ndarray | np.generic):
            assert again.dtype == value.dtype
        assert np.array_equal(again, value) if isinstance(value, np.ndarray) else again == value
    with pytest.raises(ArgumentError, match="cannot be part of a recipe"):
        to_jsonable(object())


def test_a_function_of_a_module_that_has_changed_is_not_taken_for_the_one_of_the_recipe(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "changing_module.py"

    def imported(factor):
        module.write_text(
            f"def helper(line):\n    return line * {factor}\n\n\ndef change(line):\n    return helper(line)\n"
        )
        sys.modules.pop("changing_module", None)
        linecache.checkcache()
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        return importlib.import_module("changing_module")

    text = PipelineJob("cube.nc", stages=[imported(2).change]).to_json()
    assert PipelineJob.from_json(text, allow_functions=True).stages[0].function(1) == 2
    imported(30)
    with pytest.raises(ArgumentError, match=r"changing_module\.helper has changed since the recipe was made"):
        PipelineJob.from_json(text, allow_functions=True)
    imported(2)
    assert PipelineJob.from_json(text, allow_functions=True).stages[0].function(1) == 2
