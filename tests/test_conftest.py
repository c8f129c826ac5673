"""How the tests run does not depend on how they were started."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
IGNORED = 'trap "" INT HUP QUIT; exec "$@"'
"""As `nohup`, and `&` in a script, start a program."""
OF_A_CHILD = "import signal; print([signal.getsignal(n) == signal.SIG_IGN for n in (1, 2, 3)])"
STARTED = f"""
import os, runpy, signal, subprocess, sys
if sys.argv[1:]:
    runpy.run_path(sys.argv[1])
subprocess.run([sys.executable, "-c", {OF_A_CHILD!r}], check=True)
os.kill(os.getpid(), signal.SIGHUP)
os.kill(os.getpid(), signal.SIGQUIT)
print("still there")
"""


def started(*arguments):
    command = ["sh", "-c", IGNORED, "sh", sys.executable, "-c", STARTED, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell of POSIX")
def test_processes_of_tests_have_the_usual_signals_although_the_tests_were_started_without():
    assert started() == ["[True, True, True]", "still there"]
    assert started(CONFTEST) == ["[False, False, False]", "still there"]
