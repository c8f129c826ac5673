"""A disk hangs, as a dead network disk or a FUSE file system does: recording goes on elsewhere, and can be stopped.

Public reports: a recorder on a network share that ignores every key after the server was switched off; a logger whose
spare disk stays empty although the first one hangs.
"""

import errno
import subprocess
import sys

import psutil
import pytest

from openhsi_shared import SharedSimulatedCamera, record, recover
from openhsi_shared.capture.planning.disk_trial import free_bytes
from openhsi_shared.control.control_socket import request
from openhsi_shared.control.messages import AskGlance, AskStatus
from openhsi_shared.datacube.control_server import socket_of
from openhsi_shared.errors import SaveError
from openhsi_shared.recording import space
from openhsi_shared.recording.messages import Place
from tests.support.disks import unanswered
from tests.support.flow import CAMERA, COUNTING, account, cubes_in, processes_in
from tests.support.helpers import environment, wait_for
from tests.support.process_faults import camera, frozen, newest_writer

pytestmark = pytest.mark.root

PATIENCE_S = 3.0
"""Longer than a busy disk takes for a sync: who is replaced has hung."""
KEYWORDS = {**COUNTING, "n_lines": 8, "n_buffers": 30, "rate": 50, "queue": 9999, "when_full": "block"}
KEYWORDS |= {"writer_patience_s": PATIENCE_S, "progress": False}


def test_the_other_disk_takes_over_within_one_timeout_although_the_hung_writer_could_be_killed(tmp_path):
    disk, spare = tmp_path / "disk", tmp_path / "spare"
    with camera(n_buffers=4, writer_patience_s=PATIENCE_S, fallback_dirs=[spare]) as cam:
        cam.collect()
        cam.save(disk).result(60)
        with unanswered(disk):
            cam.collect()
            assert cam.save(disk).result(60).path.is_relative_to(spare)
            assert cam.status().writer_restarts == 1  # each timeout replaces a writer
            for _ in range(5):
                cam.collect()
                assert cam.save(disk).result(60).path.is_relative_to(spare)
            assert cam.status().writer_restarts == 1
    assert account(tmp_path) == (list(range(56)), [])


def test_without_another_disk_the_same_one_is_tried_until_it_responds(tmp_path):
    disk = tmp_path / "disk"
    with camera(n_buffers=4, writer_patience_s=PATIENCE_S) as cam:
        cam.collect()
        cam.save(disk).result(60)
        with unanswered(disk):
            cam.collect()
            handle = cam.save(disk)
            wait_for(lambda: cam.status().writer_restarts > 0)
        handle.join(60)
        if handle.exitcode:  # the end of the disk was an error of the last try
            handle.retry(disk)
        handle.result(60)
    assert account(tmp_path) == (list(range(16)), [])


def test_a_hung_disk_that_is_not_needed_blocks_nothing(tmp_path):
    with (
        unanswered(tmp_path / "spare"),
        camera(fallback_dirs=[tmp_path / "spare" / "x"]) as cam,
    ):
        for _ in range(3):
            cam.collect()
            cam.save(tmp_path / "disk").result(60)
        assert cam.status().writer_restarts == 0


def test_a_hung_spare_disk_is_left_alone_once_a_writer_hung_in_it(tmp_path):
    (tmp_path / "blocked").touch()
    spares = [tmp_path / "spare" / "x", tmp_path / "third"]
    with (
        unanswered(tmp_path / "spare"),
        camera(n_buffers=4, writer_patience_s=PATIENCE_S, fallback_dirs=spares) as cam,
    ):
        for _ in range(4):
            cam.collect()
            assert cam.save(tmp_path / "blocked" / "x").result(60).path.is_relative_to(tmp_path / "third")
        assert cam.status().writer_restarts == 1
    assert account(tmp_path / "third") == (list(range(32)), [])


def test_a_recording_answers_and_stops_although_its_disk_hangs(tmp_path):
    disk, spare = tmp_path / "disk", tmp_path / "spare"
    with record(SharedSimulatedCamera, disk / "out", fallback_dirs=[spare], **KEYWORDS) as run:
        wait_for(lambda: run.status().cubes_saved > 0)
        with unanswered(disk):
            run.status()
            wait_for(lambda: cubes_in(spare))
            wait_for(lambda: f"{disk / 'out'} has not responded for" in str(run.status()))
            run.stop()
            summary = run.wait(60)
    saved, lost = account(tmp_path)
    assert (saved, lost, summary.lines) == (list(range(len(saved))), [], len(saved))


RECORDING = (
    CAMERA
    + """
from openhsi_shared import SharedSimulatedCamera, record, recover
run = record(SharedSimulatedCamera, "disk/out", fallback_dirs=["spare"], **{keywords!r})
print(run.process_id, flush=True)
run.wait()
"""
)


