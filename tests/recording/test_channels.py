"""Channels of cameras and recordings: values of every file follow from its times, and no line depends on them."""

import os
import signal
import time

import numpy as np
import psutil
import pytest

from openhsi_shared import ProcessRawDatacube, SharedDataCube, SharedSimulatedCamera, open_cube, record, verify
from openhsi_shared.channels import CallbackChannel, PolledChannel, SimulatedChannel, State
from openhsi_shared.control.control_socket import find_sockets, request
from openhsi_shared.control.messages import AskStatus
from openhsi_shared.errors import ArgumentError, ChannelError, RecordingError, UnknownKeyword
from tests.support.clock_channel import prove_clock
from tests.support.flow import COUNTING, account, cubes_in, processes_in, program
from tests.support.helpers import wait_for

KEYWORDS = {**COUNTING, "n_lines": 40, "progress": False, "rate": 200, "queue": 9999, "when_full": "block"}
CAMERA = {name: value for name, value in KEYWORDS.items() if name != "progress"}
CLOCK = {"clock": "sim:clock,rate=500,how=linear"}


@pytest.fixture(autouse=True)
def _own_runtime_directory(runtime):
    return runtime


# ---- a recording ----


def test_every_line_of_a_recording_has_the_values_of_its_time(tmp_path):
    pushed = CallbackChannel("pushed", "deg C")
    channels = {**CLOCK, "answer": PolledChannel("answer", lambda: 42.0, 0.01), "pushed": pushed}
    with record(SharedSimulatedCamera, tmp_path, n_cubes=5, channels=channels, **KEYWORDS) as run:
        pushed.push(3.5)
        assert run.channels["pushed"].value == 3.5
        status = run.status()
        assert status.channels["clock"].state == "good"
        assert status.channels["answer"].value == 42.0
        assert "channel clock" in dict(status.rows())
        (path,) = find_sockets()
        told, _ = request(path, AskStatus())
        assert told.status.channels["answer"].value == 42.0
        summary = run.wait()
    assert (summary.lines, summary.lines_lost) == (200, 0)
    assert run.channels["clock"].state == "ended"
    states, is_known = prove_clock(tmp_path)
    assert set(states[:-1]) == {State.GOOD}
    assert is_known[:-1].all()
    with open_cube(summary.paths[-1]) as cube:
        assert cube.dataset["answer"].values.tolist() == [42.0] * 40
        assert cube.dataset["pushed"].attrs["units"] == "degC"
    assert account(tmp_path) == (list(range(200)), [])


def test_a_toml_file_and_a_channel_that_is_not_required(tmp_path):
    path = tmp_path / "channels.toml"
    path.write_text(
        '[channels.clock]\nsource = "sim:clock"\nhow = "linear"\n'
        '[channels.quiet]\nsource = "sim:sine"\nrequired = false\nscript = {"0" = "silence"}\n'
    )
    with record(SharedSimulatedCamera, tmp_path / "out", n_cubes=2, channels=path, **KEYWORDS) as run:
        summary = run.wait()
    prove_clock(tmp_path / "out")
    with open_cube(summary.paths[0]) as cube:
        assert np.isnan(cube.dataset["quiet"].values).all()
        assert set(cube.dataset["quiet_state"].values) == {State.CONNECTING}


@pytest.mark.parametrize(
    ("channels", "error", "words"),
    [
        ({"quiet": SimulatedChannel("quiet", script={0: "silence"}), **CLOCK}, ChannelError, "'quiet' .sim:sine, conn"),
        ({"temperature_of": "sys:nothing"}, ArgumentError, "'nothing'"),
        ({"spot": "sim:spot"}, ArgumentError, "Recorder"),
        ({"time": "sim:sine"}, ArgumentError, "exists in every file"),
        ({"a": "sim:sine,raet=3"}, UnknownKeyword, "did you mean rate"),
        ({"a": "sim:sine,clock=b"}, ArgumentError, "'b' is neither"),
    ],
)
def test_what_cannot_be_had_is_one_clear_error_before_the_first_line(tmp_path, channels, error, words):
    begun = time.monotonic()
    with pytest.raises(error, match=words):
        record(SharedSimulatedCamera, tmp_path, channels=channels, connect_timeout_s=0.5, **KEYWORDS)
    assert time.monotonic() - begun < 60
    assert cubes_in(tmp_path) == []


def test_a_stop_ends_the_wait_for_a_channel(tmp_path):
    code = """
from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.channels import SimulatedChannel
print("up", flush=True)
record(SharedSimulatedCamera, "out", mode="counting", resolution=(16, 32), row_slice=None, cal_path="", n_lines=8,
       progress=False, connect_timeout_s=1000, channels={"a": SimulatedChannel("a", script={0: "silence"})})
"""
    with program(code, tmp_path) as process:
        process.stdout.readline()
        wait_for(lambda: len(processes_in(tmp_path)) >= 4)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT
        wait_for(lambda: not processes_in(tmp_path))


# ---- processes that die ----


