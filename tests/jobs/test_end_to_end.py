"""Whole jobs, from a saved cube to the published result: bit for bit what a plain serial loop computes."""

import hashlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openhsi_shared import ProcessRawDatacube, open_cube, verify
from openhsi_shared.files.source_cube import SourceCube
from openhsi_shared.jobs import JobRunner, PipelineJob
from openhsi_shared.processing_levels import LEVELS
from tests.jobs.conftest import N_LINES
from tests.support.job_cubes import save_cube
from tests.support.products import each_value_once, some

COMPAT_LEVELS = [level for level in LEVELS if level >= 0]


def _lines(path):
    with open_cube(path) as cube:
        return cube.lines[:]


def _serially(job):
    """A plain loop over the lines."""
    source = SourceCube.look_at(job.path_in, json_path=job.json_path, cal_path=job.cal_path)
    plan = source.plan_to(job.processing_lvl, job.compat)
    made = np.empty((source.n_lines, *plan.line_shape), plan.line_dtype)
    with open_cube(job.path_in) as cube:
        for line, out in zip(cube.lines, made, strict=True):
            plan.apply(line, out)
    return made


def _assert_same(found, expected):
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert found.tobytes() == expected.tobytes()


ARITHMETICS = [*((level, None) for level in LEVELS), *((level, "openhsi") for level in COMPAT_LEVELS)]


@pytest.mark.parametrize(("arithmetic", "old_style"), each_value_once(ARITHMETICS, [True, False]))
def test_every_level_is_what_a_serial_loop_computes(raw_job, tmp_path, arithmetic, old_style):
    level, compat = arithmetic
    job = raw_job(level, compat=compat, block_lines=4, n_procs=2)
    expected = _serially(job)
    result = JobRunner(job.replace(old_style=old_style, path_out=tmp_path / str(old_style))).run()
    assert (result.n_lines, result.n_failed, result.skipped) == (N_LINES, 0, False)
    assert verify(result.path).ok
    _assert_same(_lines(result.path), expected)
    with open_cube(result.path) as made, open_cube(job.path_in) as source:
        assert made.level == level
        assert made.dataset["datacube"].dims == (("x", "y", "wavelength") if old_style else ("wavelength", "x", "y"))
        np.testing.assert_array_equal(made.times_ns, source.times_ns)
        np.testing.assert_array_equal(made.frame_ids, source.frame_ids)
        assert made.column("line_flag").tolist() == [0] * N_LINES
        assert made.attributes["source_uuid"] == source.attributes["uuid"]


@pytest.mark.parametrize("block_lines", [1, 2, 5, 7, 10, 11, 12, 1000])
def test_every_remainder_gives_the_same_file(raw_job, block_lines):
    job = raw_job(4, block_lines=block_lines, n_procs=2)
    _assert_same(_lines(JobRunner(job).run().path), _serially(job))


@pytest.mark.parametrize(("n_procs", "n_blocks"), some((2, 3), all_of=((1, 1), (2, 3), (3, 2), (4, 3))))
def test_processes_give_the_same_file_as_threads(raw_job, n_procs, n_blocks):
    job = raw_job(4, workers="processes", n_procs=n_procs, n_blocks=n_blocks, block_lines=2)
    _assert_same(_lines(JobRunner(job).run().path), _serially(job))


@pytest.mark.parametrize("options", [{"compression": "zstd-1"}, {"compression": "deflate-1", "old_style": False}])
def test_compressed_files_have_the_same_lines(raw_job, options):
    job = raw_job(4, block_lines=2, n_procs=3, **options)
    result = JobRunner(job).run()
    _assert_same(_lines(result.path), _serially(job))
    assert verify(result.path).ok


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """Cubes of 1 to 14 lines."""
    folder = tmp_path_factory.mktemp("numbered")
    return [save_cube(folder / f"{n}.nc", n) for n in range(1, 15)]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


def _shaken(line):
    """Lines end in an order that depends on their values."""
    n_turns = int(line[0, 0]) % 7 * 40
    digest = b""
    for _ in range(n_turns):
        digest = hashlib.sha256(digest).digest()
    return (line.astype(np.float32) + 1) / 3


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    n_lines=st.integers(1, 14),
    block_lines=st.integers(1, 15),
    n_procs=st.integers(1, 4),
    n_blocks=st.integers(1, 5),
    lines=st.tuples(st.integers(0, 13), st.integers(1, 14)),
)
def test_any_division_into_blocks_and_any_order_give_the_same_file(
    numbered, outputs, n_lines, block_lines, n_procs, n_blocks, lines
):
    first, stop = min(lines[0], n_lines - 1), lines[1]
    part = slice(first, max(first + 1, stop))
    target = outputs / "result.nc"
    job = PipelineJob(
        numbered[n_lines - 1],
        target,
        stages=[_shaken],
        lines=part,
        block_lines=block_lines,
        n_procs=n_procs,
        n_blocks=n_blocks,
        workers="threads",
    )
    try:
        result = JobRunner(job).run()
        expected = np.stack([_shaken(line) for line in _lines(job.path_in)[part]])
        _assert_same(_lines(result.path), expected)
    finally:
        for path in outputs.iterdir():
            path.unlink()


@pytest.mark.parametrize(("level", "compat"), each_value_once([0, 2, 4, 7, 8], [None, "openhsi"]))
def test_a_job_gives_what_reprocessing_gives(raw_job, tmp_path, level, compat):
    job = raw_job(level, compat=compat)
    result = JobRunner(job).run()
    with ProcessRawDatacube(job.path_in, level, json_path=job.json_path, cal_path=job.cal_path, compat=compat) as cube:
        cube.collect()
        saved = cube.save(tmp_path / "reprocessed", savefig=False).result()
    _assert_same(_lines(result.path), _lines(saved.path))


def test_ten_cubes_are_one_run_with_one_result_each(tmp_path, numbered):
    job = PipelineJob(numbered[:10], tmp_path / "out", stages=[_shaken], workers="threads", n_procs=2)
    runner = JobRunner(job)
    results = runner.run()
    assert [result.n_lines for result in results] == list(range(1, 11))
    assert list(runner.results) == [path.absolute() for path in numbered[:10]]
    status = runner.get_status()
    assert (status.progress, status.cubes_done, status.n_cubes, status.lines) == (1, 10, 10, 55)
    for path, result in zip(numbered, results, strict=False):
        _assert_same(_lines(result.path), np.stack([_shaken(line) for line in _lines(path)]))
    assert all(result.skipped for result in JobRunner(job).run())
