"""What tests of whole jobs share: small cubes, which are made once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openhsi_shared.jobs import PipelineJob
from tests.support.job_cubes import save_calibration, save_cube, save_raw_cube, save_settings

N_LINES = 11


@pytest.fixture(scope="session")
def job_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a raw cube of 11 lines (20 x 48), one of plain numbers, calibration and settings."""
    folder = tmp_path_factory.mktemp("job_files")
    save_raw_cube(folder / "raw.nc", N_LINES)
    save_cube(folder / "numbers.nc", N_LINES)
    save_calibration(folder / "calibration.nc")
    save_settings(folder / "settings.json")
    return folder


@pytest.fixture
def raw_job(job_files: Path, tmp_path: Path) -> Callable[..., PipelineJob]:
    """Make a job of the raw cube, with calibration and settings."""

    def make(level: int | None = 4, **options: Any) -> PipelineJob:
        known = {"cal_path": job_files / "calibration.nc", "json_path": job_files / "settings.json"}
        return PipelineJob(job_files / "raw.nc", tmp_path / "out", processing_lvl=level, **known, **options)

    return make


@pytest.fixture
def job(job_files: Path, tmp_path: Path) -> Callable[..., PipelineJob]:
    """Make a job of the cube of numbers, with functions or stages, done by threads."""

    def make(*stages: Any, **options: Any) -> PipelineJob:
        known = {"path_in": job_files / "numbers.nc", "path_out": tmp_path / "out", "workers": "threads"}
        options = known | options
        return PipelineJob(**options, stages=stages)

    return make
