"""The plan of a flight: measured with a real camera and a real disk, and chosen by arithmetic."""

import errno
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from openhsi_shared import SharedOpenHSI, SharedSimulatedCamera, record
from openhsi_shared.capture.planning import camera_trial, measuring
from openhsi_shared.capture.planning.plan import DiskSpeed, Measured, plan_of
from openhsi_shared.cli.plan import plan as plan_command
from openhsi_shared.errors import ArgumentError, RecordingError, SaveError
from openhsi_shared.files.flight_log import FlightLog
from openhsi_shared.flight.config import read_config
from openhsi_shared.flight.plan import write_plan
from tests.support.disks import mounted, needs_disks, unanswered
from tests.support.faulty_calls import FaultyCalls
from tests.support.flow import read

SMALL: dict[str, Any] = {"n_lines": 4, "resolution": (64, 512), "mode": "counting"}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure for a second in all."""
    monkeypatch.setattr(measuring, "COMPRESSIONS", ((None, 0.4), ("deflate", 0.2)))
    monkeypatch.setattr(measuring, "MIN_TRIAL_BYTES", 1 << 20)
    monkeypatch.setattr(measuring, "LAST_S", 0.0)
    monkeypatch.setattr(measuring, "LIMIT_S", 8.0)
    monkeypatch.setattr(camera_trial, "RATE_S", 0.3)
    monkeypatch.setattr(camera_trial, "QUEUE_S", 1.5)


# ---- measured ----


def test_a_plan_that_holds_becomes_a_recording_without_loss(tmp_path: Path) -> None:
    with SharedSimulatedCamera(**SMALL, rate=100.0, queue=12) as camera:
        plan = camera.plan(tmp_path / "flight")
        assert list((tmp_path / "flight").iterdir()) == []  # the trial is removed
        camera.collect()  # it can still be used, and ids show no loss
        lost = camera.status().lost_ids  # in a stall of the machine its queue may overflow
        with pytest.raises(ArgumentError, match="lines are collected that are not saved"):
            camera.plan(tmp_path)
        saved = read(camera.save(tmp_path).result(60).path)
    assert all(ids.first > saved.ids[0] for ids in lost)
    found = plan.measured
    assert found.rate == pytest.approx(100, rel=0.1)
    assert found.queue is not None
    assert 6 <= found.queue <= 18
    assert found.queue_is_full
    assert not found.waits
    assert plan.n_lines == 128
    if not plan.holds:
        pytest.skip(f"the machine is too busy: {plan.problems}")
    assert plan.lines_lost_per_minute == 0
    assert plan.stall_s > 4
    path = write_plan(plan, tmp_path / "flight.toml", {"camera": "simulated"}, {"rate": 100.0})
    written = read_config(path)
    assert written.record == {"camera": "simulated", "lines": 128, "buffers": plan.n_buffers, "compression": "none"}
    with record(
        SharedSimulatedCamera,
        tmp_path / "flight",
        **SMALL | {"n_lines": 128},
        rate=100.0,
        queue=9999,
        seconds=0.5,
        progress=False,
    ) as run:
        assert run.wait(60).lines_lost == 0


def test_a_slow_disk_does_not_hold_and_says_what_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = FaultyCalls(tmp_path, "bad_disk")
    for name, value in calls.environment.items():
        monkeypatch.setenv(name, value)
    calls.inject(0, "write sync", delay_us=200_000)
    with SharedSimulatedCamera(**SMALL, rate=1000.0, queue=4000) as camera:
        plan = camera.plan(tmp_path / "bad_disk")
    assert not plan.holds
    assert plan.margin < 1
    assert 0 < plan.lines_lost_per_minute <= 60 * plan.measured.rate
    assert "the disk has a margin" in str(plan)
    assert list((tmp_path / "bad_disk").iterdir()) == []
    with pytest.raises(RecordingError, match="does not hold"):
        write_plan(plan, tmp_path / "flight.toml", {}, {})
    assert not (tmp_path / "flight.toml").exists()


def test_the_command_writes_a_file_if_it_holds_and_else_exits_with_1(tmp_path: Path) -> None:
    path = tmp_path / "flight.toml"
    path.write_text('[record]\nseconds = 5\nlines = 3\n[channels.a]\nsource = "sim:sine"\n')
    arguments = ["--rate", "10", "--option", "resolution=[64,512]"]  # 0.7 MB/s, for any disk, however busy
    arguments += ["--out", str(tmp_path / "out"), "--config", str(path)]
    ended = CliRunner().invoke(plan_command, arguments)
    assert ended.exit_code == 0, ended.output
    config = read_config(path)
    (noted,) = FlightLog(tmp_path / "out").entries()[0]
    assert (noted["kind"], noted["holds"]) == ("plan", True)
    expected = (noted["n_lines"], 5, "simulated")
    assert (config.record["lines"], config.record["seconds"], config.record["camera"]) == expected
    assert config.camera == {"resolution": [64, 512], "rate": 10.0}
    assert config.channels == {"a": {"source": "sim:sine"}}
    path.unlink()
    ended = CliRunner().invoke(plan_command, [*arguments, "--for", "1e9"])
    assert ended.exit_code == 1
    assert "the disk is full after" in ended.output
    assert not path.exists()


def test_the_camera_of_a_file_that_exists_is_planned_as_it_says(tmp_path: Path) -> None:
    path = tmp_path / "flight.toml"
    path.write_text(
        f'[record]\nout = "{tmp_path / "out"}"\naverage = 4\nrate = 200\n[camera]\nresolution = [64, 512]\n'
    )
    ended = CliRunner().invoke(plan_command, ["--config", str(path), "--option", "average=8"])
    assert ended.exit_code == 0, ended.output
    (noted,) = FlightLog(tmp_path / "out").entries()[0]
    assert 15 < noted["rate"] < 30
    config = read_config(path)
    assert config.camera == {"resolution": [64, 512], "rate": 200.0, "average": 8}
    assert not config.record.keys() & {"rate", "average"}


class Counterless(SharedOpenHSI):
    """A user's camera, whose frames have no ids."""

    def start_cam(self) -> None: ...
    def stop_cam(self) -> None: ...
    def get_img(self) -> Any:
        import time

        import numpy as np

        time.sleep(0.005)
        return np.ones((8, 16), np.uint16)