def test_their_process_killed_costs_no_line_and_the_gap_is_where_it_was_made(tmp_path):
    with record(SharedSimulatedCamera, tmp_path, n_buffers=40, channels=CLOCK, **KEYWORDS) as run:
        killed_ns = []
        for n in range(1, 3):
            wait_for(lambda n=n: run.status().lines > 100 * n)
            wait_for(lambda: run.channels["clock"].state == "good")
            killed_ns.append(time.time_ns())
            os.kill(run._channels.process_id, signal.SIGKILL)
            wait_for(lambda n=n: run.channels["clock"].state in ("lost", "connecting"))
        wait_for(lambda: run.channels["clock"].state == "good")
        lines = run.status().lines
        wait_for(lambda: run.status().lines > lines + 40)
        run.stop()
        summary = run.wait()
    assert summary.lines_lost == 0
    saved, lost = account(tmp_path)
    assert (saved, lost) == (list(range(summary.lines)), [])
    states, _ = prove_clock(tmp_path)
    times_ns = np.concatenate([cube.times_ns for cube in cubes_in(tmp_path)])
    lost_ns = times_ns[states == State.LOST]
    for time_ns in killed_ns:
        assert (np.abs(lost_ns - time_ns) < 2 * 10**9).any()
    assert all((np.abs(time_ns - np.array(killed_ns)) < 30 * 10**9).any() for time_ns in lost_ns)


def test_a_recording_that_is_killed_leaves_files_with_the_samples_that_were_delivered(tmp_path):
    with record(SharedSimulatedCamera, tmp_path, channels=CLOCK, **KEYWORDS) as run:
        wait_for(lambda: run.status().lines > 60)
        writers = psutil.Process(run.process_id).children()
        os.kill(run.process_id, signal.SIGKILL)
        with pytest.raises(RecordingError, match="its writer saves the collected lines"):
            run.wait()
    wait_for(lambda: not any(writer.is_running() for writer in writers))
    saved, lost = account(tmp_path)
    assert (saved, lost) == (list(range(len(saved))), [])
    assert cubes_in(tmp_path)[-1].attributes["recovered"] == 1
    states, is_known = prove_clock(tmp_path)
    assert is_known[:-5].all()
    assert (states[:-5] == State.GOOD).all()


PROGRAM = """
import sys
from openhsi_shared import SharedSimulatedCamera, record
run = record(SharedSimulatedCamera, "out", mode="counting", resolution=(16, 32), row_slice=None, cal_path="",
             n_lines=40, n_buffers=40, rate=200, queue=9999, when_full="block", progress=False,
             channels={"clock": "sim:clock,rate=500,how=linear"})
print(run.process_id, flush=True)
run.wait()
"""


def test_the_user_s_process_killed_ends_all_of_them_and_every_line_has_its_values(tmp_path):
    with program(PROGRAM, tmp_path) as process:
        process.stdout.readline()
        wait_for(lambda: list((tmp_path / "out").rglob("*.nc")))
        process.kill()
        process.wait(60)
        wait_for(lambda: not processes_in(tmp_path), 60)
    saved, lost = account(tmp_path / "out")
    assert (saved, lost) == (list(range(len(saved))), [])
    _, is_known = prove_clock(tmp_path / "out")
    assert is_known[:40].all()


# ---- a camera of the user's process ----


def test_a_camera_has_channels_and_keeps_them_when_it_is_made_again(tmp_path):
    pushed = CallbackChannel("pushed")
    with SharedSimulatedCamera(channels={**CLOCK, "pushed": pushed}, **CAMERA) as camera:
        pushed.push(1.0)
        camera.collect(progress=False)
        camera.save(tmp_path).join()
        assert camera.status().channels["pushed"].value == 1.0
        camera.reinitialise(n_lines=20)
        camera.collect(progress=False)
        pushed.push(2.0)
        assert camera.status().channels["pushed"].value == 2.0
        camera.save(tmp_path).join()
    assert camera.status().channels["clock"].delivered > 0
    assert [len(cube.ids) for cube in cubes_in(tmp_path)].count(20) == 1
    for cube in cubes_in(tmp_path):
        assert verify(cube.path).problems == ()
        with pytest.raises(ArgumentError, match="keep the channels of"):  # what was recorded before
            ProcessRawDatacube(cube.path, processing_lvl=-1, channels={"a": "sim:sine"})
    prove_clock(tmp_path)


def test_a_camera_whose_required_channel_is_silent_raises_and_can_be_asked_again(tmp_path):
    path = tmp_path / "value"
    silent = PolledChannel("a", lambda: float(path.read_text()), 0.01)  # raises as long as there is no file
    keywords = {"n_lines": 4, "resolution": (4, 8), "channels": {"a": silent}}
    with pytest.raises(ChannelError, match="'a'"), SharedDataCube(connect_timeout_s=0.1, **keywords):
        pass
    cube = SharedDataCube(connect_timeout_s=0.1, **keywords)
    with pytest.raises(ChannelError, match="'a'"):
        cube.put(np.ones((4, 8), np.uint16))
    path.write_text("1.0")
    wait_for(lambda: cube.status().channels["a"].delivered)
    cube.put(np.ones((4, 8), np.uint16))
    cube.close()


@pytest.mark.parametrize("seconds", [-1, "1", None, True, float("nan")])
def test_a_time_to_connect_that_is_none_is_refused(seconds, tmp_path):
    with pytest.raises(ArgumentError, match="connect_timeout_s"):
        SharedDataCube(n_lines=4, resolution=(4, 8), connect_timeout_s=seconds)
    with pytest.raises(ArgumentError, match="connect_timeout_s"):
        record(SharedSimulatedCamera, tmp_path, connect_timeout_s=seconds)


def test_the_loop_does_not_know_channels():
    with (
        SharedDataCube(n_lines=4, resolution=(4, 8)) as without,
        SharedDataCube(n_lines=4, resolution=(4, 8), channels={"a": "sim:sine"}) as with_channels,
    ):
        assert with_channels._engine.slots.layout == without._engine.slots.layout
