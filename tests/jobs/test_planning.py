"""Plans of cubes: what each becomes, and what is refused before anything is touched."""

import dataclasses
import errno
import pickle

import numpy as np
import pytest

from openhsi_shared.errors import (
    ArgumentError,
    CalibrationError,
    FileError,
    LevelError,
    MemoryShortage,
    SaveError,
    SettingsError,
    StageNotApplicable,
)
from openhsi_shared.jobs import PipelineJob
from openhsi_shared.jobs.planning.block_size import block_bytes, sized
from openhsi_shared.jobs.planning.plans import check_room, plans_of
from tests.support.disks import mounted, needs_disks
from tests.support.job_cubes import save_calibration, save_cube, save_foreign_cube, save_raw_cube, save_settings
from tests.support.level_oracle import make_calibration


@pytest.fixture
def raw(tmp_path):
    """A raw cube, settings and a calibration."""
    save_calibration(tmp_path / "cal.nc")
    save_settings(tmp_path / "settings.json")
    return save_raw_cube(tmp_path / "in/a.nc")


def job_of(raw, **values):
    place = raw.parent.parent
    given = {"json_path": place / "settings.json", "cal_path": place / "cal.nc"}
    return PipelineJob(raw, place / "out", **(given | values))


def test_a_plan_knows_all_before_pixels_are_read(raw):
    plan = job_of(raw, processing_lvl=4, lines=slice(-4, None)).plan()
    assert plan.lines == range(2, 6)
    assert [stage.code for stage in plan.stages] == ["level"]
    assert plan.result.line_shape[0] == 14
    assert (plan.result.n_lines, plan.result.dtype, plan.result.level) == (4, np.float32, 4)
    assert plan.target == raw.parent.parent / "out/a.nc"
    assert (plan.ppid, plan.ppid_hash) == plan.job.get_ppid(ret_hash=True)
    again = pickle.loads(pickle.dumps(plan))
    assert again.ppid == plan.ppid
    assert again.job == plan.job
    assert not plan.target.parent.exists()


def test_a_job_without_stages_is_a_copy(raw):
    plan = job_of(raw, lines=slice(1, 3)).plan()
    assert plan.stages == ()
    assert plan.result.n_lines == 2
    assert job_of(raw).validate() is True


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ({"lines": slice(6, None)}, ArgumentError, "none of the 6 lines"),
        ({"cal_path": "none.nc"}, CalibrationError, "cannot be read"),
        ({"json_path": "none.json"}, SettingsError, "cannot be read"),
        ({"output": "table"}, ArgumentError, "needs a last stage that gives rows"),
        ({"significant_bits": 12}, ArgumentError, "is for floats"),
        ({"significant_bits": 30, "processing_lvl": 4}, ArgumentError, "float32 has 23"),
        ({"block_lines": 10**12}, MemoryShortage, "smaller block_lines"),
        ({"stages": [lambda _line: None]}, StageNotApplicable, "None"),
        ({"stages": ["level:level=2", "level:level=3"]}, StageNotApplicable, "first stage"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_run(raw, values, kind, message):
    with pytest.raises(kind, match=message):
        job_of(raw, **values).validate()
    assert not (raw.parent.parent / "out").exists()


def test_all_missing_values_of_a_calibration_are_named_at_once(raw):
    from openhsi_shared import write_calibration

    poor = write_calibration(make_calibration(sfit_x=None, sfit_y=None, rad_ref=None), raw.parent.parent / "poor.nc")
    with pytest.raises(LevelError, match=r"rad_ref, sfit_x, sfit_y, which .* does not hold"):
        job_of(raw, processing_lvl=4, cal_path=poor).validate()
    with pytest.raises(LevelError, match="no calibration was given"):
        job_of(raw, processing_lvl=4, cal_path=None).validate()


def test_cubes_of_a_job_share_one_calibration(raw):
    save_raw_cube(raw.with_name("b.nc"))
    one, other = plans_of(job_of(raw, processing_lvl=4).replace(path_in=raw.parent))
    assert one.source.calibration is other.source.calibration
    assert one.source.exposure_is_known


def test_a_level_below_that_of_the_file_is_refused(tmp_path):
    with pytest.raises(LevelError, match="cannot be undone"):
        PipelineJob(save_cube(tmp_path / "a.nc", dtype=np.float32, level=4), processing_lvl=2).validate()


@pytest.mark.parametrize(
    "content", [b"", b"no cube", b"\x89HDF\r\n\x1a\n" + bytes(100), b"version https://git-lfs.github.com/spec"]
)
def test_a_file_that_is_no_cube_is_refused(tmp_path, content):
    path = tmp_path / "a.nc"
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"a\.nc"):
        PipelineJob(path).validate()