def test_a_recording_ends_when_its_parent_dies_although_its_disk_hangs(tmp_path, runtime):
    disk, spare = tmp_path / "disk", tmp_path / "spare"
    script = RECORDING.replace("{keywords!r}", repr(KEYWORDS))
    with (tmp_path / "said").open("w") as said:
        program = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment(), stdout=said)
    wait_for(lambda: disk.exists() and cubes_in(disk))
    recording = psutil.Process(int((tmp_path / "said").read_text()))
    with unanswered(disk):
        wait_for(lambda: spare.exists() and cubes_in(spare))
        program.kill()
        program.wait()
        recording.wait(60)
        wait_for(lambda: not processes_in(tmp_path))
    saved, lost = account(tmp_path)
    assert (saved, lost) == (list(range(len(saved))), [])


WAITING = (
    CAMERA
    + """
cam = camera(n_lines=8, n_buffers=4, writer_patience_s=1.0, fallback_dirs=["hung", "spare"])
cam.collect()
cam.save("disk").result(60)
cam.collect()
cam.will_save_to("disk")
print("ready", flush=True)
input()
if SAVES:
    cam.save("disk")
    cam.collect()
print("done", flush=True)
input()
"""
)


@pytest.mark.parametrize("saves", [True, False])
def test_a_writer_that_hangs_although_its_program_is_dead_saves_elsewhere(tmp_path, saves):
    """It hangs in a save, or first in the rescue; the first fallback directory hangs, too."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    code = WAITING.replace("SAVES", str(saves))
    program = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment(), **pipes)
    assert program.stdout.readline() == "ready\n"
    with unanswered(tmp_path / "disk"), unanswered(tmp_path / "hung"):
        program.stdin.write("\n")
        program.stdin.flush()
        assert program.stdout.readline() == "done\n"
        program.kill()
        program.communicate()
        wait_for(lambda: not processes_in(tmp_path))
    (tmp_path / "hung").rmdir()
    n_lines = 24 if saves else 16
    assert account(tmp_path) == (list(range(n_lines)), [])
    assert len(cubes_in(tmp_path / "spare")) == n_lines // 8 - 1


def test_a_camera_s_control_socket_answers_although_its_disk_hangs(tmp_path, runtime):
    disk = tmp_path / "disk"
    with camera(fallback_dirs=[tmp_path / "spare"], writer_patience_s=PATIENCE_S) as cam:
        cam.collect()
        cam.save(disk).result(60)
        path = socket_of(cam._engine, cam.control_server())
        with unanswered(disk):
            for _ in range(3):
                assert request(path, AskGlance()).answer.status.lines == 8
            assert request(path, AskStatus()).answer.status.cubes_saved == 1


QUESTIONS = {
    "space": lambda directory: space.check_space(directory, 1, None, 1.0),
    "space of several cameras": lambda directory: space.check_space_of_all(directory, {"a": Place(1, 1.0)}, {"a": 1}),
    "names": lambda directory: space.check_names(directory, "é", ""),
    "room for a trial": lambda directory: free_bytes(directory, 1, 0.2),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_recording_into_a_hung_disk_is_refused(tmp_path, monkeypatch, question):
    monkeypatch.setattr(space, "TIMEOUT_S", 0.2)
    with unanswered(tmp_path / "disk"), pytest.raises(SaveError, match="the disk does not respond within") as caught:
        QUESTIONS[question](tmp_path / "disk" / "out")
    assert caught.value.errno == errno.ETIMEDOUT


def test_close_does_not_wait_for_a_frozen_writer_whose_answers_are_not_heard(tmp_path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("injected")

    cam = camera(writer_patience_s=PATIENCE_S, fallback_dirs=[tmp_path / "spare"])
    cam.collect()
    cam.save(tmp_path).result(60)
    cam.collect()
    with frozen(newest_writer()):
        handle = cam.save(tmp_path)
        monkeypatch.setattr(cam._engine.writer._replacing, "check_progress", fail)
        cam._engine.writer._listener._receive = fail
        handle.join(60)
        wait_for(lambda: cam._engine.writer.has_failed)
        with pytest.raises(Exception, match="the thread that receives the writer"):
            cam.close()
    recover(tmp_path)  # on a busy machine, the new writer may make no progress for a second, too: then there is a dump
    assert account(tmp_path) == (list(range(16)), [])


def test_a_writer_that_hangs_while_it_rescues_is_replaced_at_the_end(tmp_path):
    disk = tmp_path / "disk"
    cam = camera(n_buffers=4, writer_patience_s=PATIENCE_S, fallback_dirs=[tmp_path / "spare"])
    cam.collect()
    cam.save(disk).result(60)
    cam.collect()
    cam.will_save_to(disk)
    with unanswered(disk):
        rescued = cam._engine.writer.abandon()
    cam._engine._release()
    saved = list((tmp_path / "spare").rglob("*.raw.json"))
    assert (rescued.lost, list(rescued.dumps.values())) == ({}, saved)
