"""Whether workers of an executor make the same results as this computer does, whatever happens to them."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError, JobError
from openhsi_shared.jobs import JobRunner, PipelineJob
from openhsi_shared.jobs.workers.control import Control
from openhsi_shared.jobs.workers.remote import RemoteTeam
from openhsi_shared.processes.dask_client import client_of
from tests.support.helpers import wait_for
from tests.support.job_cubes import save_calibration, save_raw_cube, save_settings

N_LINES = 24


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    save_raw_cube(folder / "raw.nc", N_LINES)
    save_calibration(folder / "calibration.nc")
    save_settings(folder / "settings.json")
    return folder


def job_of(files: Path, out: Path, **changes: Any) -> PipelineJob:
    options: dict[str, Any] = {"processing_lvl": 4, "output": "zarr", "block_lines": 3}
    options |= {"json_path": files / "settings.json", "cal_path": files / "calibration.nc"}
    return PipelineJob(files / "raw.nc", out, **options | changes)


def pixels_of(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    import zarr

    root: Any = zarr.open_group(str(path), mode="r")
    return root["datacube"][:], root["line_crc32"][:]


@pytest.mark.parametrize("stages", [[], ["sparse_background:n=4"], ["bin_lines:n=5"]])
def test_any_executor_makes_the_same_result(files: Path, tmp_path: Path, stages: list[str]) -> None:
    here = JobRunner(job_of(files, tmp_path / "here.zarr", stages=stages)).run()
    with ThreadPoolExecutor(1) as executor:
        there = JobRunner(job_of(files, tmp_path / "there.zarr", stages=stages), executor=executor).run()
        assert not isinstance(there, list)
        assert not isinstance(here, list)
        assert there.ppid_hash == here.ppid_hash
        expected = pixels_of(here.path)
        for one, two in zip(expected, pixels_of(there.path), strict=True):
            np.testing.assert_array_equal(one, two)
        there.path.rename(tmp_path / "first.zarr")  # then the same place and id, with other blocks, by the same thread
        JobRunner(job_of(files, tmp_path / "there.zarr", stages=stages, block_lines=4), executor=executor).run()
        for one, two in zip(expected, pixels_of(there.path), strict=True):
            np.testing.assert_array_equal(one, two)


def test_other_formats_executors_and_schedulers_are_refused(files: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(ArgumentError, match="--to zarr"):
        JobRunner(job_of(files, tmp_path / "out.nc", output="netcdf"), executor=executor).run()
    with pytest.raises(ArgumentError, match="submit"):
        JobRunner(job_of(files, tmp_path / "out.zarr"), executor=3).run()
    with pytest.raises(JobError, match="does not answer"), client_of("nothing://at-all", JobError):
        pass
    assert not list(tmp_path.iterdir())


class OtherVersion(ThreadPoolExecutor):
    def run(self, function: Any) -> dict[str, str]:
        return {"tcp://there:1": "0.0.1"}


def test_another_version_is_refused(files: Path, tmp_path: Path) -> None:
    with OtherVersion(1) as executor, pytest.raises(JobError, match=r"tcp://there:1 has openhsi_shared 0\.0\.1"):
        RemoteTeam(executor, control=Control())


@pytest.fixture
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster, set_as_default=False) as found:
        yield found


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_cluster_makes_the_same_result_though_a_worker_is_killed(files: Path, tmp_path: Path, client: Any) -> None:
    here = JobRunner(job_of(files, tmp_path / "here.zarr")).run()

    def slow(line: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import time

        time.sleep(0.05)
        return line

    runner = JobRunner(job_of(files, tmp_path / "there.zarr", stages=[slow], block_lines=2), executor=client)
    runner.start()
    wait_for(lambda: runner.get_status().lines > 0)
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    runner.join()
    assert not isinstance(here, list)
    for one, two in zip(pixels_of(here.path), pixels_of(runner.result.path), strict=True):  # type: ignore[union-attr]
        np.testing.assert_array_equal(one, two)