def test_the_queue_of_a_camera_without_a_counter_is_unknown(tmp_path: Path) -> None:
    with Counterless(n_lines=4, resolution=(8, 16)) as camera:
        plan = camera.plan(tmp_path)
    assert plan.measured.queue is None
    assert not plan.measured.waits
    assert "queue: unknown" in str(plan)


def test_a_plan_is_about_lines_that_are_means(tmp_path: Path) -> None:
    with SharedSimulatedCamera(**SMALL, rate=200.0, queue=12, average=8) as camera:
        plan = camera.plan(tmp_path)
    assert 15 < plan.measured.rate < 30
    assert plan.n_lines == 32


@needs_disks
def test_a_disk_without_room_or_answer_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SharedSimulatedCamera(**SMALL, rate=200.0) as camera:
        with mounted("tmpfs", tmp_path / "small", "size=1m") as small:
            with pytest.raises(SaveError, match=r"the trial needs .* MB, .* MB are free") as caught:
                camera.plan(small)
            assert list(small.iterdir()) == []
        assert caught.value.errno == errno.ENOSPC
        monkeypatch.setattr(measuring, "ANSWER_S", 0.3)
        with unanswered(tmp_path / "hung"), pytest.raises(SaveError, match="does not respond") as caught:
            camera.plan(tmp_path / "hung")
        assert caught.value.errno == errno.ETIMEDOUT
        (tmp_path / "file").touch()
        with pytest.raises(SaveError):
            camera.plan(tmp_path / "file")
        for minutes in (0, -1, math.nan, True, "x"):
            with pytest.raises(ArgumentError, match="minutes must be a number > 0"):
                camera.plan(tmp_path, minutes)  # type: ignore[arg-type]


# ---- chosen ----


def _plan(minutes: float | None = None, **changed: Any) -> Any:
    speeds = {None: (1000.0, 1e6), "deflate": (400.0, 4e5)} | changed.pop("speeds", {})
    disks = {key: DiskSpeed(speed, speed, size, 0) for key, (speed, size) in speeds.items()}
    values: dict[str, Any] = {
        "camera": "a", "save_dir": "b", "rate": 200.0, "queue": 30, "queue_is_full": True, "waits": False, "busy": 0.0,
        "stride": 1_000_000, "free_memory": 16_000_000_000, "free_disk": 120_000_000_000, "disks": disks,
    } | changed  # fmt: skip
    return plan_of(Measured(**values), minutes)


@pytest.mark.parametrize(
    ("given", "compression", "sizes", "problem"),
    [
        ({}, None, (256, 6), ""),
        ({"minutes": 9}, None, (256, 6), ""),
        ({"minutes": 20}, "deflate", (256, 6), ""),
        ({"minutes": 30}, "deflate", (256, 6), "the disk is full after 25.0 of 30 minutes"),
        ({"speeds": {None: (150, 1e6)}}, "deflate", (256, 6), ""),
        ({"speeds": {None: (150, 1e6), "deflate": (239, 4e5)}}, "deflate", (256, 6), "the disk has a margin of 1.19"),
        ({"busy": 0.9}, None, (256, 6), "the computation of the level has a margin of 1.11"),
        ({"free_memory": 1_000_000_000}, None, (128, 3), ""),
        ({"free_memory": 90_000_000}, None, (16, 3), "not enough for 3 slots of 16 lines"),
    ],
)
def test_the_first_compression_that_holds_is_chosen(
    given: dict[str, Any], compression: str | None, sizes: tuple[int, int], problem: str
) -> None:
    plan = _plan(**given)
    assert plan.compression == compression
    assert (plan.n_lines, plan.n_buffers) == sizes
    assert plan.holds is not bool(problem)
    assert problem in "; ".join(plan.problems)
    assert plan.stall_s == pytest.approx(
        max(0, (sizes[1] - 1) * sizes[0] / 200 - sizes[0] / plan.measured.disks[compression].slowest)
    )


def test_what_would_be_lost_is_what_the_disk_does_not_take() -> None:
    plan = _plan(speeds={None: (150, 1e6), "deflate": (100, 4e5)})
    assert plan.compression is None
    assert plan.lines_lost_per_minute == pytest.approx(60 * 50)
    assert "about 3000 lines a minute" in str(plan)
