"""Jobs with analysis stages, from a file to a file."""

import h5py
import numpy as np
import pytest

from openhsi_shared.files import CubeWriter, open_cube
from openhsi_shared.jobs import FunctionStage, PipelineJob
from openhsi_shared.jobs.runner import JobRunner
from openhsi_shared.jobs.stages.registry import stage_from_text
from tests.support.cubes import make_cube
from tests.support.stage_runs import run_in_blocks

WAVELENGTHS = np.linspace(600, 880, 12)
LINES = np.random.default_rng(0).integers(1, 4000, (24, 16, 12)).astype(np.uint16)


@pytest.fixture
def cube_path(tmp_path):
    cube = make_cube(24, 16, 12, np.uint16, wavelengths_nm=WAVELENGTHS)
    cube.memory[:] = LINES
    with CubeWriter(24, (16, 12), np.uint16) as writer:
        return writer.write(cube, [tmp_path]).path


def run(cube_path, stage, workers="threads", **options):
    job = PipelineJob(
        cube_path, cube_path.with_name("made.nc"), stages=[stage], workers=workers, n_procs=2, block_lines=5, **options
    )
    return JobRunner(job).run()


def spots(line):
    means = line.mean(axis=1)
    return [{"x": int(x), "mean": means[x]} for x in np.flatnonzero(means > 2300)]


@pytest.mark.parametrize(
    "text",
    [
        "index:formula=(R800-R670)/(R800+R670)",
        "rx:n=10",
        "running_background:n=7,how=mean",
        "running_background:n=6",
        "sparse_background:n=9",
        "spectral_angle:spectrum=1,2,3,4,5,6,7,8,9,8,7,6",
    ],
)
def test_the_result_of_a_job_is_that_of_the_stage(cube_path, text):
    result = run(cube_path, text)
    expected = run_in_blocks(stage_from_text(text), LINES, 24, wavelengths_nm=WAVELENGTHS, level=-1)
    with open_cube(result.path) as cube:
        assert np.array_equal(cube.lines[:], expected)


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_rows_of_a_function_become_a_table_with_types_and_units(cube_path, workers):
    stage = FunctionStage(spots, fields={"x": "int16", "mean": ("float32", "W m-2")})
    result = run(cube_path, stage, workers, output="netcdf")
    expected = [(y, row["x"], np.float32(row["mean"])) for y, line in enumerate(LINES) for row in spots(line)]
    assert result.n_rows == len(expected) > 30
    with h5py.File(result.path) as file:
        table = file["detections"]
        found = list(zip(table["y"][:].tolist(), table["x"][:].tolist(), table["mean"][:], strict=True))
        assert (table["x"].dtype, table["mean"].dtype) == (np.int16, np.float32)
        assert table["mean"].attrs["units"] == b"W m-2"
    assert found == expected
