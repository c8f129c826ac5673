"""Marks from a second terminal, and the keys of the terminal in which a recording runs."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

import pytest

from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.files.flight_log import FlightLog
from tests.cli.conftest import ENVIRONMENT, SMALL
from tests.support.flow import COUNTING, cubes_in
from tests.support.helpers import wait_for

pytestmark = pytest.mark.usefixtures("runtime")


def kinds(directory):
    return [entry["kind"] for entry in FlightLog(directory).entries()[0]]


def test_a_text_is_marked_in_the_recording_that_runs(run, run_apart, tmp_path, runtime):
    def mark(*texts, by=run):
        return by("mark", *texts, XDG_RUNTIME_DIR=str(runtime))

    keywords = {**COUNTING, "n_lines": 20_000, "rate": 100, "progress": False}
    with record(SharedSimulatedCamera, tmp_path / "out", **keywords) as recording:
        ended = mark("start", "of line 3", by=run_apart)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out == f"marked in recording-{recording.process_id}: start of line 3\n"
        assert mark("--recording", str(recording.process_id), "end\x1b[2J").out.endswith(": end\\x1b[2J\n")
        assert mark().code == 2
    (cube,) = cubes_in(tmp_path / "out")
    assert [mark["text"] for mark in json.loads(cube.attributes["marks"])] == ["start of line 3", "end\x1b[2J"]
    ended = mark("late")
    assert (ended.code, ended.out) == (1, "")
    assert re.match(r"Error: no recording of this user runs on this machine: start one", ended.err)


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, directory, *arguments):
        self.shown = b""
        self.master, slave = pty.openpty()
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            [sys.executable, "-c", CONTROLLING, "-m", "openhsi_shared", *arguments],
            cwd=directory,
            env=ENVIRONMENT | {"XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"]},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )

    def until(self, text):
        end = time.monotonic() + 60
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            if select.select([self.master], [], [], 0.2)[0]:
                self.shown += os.read(self.master, 4096)
        self.shown = self.shown[self.shown.index(text) + len(text) :]

    def type(self, keys):
        os.write(self.master, keys)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


CONTROLLING = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_keys_mark_and_pause_and_the_terminal_is_as_before_afterwards(tmp_path):
    terminal = Terminal(tmp_path, "record", *SMALL, "--rate", "100", "--lines", "20000")
    log = tmp_path / "flight"
    try:
        terminal.until(b"keys: m and a text = mark")
        wait_for(lambda: not termios.tcgetattr(terminal.slave)[3] & termios.ICANON)
        terminal.type(b"m")
        terminal.until(b"mark: ")
        terminal.type("\u00fcber der K\u00fcste\n".encode())
        wait_for(lambda: "mark" in kinds(log))
        terminal.type(b"m")
        terminal.until(b"mark: ")
        terminal.type(b"\x04")  # Ctrl-D: no mark
        wait_for(lambda: not termios.tcgetattr(terminal.slave)[3] & termios.ICANON)
        terminal.type(b"x ")
        terminal.until(b"paused: space resumes")
        wait_for(lambda: "pause" in kinds(log))
        terminal.type(b" ")
        terminal.until(b"resumed")
        wait_for(lambda: "resume" in kinds(log))
        terminal.type(b"m")  # a mark that is never finished
        terminal.until(b"mark: ")
        terminal.process.send_signal(signal.SIGINT)
        terminal.until(b"cubes")
        assert terminal.process.wait(60) == 0
        assert termios.tcgetattr(terminal.slave) == terminal.before
    finally:
        terminal.close()
    (mark,) = [entry for entry in FlightLog(log).entries()[0] if entry["kind"] == "mark"]
    assert mark["text"] == "\u00fcber der K\u00fcste"
    assert [cube.attributes.get("frames_paused", 0) > 0 for cube in cubes_in(log)] == [False, True]
