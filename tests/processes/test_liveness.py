"""A child detects that its parent has died, for whatever reason."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.support.helpers import TIMEOUT_S, child, environment, receive, receive_for, wait_for, watch_parent

WATCHED = """
import os, signal, sys
from tests.support.helpers import receive, watch_parent
from openhsi_shared.processes.spawning import SPAWN, spawn
ours, theirs = SPAWN.Pipe()
process = SPAWN.Process(target=watch_parent, args=(theirs, os.getpid(), sys.argv[1]))
spawn(process)
theirs.close()
assert receive(ours) == "up"
sibling = 0
if "fork" in sys.argv:
    sibling = os.fork()
    if not sibling:
        signal.pause()
ours.send("last words")
print(sibling, flush=True)
signal.pause()
"""


@pytest.fixture
def watched(tmp_path):
    """Start a program with a watching child: watched("fork") gives (program, id of its forked sibling, the note)."""
    programs, siblings = [], []

    def start(*arguments):
        note = tmp_path / "note"
        program = subprocess.Popen(
            [sys.executable, "-c", WATCHED, str(note), *arguments], env=environment(), stdout=subprocess.PIPE, text=True
        )
        programs.append(program)
        sibling = int(program.stdout.readline())
        if sibling:
            siblings.append(sibling)
        return program, sibling, note

    yield start
    for sibling in siblings:
        os.kill(sibling, signal.SIGKILL)
    for program in programs:
        program.kill()
        program.wait()
        program.stdout.close()


def check_end(note):
    wait_for(lambda: "gone" in note.read_text())
    first, *rest = note.read_text().splitlines()
    assert rest == ["last words", "gone"]
    wait_for(lambda: not psutil.pid_exists(int(first.split()[1])))


def test_killed_parent_is_noticed_and_its_last_words_are_heard(watched):
    program, _, note = watched()
    program.kill()
    program.wait()
    check_end(note)


def test_killed_parent_is_noticed_although_a_forked_sibling_holds_its_pipes_open(watched):
    program, sibling, note = watched("fork")
    wait_for(lambda: "last words" in note.read_text())
    program.kill()
    program.wait()
    check_end(note)
    assert psutil.pid_exists(sibling), "it was there all the time"


def test_receive_gives_none_in_time_then_messages_then_the_end():
    with child(receive_for, os.getpid(), 0.01) as (process, connection):
        assert receive(connection) is None
        assert receive(connection) is False
        connection.send({"an": "order"})
        assert receive(connection) == {"an": "order"}
        connection.close()
        process.join(TIMEOUT_S)
        assert process.exitcode == 0


def test_closed_pipe_is_the_end_although_the_parent_lives(tmp_path):
    note = tmp_path / "note"
    with child(watch_parent, os.getpid(), str(note)) as (process, connection):
        assert receive(connection) == "up"
        connection.close()
        process.join(TIMEOUT_S)
        assert process.exitcode == 0
    assert note.read_text().splitlines()[1:] == ["gone"]
