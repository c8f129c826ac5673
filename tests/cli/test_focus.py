"""The focus of a camera, and of a recording that runs, in a terminal and without one."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.drivers.simulated import SETTINGS_PATH, SimulatedDriver
from openhsi_shared.exposure import focus_of
from openhsi_shared.settings import read_settings
from tests.cli.conftest import ENVIRONMENT
from tests.support.commands import run_here

pytestmark = pytest.mark.usefixtures("runtime")

STILL = {"resolution": [64, 120], "row_slice": [4, 60], "mode": "flat", "light": 9000.0, "noise": 0, "rate": 100}
OPTIONS = [word for key, value in STILL.items() for word in ("--option", f"{key}={json.dumps(value)}")]


@pytest.fixture
def focus_text():
    """The focus of the frames of that camera, as the command shows it."""
    import numpy as np

    of_settings = {key: value for key, value in STILL.items() if key in ("resolution", "row_slice")}
    options = {key: value for key, value in STILL.items() if key in ("mode", "light", "noise")}
    driver = SimulatedDriver(read_settings(SETTINGS_PATH, of_settings), **options)
    driver.open()
    driver.start()
    frame = np.empty(driver.frame_shape, driver.frame_dtype)
    driver.read_into(frame, 5)
    driver.close()
    return f"{focus_of(frame):.2f} %"


def test_without_a_terminal_it_is_a_line_a_second_until_ctrl_c(start, focus_text):
    with start("focus", "--camera", "simulated", *OPTIONS) as process:
        lines = [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    for line in lines:
        assert re.fullmatch(rf"focus +{focus_text}  best {focus_text}  \S+ % saturated\n", line), line
    assert out.splitlines()[-1] == f"best focus {focus_text}"
    assert "\a" not in "".join(lines) + out


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo terminals")
@pytest.mark.parametrize("more", [[], ["--no-beep"]])
def test_in_a_terminal_it_is_a_bar_and_a_bell(tmp_path, focus_text, more):
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "openhsi_shared", "focus", *OPTIONS, *more]
    shown, end = b"", time.monotonic() + 60
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=slave, stderr=slave) as process:
        os.close(slave)
        while shown.count(b"\r") < 8:
            assert time.monotonic() < end, shown
            if select.select([master], [], [], 0.2)[0]:
                shown += os.read(master, 4096)
        process.send_signal(signal.SIGINT)
        while b"best focus" not in shown:
            shown += os.read(master, 4096)
        assert process.wait(60) == 0
    os.close(master)
    bar = rf"focus +{focus_text} \[#+\] best {focus_text}  \S+ % saturated".encode()
    assert re.search(bar, shown), shown
    assert (b"\a" in shown) is not bool(more)


def test_of_a_recording_it_is_that_of_its_lines_until_the_end(start, tmp_path, focus_text, runtime):
    keywords = {**STILL, "n_lines": 500, "progress": False}
    with (
        record(SharedSimulatedCamera, tmp_path / "out", **keywords) as recording,
        start("focus", "--recording", recording.process_id, XDG_RUNTIME_DIR=str(runtime)) as process,
    ):
        assert process.stdout.readline().startswith(f"focus {focus_text:>8}")
        recording.stop()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-1] == f"best focus {focus_text}"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], 1, "no recording of this user runs on this machine: .*; or give the --camera that is to be opened"),
        (["--camera", "simulated", "--recording", "7"], 2, "--recording is for a recording that runs, not for"),
        (["--camera", "simulatd"], 1, "Error: .*simulatd.*simulated"),
        (["--settings", "none.json"], 1, "none.json"),
        (["--option", "json_path=a"], 2, "--option json_path: use the dedicated option for this"),
    ],
)
def test_what_cannot_be_shown_is_one_clear_error(tmp_path, arguments, code, told):
    ended = run_here(tmp_path, "focus", *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert re.search(told, " ".join(ended.err.split()))
