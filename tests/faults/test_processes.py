"""Processes die, freeze or fail at every moment: committed lines are in a file, once; loss is reported exactly."""

import contextlib
import dataclasses
import os
import random
import re
import signal
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from openhsi_shared import SharedDataCube, SharedOpenHSI, SharedSimulatedCamera, record
from openhsi_shared.errors import SaveError, WriterFailed
from openhsi_shared.files.dumping import read_dump
from tests.support.flow import CAMERA, SHAPE, account, cubes_in, frame, parts_in, processes_in, program, run
from tests.support.helpers import wait_for
from tests.support.leaks import LEAKS_ON_PURPOSE
from tests.support.oracle import prove, prove_after_death, prove_summary
from tests.support.process_faults import (
    COLLECTING,
    COMMIT_LOG_CAMERA,
    RECORDING,
    camera,
    commit_log_camera,
    frozen,
    newest_writer,
    writers_of,
)
from tests.support.products import each_value_once, some

SOME = [pytest.param(seed, marks=[] if seed < 1 else pytest.mark.campaign) for seed in range(50)]
"""Seeds of random runs: one in the suite, all of them in a campaign."""


def _shared_files() -> set[str]:
    """Files left in /dev/shm by processes that have exited."""
    names = [path.name for path in Path("/dev/shm").iterdir() if not LEAKS_ON_PURPOSE.search(path.name)]
    found = [(name, re.match(r"pym-(\d+)-", name)) for name in names]
    return {name for name, process_id in found if process_id and not psutil.pid_exists(int(process_id[1]))}


def _pause(random_: random.Random, longest_s: float) -> None:
    """Wait for a random time."""
    threading.Event().wait(random_.uniform(0, longest_s))


def _command(process_id: int) -> str:
    try:
        return " ".join(psutil.Process(process_id).cmdline())
    except psutil.NoSuchProcess:
        return ""


# ---- the main process ----


@pytest.mark.parametrize("seed", SOME)
def test_main_killed_at_any_moment_has_every_committed_line_saved(tmp_path, seed):
    """P1, P12: the count of committed lines survives the kill, and is what the files hold."""
    dice, before = random.Random(seed), _shared_files()
    number = dice.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGHUP, signal.SIGABRT])
    keywords = dice.choice(["", "rate=2000, queue=9999", "compression='deflate'", "writers=2"])
    with program(COLLECTING.replace("OPTIONS", keywords), tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        _pause(dice, 0.5)
        process.send_signal(number)
        assert process.wait(60) == -number
        wait_for(lambda: not processes_in(tmp_path))
    assert prove_after_death(tmp_path / "out", tmp_path / "commit_log").saved >= 25
    assert parts_in(tmp_path / "out") == []
    assert _shared_files() <= before


@pytest.mark.parametrize("seed", SOME)
def test_the_process_of_a_recording_killed_at_any_moment_has_every_committed_line_saved(tmp_path, seed):
    """P1: the same where the camera has a process of its own, whose user then sees it end."""
    dice, before = random.Random(seed), _shared_files()
    with program(RECORDING, tmp_path) as process:
        assert process.stdout is not None
        recording = int(process.stdout.readline())
        wait_for(lambda: list((tmp_path / "out").rglob("*.nc")))
        _pause(dice, 0.5)
        os.kill(recording, dice.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT]))
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert "the recording's process died" in process.stderr.read()
        wait_for(lambda: not processes_in(tmp_path))
    assert prove_after_death(tmp_path / "out", tmp_path / "commit_log").saved >= 25
    assert _shared_files() <= before


