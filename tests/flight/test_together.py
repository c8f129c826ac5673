"""`record_all`: several cameras at once, each in a process of its own, with one handle."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openhsi_shared import (
    SharedBaslerCamera,
    SharedGenICamCamera,
    SharedSimulatedCamera,
    open_cube,
    open_flight,
    record_all,
)
from openhsi_shared.channels import SimulatedChannel
from openhsi_shared.cli.running import choose_recording, choose_together
from openhsi_shared.control.control_socket import request
from openhsi_shared.control.messages import AskGlance, Mark, Pause, Resume, Stop
from openhsi_shared.errors import (
    ArgumentError,
    CameraNotFound,
    DriverMissing,
    MemoryShortage,
    RecordingError,
    SaveError,
    UnknownKeyword,
)
from openhsi_shared.files.flight_log import FlightLog
from openhsi_shared.recording.messages import Place
from openhsi_shared.recording.run import Recording
from openhsi_shared.recording.space import check_space_of_all
from tests.support.flow import COUNTING, Saved, cubes_in
from tests.support.helpers import is_installed, wait_for

pytestmark = pytest.mark.usefixtures("runtime")

COMMON: dict[str, Any] = {
    **COUNTING,
    "n_lines": 20,
    "queue": 9999,
    "n_buffers": 8,
    "when_full": "block",
    "progress": False,
}
VNIR: dict[str, Any] = {"rate": 200, "resolution": (16, 32)}
SWIR: dict[str, Any] = {"rate": 80, "resolution": (8, 20)}
TWO = {"vnir": (SharedSimulatedCamera, VNIR), "swir": {"camera": "simulated", **SWIR}}


def cubes_of(directory: Path, name: str) -> list[Saved]:
    """The cubes of one camera, without a gap: within the cubes, and from one to the next."""
    cubes = [cube for cube in cubes_in(directory) if cube.attributes["joint_name"] == name]
    assert all(cube.path.stem.endswith(f"_{name}") for cube in cubes)
    ids = [number for cube in cubes for number in cube.ids]
    paused = sum(cube.attributes.get("frames_paused", 0) for cube in cubes)
    assert len(ids) + paused == ids[-1] - ids[0] + 1
    assert all(cube.attributes["lines_lost"] == 0 and cube.numbers == cube.ids for cube in cubes)
    return cubes


def entries(directory: Path, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in FlightLog(directory).entries()[0] if entry["kind"] == kind]


def ask_from_outside(run: Any, directory: Path) -> None:
    """What other programs ask of one camera is for all: a mark, a pause, the end."""
    path = run["swir"].socket_path
    assert request(path, AskGlance()).answer.joint_name == "swir"
    assert choose_together(None) == {name: run[name].socket_path for name in ("swir", "vnir")}
    assert choose_together(str(run["vnir"].process_id)) == {"": run["vnir"].socket_path}
    assert choose_recording("swir") == path
    request(path, Mark("from outside", time.monotonic_ns()))
    wait_for(lambda: len(entries(directory, "mark")) == 4)
    request(path, Pause())
    wait_for(lambda: run.status().is_paused)
    request(path, Resume())
    wait_for(lambda: not any(one.is_paused for one in run.status().cameras.values()))
    lines = run.status().lines
    wait_for(lambda: run.status().lines > lines + 10)
    request(path, Stop())


def test_two_cameras_start_together_lose_nothing_and_have_one_clock_one_log_and_the_same_channels(
    tmp_path: Path,
) -> None:
    channels = {"clock": SimulatedChannel("clock", rate=100)}
    with record_all(TWO, tmp_path, channels=channels, **COMMON) as run:
        wait_for(lambda: all(one.lines > 30 for one in run.status().cameras.values()))
        run.mark("gate")
        run.pause()
        wait_for(lambda: run.status().is_paused)
        run.resume()
        lines = run.status().lines
        wait_for(lambda: not run.status().is_paused and run.status().lines > lines + 30)
        status = run.status()
        assert status.cameras.keys() == {"vnir", "swir"}
        assert (status.lines_lost, status.errors, status.failures) == (0, (), {})
        assert status.disk_minutes_left < min(one.disk_minutes_left for one in status.cameras.values())
        assert str(status).startswith("vnir: ")
        assert "swir: lines" in status._repr_html_()
        assert run.channels["clock"].state == "good"
        ask_from_outside(run, tmp_path)
        summary = run.wait(60)
    assert summary == run.summary
    assert (summary.lines_lost, summary.errors) == (0, ())
    assert not run.is_running
    vnir, swir = cubes_of(tmp_path, "vnir"), cubes_of(tmp_path, "swir")
    assert {*summary.paths} == {cube.path for cube in (*vnir, *swir)}
    begins = [datetime.fromisoformat(entry["time"]).timestamp() for entry in entries(tmp_path, "start")]
    apart_s = abs(vnir[0].times_ns[0] - swir[0].times_ns[0]) / 1e9
    assert apart_s < abs(begins[0] - begins[1]) / 2  # they were opened one after the other
    about = [cube.attributes for cube in (*vnir, *swir)]
    assert len({(one["clock_anchor_wall_ns"], one["clock_anchor_monotonic_ns"]) for one in about}) == 1
    assert len({one["joint_id"] for one in about}) == 1
    marks = [json.loads(one["marks"]) for one in about if "marks" in one]
    assert [mark[0]["text"] for mark in marks] == ["gate", "from outside"] * 2
    assert [mark[0]["time"] for mark in marks[:2]] == [mark[0]["time"] for mark in marks[2:]]
    for cubes in (vnir, swir):
        assert sum("paused_before_s" in cube.attributes for cube in cubes) == 2
    log = FlightLog(tmp_path).entries()[0]
    assert {entry["joint_name"] for entry in log} == {"vnir", "swir"}
    assert sorted(entry["joint_name"] for entry in entries(tmp_path, "mark")) == ["swir", "swir", "vnir", "vnir"]
    assert len(entries(tmp_path, "stop")) == 2
    with open_flight(tmp_path) as flight:
        series = [cube.column("clock") for cube in flight]
        assert all(np.isfinite(values).all() for values in series)
        pairs = flight.pairs("vnir", "swir")
        assert np.abs(pairs.apart_s).max() <= 1 / 80
        assert len(pairs) >= 0.7 * sum(len(cube.ids) for cube in vnir)
        assert flight.cameras["swir"].lines.shape[1:] == (8, 20)
        assert flight.pairs("vnir", "swir").cubes[0] == (0, 0)


def test_a_killed_recording_is_named_the_other_goes_on_and_no_line_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = record_all(TWO, tmp_path, channels={"load": "sim:sine"}, **COMMON)
    wait_for(lambda: all(one.lines > 30 for one in run.status().cameras.values()))
    os.kill(run["swir"].process_id or 0, signal.SIGKILL)
    wait_for(lambda: "swir" in run.status().failures)
    lines, delivered = run.status().cameras["vnir"].lines, run.channels["load"].delivered
    wait_for(lambda: run.status().cameras["vnir"].lines > lines + 50)
    wait_for(lambda: run.channels["load"].delivered > delivered)  # the other one's channels go on, too
    assert run.is_running
    assert "swir has failed: RecordingError: the recording's process died, exit code -9" in caplog.text
    run.mark("afterwards")
    run.stop()
    with pytest.raises(RecordingError, match=r"swir has failed: .*exit code -9.*; saved without an error: vnir"):
        run.wait()
    assert run.summary is not None
    assert run.summary.cameras.keys() == {"vnir"}
    wait_for(lambda: any(cube.attributes["recovered"] for cube in cubes_of(tmp_path, "swir")))
    assert run.summary.lines == sum(len(cube.ids) for cube in cubes_of(tmp_path, "vnir"))
    (error,) = entries(tmp_path, "error")
    assert (error["joint_name"], "exit code -9" in error["text"]) == ("swir", True)


class Unplugged(SharedSimulatedCamera):
    def __init__(self, **keywords: Any) -> None:
        raise CameraNotFound("no camera is connected")


def test_a_camera_that_cannot_be_started_is_named_and_ends_no_other_one(tmp_path: Path) -> None:
    cameras = {"swir": Unplugged, "vnir": TWO["vnir"]}
    run = record_all(cameras, tmp_path, n_cubes=2, **COMMON)
    assert run.status().failures == {"swir": "CameraNotFound: no camera is connected"}
    with pytest.raises(KeyError, match="'swir' is none of the cameras that record: vnir"):
        run["swir"]
    with pytest.raises(RecordingError, match="swir has failed: CameraNotFound: no camera is connected"):
        run.wait()
    assert len(cubes_of(tmp_path, "vnir")) == 2
    assert [(one["joint_name"], one["text"]) for one in entries(tmp_path, "error")] == [
        ("swir", "could not be started: no camera is connected")
    ]
    with pytest.raises(RecordingError, match="no camera could be started: CameraNotFound"):
        record_all({"swir": Unplugged}, tmp_path, **COMMON)


def test_each_camera_has_references_of_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lit = {"mode": "flat", "noise": 0, "dark": (100, 2), "light": 0}
    with record_all(TWO, tmp_path, **{**COMMON, **lit}) as run:
        references = {name: run[name].take_reference("dark", 3) for name in TWO}
        run.stop()
        run.wait()
    with record_all(TWO, tmp_path, n_cubes=1, **{**COMMON, **lit}) as run:
        paths = run.wait().paths
    for name, path in zip(TWO, paths, strict=True):
        assert references[name].path is not None
        assert references[name].path.parent == tmp_path / name / "references"
        with open_cube(path) as cube:
            assert references[name].sha256 in cube.attributes["reference_files"]
    assert "reference" not in caplog.text


@pytest.mark.parametrize(
    ("cameras", "keywords", "error", "words"),
    [
        ({}, {}, ArgumentError, "needs a mapping of names"),
        ([SharedSimulatedCamera], {}, ArgumentError, "needs a mapping of names"),
        ({"a/b": SharedSimulatedCamera}, {}, ArgumentError, r"digits, _ and -, as in file names; got 'a/b'"),
        ({"a": 3}, {}, ArgumentError, "a: a camera is a class"),
        ({"a": {"rate": 3}}, {}, ArgumentError, "a: a camera is a class"),
        ({"a": (SharedSimulatedCamera, {"until": 3})}, {}, ArgumentError, "a: until holds for all cameras"),
        ({"a": {"camera": "simulatd"}, "b": SharedSimulatedCamera}, {}, DriverMissing, "a: .*did you mean simulated"),
        ({"a": SharedSimulatedCamera}, {"capture": "x.cbors"}, ArgumentError, "capture is one file"),
        ({"a": (SharedSimulatedCamera, {"n_lines": 0})}, {}, ArgumentError, "a: .*n_lines"),
        ({"a": SharedSimulatedCamera}, {"toggle": 3}, ArgumentError, "toggle must have"),
    ],
)
def test_what_is_wrong_is_said_with_the_name_of_the_camera_before_any_is_started(
    tmp_path: Path, cameras: Any, keywords: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        record_all(cameras, tmp_path / "out", **keywords)
    assert not (tmp_path / "out").exists()


def test_what_only_the_camera_knows_to_be_wrong_is_raised_and_nothing_is_recorded(tmp_path: Path) -> None:
    for own, error, words in (
        ({"rtae": 3}, UnknownKeyword, r"swir: SharedSimulatedCamera\(\) has no keyword 'rtae'"),
        ({"n_lines": 10**9}, MemoryShortage, r"swir: .* MB free .*; the slots of the other cameras: vnir 0\.2 MB"),
    ):
        cameras = {"vnir": TWO["vnir"], "swir": (SharedSimulatedCamera, {**SWIR, **own})}
        with pytest.raises(error, match=words):
            record_all(cameras, tmp_path, channels={"load": "sim:sine"}, **COMMON)
        assert cubes_in(tmp_path) == []


def test_the_disk_must_have_room_for_a_cube_of_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    half = shutil.disk_usage(tmp_path).free * 6 // 10
    places = {"vnir": Place(half, 1e6), "swir": Place(half, 1e6)}
    with pytest.raises(SaveError, match=r"one cube of each camera needs [\d,]+ MB \(vnir [\d,]+ MB, swir") as caught:
        check_space_of_all(tmp_path, places, {"vnir": None, "swir": None})
    assert caught.value.errno == errno.ENOSPC
    small = {name: Place(half // 10, 1e6) for name in places}
    check_space_of_all(tmp_path, small, {"vnir": 3, "swir": None})
    assert not caplog.records
    check_space_of_all(tmp_path, small, {"vnir": 10, "swir": 10})
    assert "MB of all cameras together, about" in caplog.text


def test_a_source_that_ends_before_all_have_started_is_an_error(tmp_path: Path) -> None:
    cameras = {"vnir": (SharedSimulatedCamera, {"n_frames": 3}), "swir": TWO["swir"]}
    run = record_all(cameras, tmp_path, n_cubes=1, **COMMON)
    with pytest.raises(RecordingError, match=r"vnir has failed: .*3 frames .* before all cameras were started"):
        run.wait()
    assert len(cubes_of(tmp_path, "swir")) == 1


# ---- vendors' own cameras ------------------------------------------------------------


@pytest.fixture
def fake_gige() -> Iterator[str]:
    """Aravis' fake camera, in a process of its own."""
    program = shutil.which("arv-fake-gv-camera-0.8")
    if program is None or not is_installed("gi"):
        pytest.skip("needs Debian's aravis-tools, gir1.2-aravis-0.8 and python3-gi")
    process = subprocess.Popen([program, "-i", "127.0.0.1", "-s", "TOGETHER"], stderr=subprocess.DEVNULL)
    try:
        yield "TOGETHER"
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(not is_installed("pypylon"), reason="pypylon is missing: pip install 'openhsi_shared[basler]'")
def test_pylons_emulated_camera_aravis_fake_one_and_the_simulated_one_together_lose_nothing(
    tmp_path: Path, fake_gige: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYLON_CAMEMU", "1")
    emulated = {"resolution": (16, 32), "pixel_format": "Mono16", "exposure_ms": 1, "queue": 200}
    emulated |= {"nodes": {"AcquisitionFrameRateAbs": 60.0, "AcquisitionFrameRateEnable": True}}
    fake = {"win_resolution": (64, 256), "pixel_format": "Mono8", "exposure_ms": 10, "producer": "aravis", "queue": 200}
    fake |= {"serial_num": fake_gige, "nodes": {"AcquisitionFrameRate": 50.0}}
    cameras = {
        "pylon": (SharedBaslerCamera, emulated),
        "aravis": (SharedGenICamCamera, fake),
        "simulated": (SharedSimulatedCamera, {**COUNTING, **VNIR, "rate": 60, "queue": 9999}),
    }
    with record_all(cameras, tmp_path, n_lines=30, n_buffers=6, n_cubes=3, when_full="block", progress=False) as run:
        summary = run.wait(60)
    counts = {name: (one.lines, one.lines_lost) for name, one in summary.cameras.items()}
    assert counts == dict.fromkeys(cameras, (90, 0))
    with open_flight(tmp_path) as flight:
        assert flight.cameras.keys() == cameras.keys()
        assert all(flight.pairs("simulated", name).cubes for name in cameras)
        assert flight.gaps == ()


# ---- the command ---------------------------------------------------------------------

CONFIG = """
[record]
out = "flight"
lines = 20
buffers = 40
rate = 80
[camera]
mode = "counting"
queue = 9999
[cameras.vnir]
rate = 200
lines = 30
resolution = [16, 32]
[cameras.swir]
camera = "simulated"
resolution = [8, 20]
prefix = "s_"
"""


def test_ctrl_c_of_the_command_stops_and_saves_all_cameras_of_a_config(tmp_path: Path) -> None:
    (tmp_path / "flight.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "openhsi_shared", "record", "--config", "flight.toml"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        wait_for(lambda: len(list(tmp_path.rglob("*.nc"))) >= 4)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "[vnir]\ncubes" in out
    assert "(of 30 lines)" in out
    vnir, swir = cubes_of(tmp_path / "flight", "vnir"), cubes_of(tmp_path / "flight", "swir")
    assert len({len(cube.ids) for cube in vnir[:-1]} | {30}) == 1
    assert all(cube.path.name.startswith("s_") for cube in swir)
    rates = [json.loads(one["options"]["rate"]) for one in entries(tmp_path / "flight", "start")]
    assert rates == [200, 80]
    (config,) = entries(tmp_path / "flight", "config")
    assert config["cameras"]["swir"] == {"camera": "simulated", "resolution": [8, 20], "prefix": "s_"}


def test_if_the_thread_that_watches_all_fails_they_end_in_good_order_before_wait_raises_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, has_failed = Recording.is_running.fget, threading.Event()

    def fail_once(self: Recording) -> bool:
        if not has_failed.is_set() and threading.current_thread().name.endswith("recordings"):
            has_failed.set()
            raise ZeroDivisionError("injected")
        return usual(self)

    channels = {"clock": SimulatedChannel("clock", rate=100)}
    with record_all(TWO, tmp_path, channels=channels, **COMMON) as run:
        wait_for(lambda: all(one.lines > 30 for one in run.status().cameras.values()))
        monkeypatch.setattr(type(run["vnir"]), "is_running", property(fail_once))
        with pytest.raises(RecordingError, match="watch has failed: ZeroDivisionError") as caught:
            run.wait(60)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert not run.is_running
        summary = run.summary
    assert summary is not None
    saved = {name: cubes_of(tmp_path, name) for name in ("vnir", "swir")}
    assert {name: sum(len(cube.ids) for cube in cubes) for name, cubes in saved.items()} == {
        name: one.lines for name, one in summary.cameras.items()
    }
    assert {name for name in summary.cameras if summary.cameras[name].lines > 30} == saved.keys()
    assert all("clock" in open_cube(cube.path).channels for cubes in saved.values() for cube in cubes)


def test_without_a_thread_to_watch_them_all_are_stopped_and_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = threading.Thread.start

    def start(self: threading.Thread) -> None:
        if self.name.endswith("recordings"):
            raise RuntimeError("no more threads")
        usual(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RecordingError, match="cannot be watched, and were stopped: no more threads"):
        record_all(TWO, tmp_path, **COMMON)
    assert not any(path.suffix == ".part" for path in tmp_path.rglob("*"))
