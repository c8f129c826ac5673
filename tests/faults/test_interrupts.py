"""Ctrl-C, and a terminal that is closed: the interrupt reaches the caller, and nothing is lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.flow import cubes_in, environment, processes_in, program
from tests.support.helpers import wait_for
from tests.support.oracle import prove, prove_after_death
from tests.support.process_faults import COLLECTING, RECORDING, camera, interrupted_when


def test_ctrl_c_while_closing_is_raised_and_the_next_close_finishes(faults, tmp_path):
    """P10: the program waits for a slow save, and is interrupted; nothing is lost."""
    faults.inject("created:stop:1")
    cam = camera(n_buffers=4)
    for _ in range(3):
        cam.collect()
        cam.save(tmp_path / "out")
    writer = faults.stopped_writer()
    with pytest.raises(KeyboardInterrupt), interrupted_when(lambda: not cam._is_streaming):  # noqa: PT012
        cam.close()
        raise AssertionError("closed while a save was pending")
    writer.resume()
    cam.close()
    assert prove(tmp_path / "out", 24).saved == 24


def test_ctrl_c_while_a_result_is_awaited_leaves_the_save_alone(faults, tmp_path):
    """P10: `result` can be called again."""
    faults.inject("created:stop:1")
    with camera() as cam:
        cam.collect()
        handle = cam.save(tmp_path / "out")
        writer = faults.stopped_writer()
        with pytest.raises(KeyboardInterrupt), interrupted_when(handle.is_alive):
            handle.result(60)
        writer.resume()
        assert handle.result(60).n_lines == 8
    assert prove(tmp_path / "out", 8).saved == 8


def test_ctrl_c_twice_to_the_group_of_a_recording_ends_it_in_good_order(tmp_path):
    """P10: the first one stops it; after a second one it finishes by itself."""
    with program(RECORDING, tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        wait_for(lambda: len(list((tmp_path / "out").rglob("*.nc"))) > 2)
        for _ in range(2):
            os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
        wait_for(lambda: not processes_in(tmp_path))
    assert prove_after_death(tmp_path / "out", tmp_path / "commit_log").declared_lost == 0
    assert {cube.attributes["recovered"] for cube in cubes_in(tmp_path / "out")} == {0}


@pytest.mark.skipif(not Path("/usr/bin/setsid").exists(), reason="needs setsid, to have a terminal of its own")
def test_a_terminal_that_is_closed_leaves_every_committed_line_in_a_file(tmp_path):
    """P14: a real terminal hangs up on the whole session."""
    (tmp_path / "program.py").write_text(COLLECTING.replace("OPTIONS", ""))
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        ["/usr/bin/setsid", "--ctty", "--wait", sys.executable, "program.py"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        wait_for(lambda: list((tmp_path / "out").rglob("*.nc")), 60)
    finally:
        os.close(ours)
        process.wait(60)
    wait_for(lambda: not processes_in(tmp_path))
    assert prove_after_death(tmp_path / "out", tmp_path / "commit_log").saved >= 25
