"""A process dies at any moment of a run with channels: no line is lost, and every value is that of its line's time."""

import os
import random
import signal
import threading

import psutil
import pytest

from tests.support.clock_channel import prove_clock
from tests.support.flow import parts_in, processes_in, program
from tests.support.helpers import wait_for
from tests.support.oracle import prove_after_death
from tests.support.process_faults import COLLECTING
from tests.support.products import some

SOME = [pytest.param(seed, marks=[] if seed < 1 else pytest.mark.campaign) for seed in range(30)]
OPTIONS = "rate=500, queue=9999, channels={'clock': 'sim:clock,rate=500,how=linear'}"


@pytest.mark.parametrize("victim", some("channels", "writer", "all", all_of=("main", "channels", "writer", "all")))
@pytest.mark.parametrize("seed", SOME)
def test_whoever_is_killed_at_any_moment_of_a_run_with_channels_costs_no_committed_line(tmp_path, victim, seed):
    """P1, P4: channels are read by the writer only, so that their process may die at any moment, too."""
    dice = random.Random(f"{victim} {seed}")
    with program(COLLECTING.replace("OPTIONS", OPTIONS), tmp_path) as process:
        process.stdout.readline()
        wait_for(lambda: list((tmp_path / "out").rglob("*.nc")))
        writer, channels = _children(process.pid)
        threading.Event().wait(dice.uniform(0, 0.5))
        killed = {"main": [], "channels": [channels], "writer": [writer], "all": [channels, process.pid]}[victim]
        for process_id in killed:
            os.kill(process_id, signal.SIGKILL)
        if victim in ("channels", "writer"):
            wait_for(lambda: killed[0] not in _children(process.pid) and len(_children(process.pid)) == 2)
            threading.Event().wait(dice.uniform(0, 0.5))
        if process.poll() is None:
            process.kill()
        process.wait(60)
        wait_for(lambda: not processes_in(tmp_path), 60)
    assert prove_after_death(tmp_path / "out", tmp_path / "commit_log").saved >= 25
    assert parts_in(tmp_path / "out") == []
    _, is_known = prove_clock(tmp_path / "out")
    assert is_known.any()


def _children(process_id: int) -> list[int]:
    """Writer and process of the channels, in the order of their start; living ones."""
    found = []
    for child in psutil.Process(process_id).children():
        try:
            if "spawn_main" in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                found.append((child.create_time(), child.pid))
        except psutil.Error:
            continue
    channels, writer = ([process_id for _, process_id in sorted(found)] + [0, 0])[:2]
    return [writer, channels] if writer else []
