"""What stages of others say of themselves is checked before a job begins: no line is lost by it, and no row made up."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from openhsi_shared import open_cube
from openhsi_shared.errors import ArgumentError
from openhsi_shared.jobs import JobError, JobRunner, PipelineJob, Stage
from tests.jobs.conftest import N_LINES

Make = Callable[..., PipelineJob]


def stage_with(**attributes: Any) -> Stage:
    """A stage that copies its lines, with these attributes and methods."""

    def apply(self: Stage, lines: Any, out: Any) -> None:
        out[:] = lines[:, : out.shape[1], : out.shape[2]]

    made: Any = dataclass(type("Mine", (Stage,), {"code": "mine", "apply": apply, "__annotations__": {}} | attributes))
    stage: Stage = made()
    return stage


def format_with(**changes: Any) -> Callable[..., Any]:
    return lambda self, source: source.replace(**changes)


def surveys(lines: Any) -> Callable[..., Any]:
    return lambda self, source: lines


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"halo": (-1, 0)}, r"halo=\(-1, 0\), expected two numbers of lines from 0 on"),
        ({"halo": 1}, "halo=1, expected two numbers"),
        ({"halo": (1, 0.5)}, "expected two numbers"),
        ({"lines_per_result": 0}, "lines_per_result=0, expected a whole number from 1 on"),
        ({"survey_size": 0}, "survey_size=0, expected"),
        ({"row_dtype": np.dtype("i4")}, "expected a structured type whose fields are not y"),
        ({"row_dtype": np.dtype([("y", "i4")])}, "which is the line"),
        ({"survey_lines": surveys(range(N_LINES + 1))}, r"range\(0, 12\), expected a range of some of the lines of"),
        ({"survey_lines": surveys(range(-1, 3))}, r"range\(-1, 3\), expected"),
        ({"survey_lines": surveys(range(0))}, r"range\(0, 0\), expected"),
        ({"survey_lines": surveys([1, 2])}, r"\[1, 2\], expected a range"),
        ({"out_format": surveys(None)}, "out_format gives None, expected a LineFormat"),
        ({"out_shape": surveys((3.0, 2.0))}, r"out_shape gives \(3\.0, 2\.0\), expected two whole numbers"),
        ({"out_format": format_with(line_shape=(3,))}, r"out_shape gives \(3,\)"),
        ({"out_format": format_with(n_lines=5)}, "gives 5 lines, expected 11, one for each 1 of 11 lines"),
        ({"out_format": format_with(wavelengths_nm=np.arange(3.0))}, "expected one for each of 7 bands, or None"),
        ({"out_format": format_with(wavelengths_nm=np.full(7, np.nan))}, "expected one for each of 7 bands"),
    ],
)
def test_what_no_stage_can_be_is_refused_before_any_work(job: Make, attributes: dict[str, Any], problem: str) -> None:
    made = job(stage_with(**attributes))
    with pytest.raises(JobError, match=f"stage 'mine': .*{problem}") as refused:
        made.validate()
    assert refused.value.stage == "mine"
    assert refused.value.path == str(made.path_in)


@pytest.mark.parametrize("code", ["a|b", "a:b", "a b", "", None, "Upper", "a=1", "a^b", "a,b"])
def test_a_code_that_no_id_could_contain_is_refused(job: Make, code: Any) -> None:
    with pytest.raises(ArgumentError, match=r"stages\[0\]: the code of the stage Mine must be a name in lower case"):
        job(stage_with(code=code))


def test_shapes_and_types_of_other_kinds_become_those_of_a_file(job: Make) -> None:
    made = job(stage_with(out_shape=surveys([np.int64(3), 2]), out_dtype=surveys(">u4")))
    with open_cube(JobRunner(made).run().path) as cube, open_cube(made.path_in) as raw:
        assert cube.lines.dtype == np.uint32
        np.testing.assert_array_equal(cube.lines[:], raw.lines[:, :3, :2])
