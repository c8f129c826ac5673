"""Whether a job that follows a recording takes every cube, and costs no line."""

from pathlib import Path

import numpy as np
import pytest

from openhsi_shared import SharedSimulatedCamera, open_cube, record
from openhsi_shared.durable import PartFile
from openhsi_shared.errors import ArgumentError
from openhsi_shared.jobs import JobRunner, PipelineJob
from openhsi_shared.jobs.following import followed_cubes, is_recorded_into
from openhsi_shared.processes.background import in_background
from tests.support.job_cubes import save_cube

CAMERA = {"resolution": (16, 48), "row_slice": (0, -1), "mode": "counting", "n_lines": 20, "rate": 200}
CAMERA |= {"queue": 9999, "when_full": "block"}


def test_every_cube_of_a_recording_becomes_a_result_and_no_line_is_lost(tmp_path: Path, runtime: Path) -> None:
    job = PipelineJob(tmp_path / "flight", tmp_path / "out", stages=["crop:rows=2-5"])
    with record(SharedSimulatedCamera, tmp_path / "flight", n_cubes=6, progress=False, **CAMERA) as recording:
        assert is_recorded_into(tmp_path / "flight")
        assert not is_recorded_into(tmp_path / "out")
        with in_background():
            results = JobRunner(job, cubes=followed_cubes(job)).run()
        summary = recording.wait()
    assert summary.lines_lost == 0
    assert not is_recorded_into(tmp_path / "flight")
    assert isinstance(results, list)
    assert sorted(result.path.name for result in results) == sorted(Path(path).name for path in summary.paths)
    for path in summary.paths:
        with open_cube(path) as raw, open_cube(tmp_path / "out" / Path(path).relative_to(tmp_path / "flight")) as made:
            np.testing.assert_array_equal(made.lines[:], raw.lines[:, 2:5])


def test_a_folder_without_a_recording_is_processed_and_that_is_all(tmp_path: Path, runtime: Path) -> None:
    save_cube(tmp_path / "flight" / "one.nc")
    job = PipelineJob(tmp_path / "flight", tmp_path / "flight" / "out")
    results = JobRunner(job, cubes=followed_cubes(job)).run()
    assert [result.path for result in results] == [tmp_path / "flight" / "out" / "one.nc"]  # type: ignore[union-attr]


def test_it_goes_on_while_the_writer_of_a_killed_recording_saves_what_is_left(tmp_path: Path, runtime: Path) -> None:
    one, two = (save_cube(tmp_path / "flight" / name) for name in ("one.nc", "two.nc"))
    two.rename(tmp_path / "two.nc")
    (tmp_path / "link").symlink_to(tmp_path / "flight" / "out")  # its own results are not followed
    job = PipelineJob(tmp_path / "flight", tmp_path / "link")
    followed = (cube and cube.path_in for cube in followed_cubes(job))
    with PartFile(tmp_path / "flight", "two.nc"):
        assert (next(followed), next(followed)) == (one, None)
        save_cube(tmp_path / "flight" / "out" / "one.nc")
        (tmp_path / "two.nc").rename(two)
    assert [path for path in followed if path] == [two]


@pytest.mark.parametrize(
    ("path_in", "path_out", "problem"),
    [
        ("flight/one.nc", "out", "must be the folder"),
        ("flight", None, "another folder"),
        ("flight", "flight", "another folder"),
        ("empty", "out", "no cube, and no recording"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    tmp_path: Path, runtime: Path, path_in: str, path_out: str | None, problem: str
) -> None:
    save_cube(tmp_path / "flight" / "one.nc")
    job = PipelineJob(tmp_path / path_in, None if path_out is None else tmp_path / path_out)
    with pytest.raises(ArgumentError, match=problem):
        list(followed_cubes(job))