def test_cubes_of_two_kinds_are_refused_by_name(tmp_path):
    save_cube(tmp_path / "a.nc")
    save_cube(tmp_path / "b.nc", shape=(5, 8))
    with pytest.raises(ArgumentError, match=r"2 kinds.*a\.nc has lines of 5 x 7.*b\.nc has lines of 5 x 8"):
        PipelineJob(tmp_path).validate()


def test_results_that_do_not_fit_onto_the_disk_are_refused(tmp_path):
    plan = PipelineJob(save_cube(tmp_path / "a.nc")).plan()
    large = dataclasses.replace(plan, formats=(plan.result.replace(n_lines=10**15),))
    with pytest.raises(SaveError, match=r"need 70,000,000,002\.1 MB, but .* MB are free"):
        check_room([plan, large])
    check_room([plan, plan])


def test_a_target_that_is_something_else_is_refused(tmp_path):
    path, other = save_cube(tmp_path / "a.nc"), save_cube(tmp_path / "b.nc")
    with pytest.raises(SaveError, match=r"it is no result of a job; this job is jobs:generation.*move it away"):
        PipelineJob(path, other).validate()
    (tmp_path / "folder.nc").mkdir()
    with pytest.raises(SaveError, match="the name is taken"):
        PipelineJob(path, tmp_path / "folder.nc").validate()


@needs_disks
def test_a_read_only_disk_and_a_full_one_are_refused_before_anything_is_written(tmp_path):
    path = save_cube(tmp_path / "a.nc", n_lines=60, shape=(100, 100))
    with mounted("tmpfs", tmp_path / "disk", "ro") as disk, pytest.raises(SaveError, match="is read-only") as raised:
        PipelineJob(path, disk / "below").validate()
    assert raised.value.errno == errno.EROFS
    with (
        mounted("tmpfs", tmp_path / "disk", "size=1m") as disk,
        pytest.raises(SaveError, match=r"need 2\.2 MB, but 1\.0 MB"),
    ):
        PipelineJob(path, disk / "below").validate()


def test_a_name_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(SaveError, match="too long"):
        PipelineJob(save_cube(tmp_path / "a.nc"), tmp_path / f"{'z' * 300}.nc").validate()


def test_links_to_folders_are_followed_once(tmp_path):
    cubes = [save_cube(tmp_path / name) for name in ("flight/day_2/a.nc", "other disk/day_1/b.nc")]
    flight = tmp_path / "flight"
    (flight / "day_1").symlink_to(cubes[1].parent)
    (flight / "again").symlink_to(flight / "day_2")
    (flight / "day_2" / "up").symlink_to(flight)
    (cubes[1].parent / "all").symlink_to(tmp_path)
    found = [job.path_in.relative_to(flight).as_posix() for job in PipelineJob(flight, tmp_path / "out").cubes()]
    assert found == ["day_1/b.nc", "day_2/a.nc"]


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    path = save_cube(tmp_path / "a.nc")
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match="is a file, not a folder"):
        PipelineJob(path, tmp_path / "file/out.nc").validate()


def test_a_foreign_cube_can_be_planned(tmp_path):
    assert PipelineJob(save_foreign_cube(tmp_path / "a.nc")).plan().result.n_lines == 12


def test_a_function_is_tried_on_the_lines_after_the_stages_before_it(raw):
    def look(line):
        return line[:, 0] * np.float32(2)

    plan = job_of(raw, processing_lvl=2, stages=[look]).plan()
    assert plan.result.line_shape == (14, 1)
    assert plan.result.dtype == np.float32


class TestBlocks:
    def test_blocks_are_about_16_mb_and_two_more_than_workers(self, tmp_path):
        path = save_cube(tmp_path / "a.nc", n_lines=200, shape=(400, 400))
        plan = PipelineJob(path, n_procs=2).plan()
        assert 15e6 < block_bytes(plan, plan.block_lines) < 17.5e6
        assert plan.n_blocks == 4 == min(4, len(plan.blocks))

    def test_a_block_is_not_longer_than_the_cube(self, tmp_path):
        plan = PipelineJob(save_cube(tmp_path / "a.nc"), n_procs=2, block_lines=1000).plan()
        assert (plan.block_lines, plan.n_blocks, len(plan.blocks)) == (6, 1, 1)

    def test_blocks_get_smaller_where_memory_is_short(self, tmp_path):
        path = save_cube(tmp_path / "a.nc", n_lines=200, shape=(400, 400))
        plan = sized(PipelineJob(path, n_procs=2).plan(), "this machine", 8_000_000)
        assert 0 < block_bytes(plan, plan.block_lines) * plan.n_blocks <= 8_000_000
        with pytest.raises(MemoryShortage, match=r"20 blocks of 20 lines need 256\.0 MB, but this machine has 8\.0 MB"):
            sized(PipelineJob(path, block_lines=20, n_blocks=20).plan(), "this machine", 8_000_000)