@pytest.mark.parametrize(
    "number", some(signal.SIGKILL, signal.SIGTERM, all_of=(signal.SIGKILL, signal.SIGTERM, signal.SIGHUP))
)
def test_the_user_s_process_killed_beside_its_recording_costs_no_line(tmp_path, number):
    """P1, P14: the recording shuts down cleanly, nothing is recovered."""
    with program(RECORDING, tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        wait_for(lambda: list((tmp_path / "out").rglob("*.nc")))
        process.send_signal(number)
        assert process.wait(60) == -number
        wait_for(lambda: not processes_in(tmp_path))
    assert prove_after_death(tmp_path / "out", tmp_path / "commit_log").declared_lost == 0
    assert {cube.attributes["recovered"] for cube in cubes_in(tmp_path / "out")} == {0}
    assert not list((tmp_path / "temporary").rglob("*.sock"))


def test_a_forked_sibling_of_a_killed_main_does_not_keep_its_writer(tmp_path):
    """P2: the sibling holds every pipe open, and lives on; the writer sees the death all the same, and ends."""
    code = f"{COMMIT_LOG_CAMERA}\nimport time\ncam = camera()\ncam.will_save_to('out')\ncam.collect()\n"
    code += "if os.fork() == 0:\n    time.sleep(100)\n    os._exit(0)\nos.kill(os.getpid(), signal.SIGKILL)"
    with program(code, tmp_path) as process:
        assert process.wait(60) == -signal.SIGKILL
        wait_for(lambda: not [left for left in processes_in(tmp_path) if "spawn_main" in _command(left)])
        assert [left for left in processes_in(tmp_path) if "program.py" in _command(left)], "the sibling lives on"
        assert prove_after_death(tmp_path / "out", tmp_path / "commit_log").saved == 25


INSIDE_START = (
    COMMIT_LOG_CAMERA
    + """
import multiprocessing.util, psutil, time
cam = camera(OPTIONS)
cam.will_save_to("out")
cam.collect()
cam.save("out").join()
cam.collect(lambda n, _: n < 5)
start = multiprocessing.util.spawnv_passfds
def die_in_it(*arguments):
    if AFTER:
        start(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
multiprocessing.util.spawnv_passfds = die_in_it
writers = [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]
first = min(writers, key=lambda p: p.pid)
first.kill()
time.sleep(60)
"""
)


@pytest.mark.parametrize("after", some(True, all_of=(True, False)))
def test_main_killed_inside_the_start_of_a_new_writer_leaves_nobody_behind(tmp_path, after):
    """P3: with one writer this is the double crash: the unsaved cube is gone; nothing hangs, no file is broken."""
    code, _, _ = run(INSIDE_START.replace("OPTIONS", "").replace("AFTER", str(after)), tmp_path)
    assert code == -signal.SIGKILL
    wait_for(lambda: not processes_in(tmp_path))
    assert account(tmp_path / "out")[0][:25] == list(range(25))


@pytest.mark.parametrize("after", some(False, all_of=(True, False)))
def test_a_writer_that_stands_by_saves_what_main_had_when_it_was_killed_inside_the_start_of_a_new_one(tmp_path, after):
    """P3: with writers=2 the double crash costs nothing."""
    code, _, _ = run(INSIDE_START.replace("OPTIONS", "writers=2").replace("AFTER", str(after)), tmp_path)
    assert code == -signal.SIGKILL
    wait_for(lambda: not processes_in(tmp_path))
    assert prove_after_death(tmp_path / "out", tmp_path / "commit_log").saved == 50


# ---- the writer ----


@pytest.mark.parametrize(
    ("point", "number"),
    each_value_once(
        ["created", "half", "fsynced", "published", "before_answer"],
        [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS],
    ),
)
def test_a_writer_that_dies_of_any_signal_at_any_point_has_its_cube_saved_once(faults, tmp_path, point, number):
    """P4: stopped at the point, then killed."""
    faults.inject(f"{point}:stop:1")
    with camera(n_buffers=4) as cam:
        cam.collect()
        handle = cam.save(tmp_path / "out")
        writer = faults.stopped_writer()
        writer.send_signal(number)
        with contextlib.suppress(psutil.NoSuchProcess):  # SIGKILL does not wait until it goes on
            writer.send_signal(signal.SIGCONT)
        assert handle.result(60).n_lines == 8
        assert cam.status().writer_restarts == 1
        cam.collect()
        cam.save(tmp_path / "out")
    assert prove(tmp_path / "out", 16).declared_lost == 0
    assert len(cubes_in(tmp_path / "out")) == 2


@pytest.mark.parametrize("seed", SOME)
def test_a_writer_killed_at_any_moment_of_a_recording_loses_nothing(tmp_path, runtime, seed):
    """P4: at rate, the camera's queue is short, and yet there is no gap."""
    dice = random.Random(seed)
    keywords = {"mode": "counting", "resolution": SHAPE, "row_slice": None, "cal_path": "", "n_lines": 25}
    with record(SharedSimulatedCamera, tmp_path / "out", **keywords, n_buffers=40, rate=500, progress=False) as run_:
        for n in range(1, 4):
            _pause(dice, 0.3)
            newest_writer(run_.process_id).kill()
            wait_for(lambda n=n: run_.status().writer_restarts == n)
        run_.stop()
        summary = run_.wait(60)
    prove_summary(tmp_path / "out", summary)


def test_a_cube_of_which_writers_die_again_and_again_is_held_and_the_recording_goes_on(faults, tmp_path):
    """P5: its handle names it and raises; the cubes behind it are saved, and so is it, once it is tried elsewhere."""
    faults.inject("half:kill:5")
    with camera(n_buffers=4) as cam:
        cam.collect()
        poisonous = cam.save(tmp_path / "out")
        cam.collect()
        second = cam.save(tmp_path / "out")
        with pytest.raises(
            SaveError, match=r"^cube 1: 5 writers died while saving it; its lines are safe in .*; it is"
        ):
            poisonous.result(60)
        assert (poisonous.exitcode, second.result(60).n_lines) == (1, 8)
        status = cam.status()
        assert (status.slots["HELD"], status.writer_restarts) == (1, 5)
        (sidecar,) = (tmp_path / "out").rglob("*.raw.json")
        assert f"5 writers died while saving it; its lines are safe in {sidecar}" in status.errors[0]
        dump = read_dump(sidecar)  # compares every line with its checksum
        assert dump.cube.columns["frame_id"].tolist() == list(range(8))
        cam.collect()
        cam.save(tmp_path / "out")
        poisonous.retry(tmp_path / "other").result(60)
        assert cam.status().slots["HELD"] == 0
    assert prove([tmp_path / "out", tmp_path / "other"], 24).saved == 24


@pytest.mark.parametrize("number", some(5, all_of=(28, 5, 122, 24)))
def test_an_error_of_the_system_in_the_writer_is_that_error_with_its_number(faults, tmp_path, number):
    """P6: true errno, path, cube and way out; the traceback of the writer is a note."""
    faults.inject(f"half:{number}:1")
    with camera() as cam:
        cam.collect()
        handle = cam.save(tmp_path / "out")
        with pytest.raises(
            SaveError, match=r"cube 1 was not saved; it is kept in memory: retry\(directory\)"
        ) as caught:
            handle.result(60)
        assert (caught.value.errno, cam.status().writer_restarts) == (number, 0)
        assert "Traceback (most recent call last)" in caught.value.__notes__[0]
        assert parts_in(tmp_path / "out") == []
        handle.retry(tmp_path / "other").result(60)
    assert prove(tmp_path, 8).saved == 8


def test_any_exception_of_the_writer_is_told_with_its_traceback(tmp_path):
    """P6: also exceptions that are not OSErrors."""
    cube = SharedDataCube(n_lines=4, resolution=SHAPE)
    writers = cube._engine.writer._writers
    writers._kind = dataclasses.replace(writers._kind, wavelengths_nm=np.zeros(SHAPE[1] + 1))
    with cube:
        cube.put(frame(0))
        handle = cube.save(tmp_path)
        with pytest.raises(SaveError, match=r"Error: .*cube 1 was not saved; it is kept in memory") as caught:
            handle.result(60)
        assert "Traceback (most recent call last)" in caught.value.__notes__[0]
        assert cube.status().writer_restarts == 0
        handle.discard()


def test_a_frozen_writer_costs_exactly_the_frames_that_had_no_slot(tmp_path, runtime, caplog):
    """P7, C4, D13: warned about at 50 and 80 %, counted, named in the files; nothing is lost after it goes on."""
    keywords = {"mode": "counting", "resolution": SHAPE, "row_slice": None, "cal_path": "", "n_lines": 40}
    keywords |= {"n_buffers": 6, "rate": 100, "queue": 9999, "progress": False}
    with record(SharedSimulatedCamera, tmp_path / "out", **keywords) as run_:
        wait_for(lambda: run_.status().cubes_saved >= 2)
        for n in (1, 2):
            lost = run_.status().lines_lost
            with frozen(newest_writer(run_.process_id)):
                wait_for(lambda lost=lost: run_.status().lines_lost >= lost + 50)
            saved = run_.status().cubes_saved
            wait_for(lambda saved=saved: run_.status().cubes_saved >= saved + 3)
            assert len(run_.status().lost_ids) >= n
        wait_for(lambda: run_.status().cubes_pending <= 1)  # it has caught up
        after = run_.status().lines_lost
        saved = run_.status().cubes_saved
        wait_for(lambda: run_.status().cubes_saved >= saved + 3)
        run_.stop()
        summary = run_.wait(60)
    assert summary.lines_lost == after
    prove_summary(tmp_path / "out", summary)
    assert summary.lost_ids[0].first % 40 == 0, "only the frames after a full slot are lost"
    assert "is 50 % full and no other slot is free" in caplog.text
    assert "is 80 % full and no other slot is free" in caplog.text
    assert "lines lost so far: no slot is free" in caplog.text


def test_a_writer_that_cannot_be_imported_is_one_clear_error_and_no_camera_is_started(tmp_path, monkeypatch):
    """P8: the camera's class is ready, the writer's process is not."""
    (tmp_path / "netCDF4.py").write_text("raise ImportError('a broken installation')")
    (tmp_path / "h5py.py").write_text("raise ImportError('a broken installation')")
    started = []

    class Mine(SharedOpenHSI):
        def start_cam(self):
            started.append(1)

        def stop_cam(self):
            started.append(0)

        def get_img(self):
            return frame(0)

    cam = Mine(n_lines=4, resolution=SHAPE)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(WriterFailed, match="the writer did not start: exit code 1; see its message"):
        cam.collect()
    assert started == []
    monkeypatch.undo()
    with cam:
        cam.collect()


@pytest.mark.parametrize("seed", SOME)
def test_main_and_writer_killed_at_once_leave_only_whole_files(tmp_path, seed):
    """P9, P12: what was published is whole; the unsaved slots are gone, as is everything in /dev/shm."""
    dice, before = random.Random(seed), _shared_files()
    with program(COLLECTING.replace("OPTIONS", "rate=2000, queue=9999"), tmp_path) as process:
        assert process.stdout is not None
        wait_for(lambda: list((tmp_path / "out").rglob("*.nc")))
        _pause(dice, 0.3)
        for process_id in processes_in(tmp_path):
            os.kill(process_id, signal.SIGKILL)
        process.wait(60)
    saved, _ = account(tmp_path / "out")
    assert len(saved) >= 25
    assert len(parts_in(tmp_path / "out")) <= 1
    assert _shared_files() <= before


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what a process has mapped")
@pytest.mark.parametrize("method", some("fork", all_of=("fork", "spawn", "forkserver")))
def test_nothing_that_a_camera_s_process_has_mapped_has_a_name_that_could_be_left(tmp_path, method):
    """P12: neither memory nor locks, not even the one of the progress bar, whatever the program's default is."""
    code = f"""
import multiprocessing, os
multiprocessing.set_start_method({method!r})
{CAMERA}
with camera() as cam:
    cam.collect()
    cam.save("out").join()
    mapped = [line.split()[4] for line in open("/proc/self/maps") if "/dev/shm/" in line]  # inodes
    print(len(mapped) > 0, [file.name for file in os.scandir("/dev/shm") if str(file.inode()) in mapped])
"""
    assert run(code, tmp_path)[:2] == (0, "True []\n")


# ---- the system ----


def _limited_group(name: str, n_bytes: int) -> Path:
    """A control group with a limit of memory, of version 1 or 2; skips where there is none to be had."""
    for base, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = base / name
        try:
            group.mkdir()
            (group / limit).write_text(str(n_bytes))
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        return group
    pytest.skip("control groups of memory cannot be made here")


@pytest.mark.root
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to make a control group")
def test_a_writer_that_the_system_kills_for_its_memory_is_replaced(tmp_path):
    """P13: the kernel's out-of-memory killer takes it in the middle of a compressed save."""
    group = _limited_group(f"openhsi_shared-test-{os.getpid()}", 1 << 20)
    try:
        shape = (200, 400)
        with SharedDataCube(n_lines=64, resolution=shape, compression="deflate") as cube:
            for n in range(64):
                cube.put(frame(n, shape))
            writer = newest_writer()
            (group / "cgroup.procs").write_text(str(writer.pid))
            handle = cube.save(tmp_path / "out")
            assert handle.result(60).n_lines == 64
            if not cube.status().writer_restarts:
                pytest.skip("this system did not kill a process beyond its limit of memory")
        assert prove(tmp_path / "out", 64).saved == 64
    finally:
        wait_for(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


@pytest.mark.parametrize("times", [6, pytest.param(100, marks=[pytest.mark.campaign, pytest.mark.timeout(600)])])
def test_many_restarts_of_the_writer_cost_neither_descriptors_nor_threads_nor_memory(tmp_path, times):
    """P15: as many of each as after the second restart."""
    me = psutil.Process()
    with camera(n_buffers=4) as cam:
        for n in range(1, times + 1):
            newest_writer().kill()
            cam.collect()
            cam.save(tmp_path / "out").result(60)
            wait_for(lambda n=n: cam.status().writer_restarts == n and len(writers_of()) == 1)
            if n == 2:
                before, resident = (me.num_fds(), me.num_threads()), me.memory_info().rss
        wait_for(lambda: me.num_fds() <= before[0] and me.num_threads() <= before[1])
        assert me.memory_info().rss < resident + (32 << 20)
    assert prove(tmp_path / "out", 8 * times).saved == 8 * times


def test_a_commit_log_contains_the_number_of_lines(tmp_path):
    """P1: the oracle of the kills above, without a kill."""
    with commit_log_camera(tmp_path / "commit_log") as cam:
        cam.collect()
        cam.save(tmp_path / "out")
    assert prove_after_death(tmp_path / "out", tmp_path / "commit_log").offered == 8
    words = re.escape("8 offered, 8 saved, 0 declared lost, 0 wrong, 0 doubled, 0 unaccounted, 0 strange")
    assert re.fullmatch(words, str(prove(tmp_path / "out", 8)))
