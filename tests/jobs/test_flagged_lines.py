"""Lines without values, of an earlier job or damaged now, in stages that take several lines: against plain numpy."""

import warnings

import numpy as np
import pytest
import xarray as xr

from openhsi_shared import open_cube, verify
from openhsi_shared.jobs import JobRunner, PipelineJob
from tests.support.foreign import openhsi_cube, put
from tests.support.job_cubes import save_cube
from tests.support.job_teams import damage

N_LINES = 13
FAILED, DAMAGED = (3, 4, 9), 6


@pytest.fixture(scope="module")
def flagged(tmp_path_factory):
    """A cube with lines that failed in an earlier job, and one that is damaged: path, its lines, their flags."""
    folder = tmp_path_factory.mktemp("flagged")
    source = save_cube(folder / "cube.nc", N_LINES)
    with open_cube(source) as cube:
        lines = cube.lines[:].astype(np.float64)
    bad = lines[list(FAILED), 0, 0].tolist()

    def fails(line):
        if line[0, 0] in bad:
            raise ValueError("it is too hot")
        return line.astype(np.float32)

    job = PipelineJob(source, folder / "flagged.nc", stages=[fails], on_error="nan", workers="threads")
    path = JobRunner(job).run().path
    damage(path, DAMAGED)
    flags = np.zeros(N_LINES, int)
    flags[list(FAILED)], flags[DAMAGED] = 1, 2
    lines[flags != 0] = np.nan
    return path, lines, flags


def _background(lines, n, how):
    windows = [lines[max(0, i - n // 2) : i + (n - 1) // 2 + 1] for i in range(len(lines))]
    return lines - np.array([how(window, axis=0) for window in windows])


def _binned(lines, flags, n):
    firsts = range(0, len(lines), n)
    return np.array([lines[i : i + n].mean(axis=0) for i in firsts]), [max(flags[i : i + n]) for i in firsts]


@pytest.mark.parametrize("lines", [slice(None), slice(2, 12)])
@pytest.mark.parametrize("block_lines", [1, 3, N_LINES])
@pytest.mark.parametrize(
    ("stages", "of"),
    [
        (["running_background:n=5"], lambda x, f: (_background(x, 5, np.nanmedian), f)),
        (["running_background:n=4,how=mean"], lambda x, f: (_background(x, 4, np.nanmean), f)),
        (["sparse_background"], lambda x, f: (x - np.nanmedian(x, axis=0), f)),
        (["bin_lines:n=4"], lambda x, f: _binned(x, f, 4)),
        (["running_background:n=3", "bin_lines:n=3"], lambda x, f: _binned(_background(x, 3, np.nanmedian), f, 3)),
        (["crop:rows=1-3"], lambda x, f: (x[:, 1:3], f)),
    ],
    ids=["median", "mean", "sparse", "bin", "median and bin", "crop"],
)
def test_lines_without_values_count_for_nothing_and_stay_flagged(flagged, tmp_path, stages, of, block_lines, lines):
    path, values, flags = flagged
    options = {"on_error": "nan", "workers": "threads", "n_procs": 2, "block_lines": block_lines, "lines": lines}
    result = JobRunner(PipelineJob(path, tmp_path / "out.nc", stages=stages, **options)).run()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a window without values
        expected, expected_flags = of(values[lines], flags[lines])
    with open_cube(result.path) as made:
        np.testing.assert_allclose(made.lines[:], expected, rtol=1e-6, equal_nan=True)
        assert made.column("line_flag").tolist() == list(expected_flags)
    assert result.n_failed == np.count_nonzero(expected_flags)
    assert verify(result.path).ok


@pytest.mark.parametrize("meanings", [None, "dark bright"])
@pytest.mark.parametrize("link", [False, True])
def test_flags_of_another_program_take_no_values_from_lines(tmp_path, caplog, link, meanings):
    source = openhsi_cube(n_lines=6)
    labels = {} if meanings is None else {"flag_meanings": meanings}
    source = source.assign(line_flag=("y", np.array([1, 256, 0, 1, 7, 1]), labels))
    path = put(source, tmp_path / "in.nc")
    job = PipelineJob(path, tmp_path / "out.nc", stages=["running_background:n=3"], link_to_input=link)
    result = JobRunner(job).run()
    assert result.n_failed == 0
    lines = source.datacube.transpose("y", "x", "wavelength").values.astype(float)
    with open_cube(result.path) as made:
        np.testing.assert_array_equal(made.lines[:], _background(lines, 3, np.median))
        assert made.column("line_flag").tolist() == [0] * 6
        assert "line_flag" in made.attributes["source_groups_left_out"]
    assert "line_flag of" in caplog.text


def test_flags_of_a_job_stay_when_another_program_has_rewritten_the_file(flagged, tmp_path):
    path, _, flags = flagged
    with xr.open_dataset(path) as dataset:
        dataset.drop_attrs(deep=False).to_netcdf(tmp_path / "rewritten.nc")
    job = PipelineJob(tmp_path / "rewritten.nc", tmp_path / "out.nc", stages=["crop:rows=0-2"], on_error="nan")
    result = JobRunner(job).run()
    assert result.n_failed == len(FAILED)  # it has no checksums any more
    with open_cube(result.path) as made:
        assert made.column("line_flag").tolist() == (flags == 1).astype(int).tolist()
