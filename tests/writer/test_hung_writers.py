"""The writer hangs: frozen, or in a disk that does not respond. It is replaced, and its slot is not reused."""

import contextlib
import errno
import os
import re
import shutil
import subprocess
import sys

import psutil
import pytest

from openhsi_shared import SharedSimulatedCamera
from openhsi_shared.errors import SaveError
from tests.support.flow import COUNTING, account, cubes_in
from tests.support.helpers import wait_for


def _camera(**keywords):
    return SharedSimulatedCamera(**{**COUNTING, "n_lines": 8, "n_buffers": 4, "writer_patience_s": 2.0, **keywords})


@pytest.fixture
def disk(tmp_path):
    """A separate file system that can be frozen: then a process that writes to it hangs and cannot be killed."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("mkfs.ext4", "mount", "fsfreeze"))):
        pytest.skip("needs root, mkfs.ext4, mount and fsfreeze")
    image, place = tmp_path / "disk.img", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    place.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield place
    finally:
        subprocess.run(["fsfreeze", "-u", str(place)], check=False, capture_output=True)
        wait_for(lambda: subprocess.run(["umount", str(place)], check=False, capture_output=True).returncode == 0)


def _freeze(disk) -> None:
    subprocess.run(["fsfreeze", "-f", str(disk)], check=True)


def _thaw(disk) -> None:
    subprocess.run(["fsfreeze", "-u", str(disk)], check=True)


def test_a_frozen_writer_is_replaced_and_its_cube_is_saved_once(monkeypatch, tmp_path, caplog):
    (tmp_path / "marks").mkdir()
    monkeypatch.setenv("OPENHSI_SHARED_FAULT", "half:stop:1")
    monkeypatch.setenv("OPENHSI_SHARED_FAULT_MARKS", str(tmp_path / "marks"))
    with _camera() as cam:
        handles = []
        for _ in range(4):
            cam.collect()
            handles.append(cam.save(tmp_path / "out"))
        for handle in handles:
            handle.result(60)
        assert cam.status().writer_restarts == 1
    assert account(tmp_path / "out") == (list(range(32)), [])
    assert len(cubes_in(tmp_path / "out")) == 4
    assert "writer made no progress for" in caplog.text


def test_a_writer_that_is_slow_but_gets_on_is_left_alone(tmp_path):
    """Pauses shorter than the timeout, longer than it in total."""
    with _camera(writer_patience_s=30.0) as cam:
        cam.collect()
        cam.save(tmp_path).join()
        (writer,) = [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
        writer.suspend()
        cam.collect()
        handle = cam.save(tmp_path)
        handle.join(1.5)
        assert handle.is_alive()
        writer.resume()
        handle.result(60)
        assert cam.status().writer_restarts == 0
    assert account(tmp_path) == (list(range(16)), [])


@pytest.mark.root
def test_cubes_of_a_disk_that_hangs_go_elsewhere_and_its_slot_stays_untouched(disk, tmp_path):
    with _camera(fallback_dirs=[tmp_path / "elsewhere"]) as cam:
        cam.collect()
        cam.save(disk).result(60)
        _freeze(disk)
        cam.collect()
        second = cam.save(disk)
        assert second.result(60).path.is_relative_to(tmp_path / "elsewhere")
        status = cam.status()
        assert status.slots["SAVING"] == 1  # the hung writer may still read it
        (reader,) = status.readers
        assert re.fullmatch(r"writer \d+ holds slot \d \(cube 2\) for \d+ s", reader)
        assert reader in str(status)
        for _ in range(6):
            cam.collect()
            assert cam.save(disk).result(60).path.is_relative_to(tmp_path / "elsewhere")
        assert cam.status().slots["SAVING"] == 1
        _thaw(disk)
        wait_for(lambda: cam.status().slots["SAVING"] == 0)
        assert cam.status().readers == ()
        cam.collect()
        assert cam.save(disk).result(60).path.is_relative_to(disk)
    assert [saved.numbers for saved in cubes_in(disk)] == [list(range(8)), list(range(64, 72))]
    assert account(tmp_path) == (list(range(72)), [])  # the disk and elsewhere


@pytest.mark.root
def test_without_another_directory_they_are_held_until_they_are_retried(disk, tmp_path):
    with _camera() as cam:
        cam.collect()
        cam.save(disk).result(60)
        _freeze(disk)
        handles = []
        for _ in range(2):
            cam.collect()
            handles.append(cam.save(disk))
        for handle in handles:
            with pytest.raises(SaveError, match=r"does not respond: cube \d was not saved; it is kept") as caught:
                handle.result(60)
            assert caught.value.errno == errno.ETIMEDOUT
        for handle in handles:
            handle.retry(tmp_path / "elsewhere").result(60)
        _thaw(disk)
        wait_for(lambda: cam.status().slots["SAVING"] == 0)
    assert account(tmp_path) == (list(range(24)), [])  # the disk and elsewhere


STUCK_AT_THE_END = """
import sys
from openhsi_shared import SharedSimulatedCamera
from openhsi_shared.errors import WriterFailed
with SharedSimulatedCamera(**{keywords!r}) as cam:
    cam.collect()
    handle = cam.save({disk!r})
    try:
        handle.result(60)
    except OSError as error:
        print(error.errno, flush=True)
    try:
        handle.discard()
    except WriterFailed:  # the cube may be in a file there
        print("refused", flush=True)
print("left", flush=True)
"""


@pytest.mark.root
def test_a_program_whose_writer_is_stuck_can_end(disk, tmp_path):
    (disk / "there").mkdir()
    keywords = {**COUNTING, "n_lines": 8, "n_buffers": 2, "writer_patience_s": 0.5}
    script = STUCK_AT_THE_END.format(keywords=keywords, disk=str(disk / "there"))
    _freeze(disk)
    with (tmp_path / "said").open("w") as said:  # no pipe: the stuck one holds its end
        code = subprocess.run([sys.executable, "-c", script], stdout=said, timeout=90, check=False).returncode
    stuck = [process for process in psutil.process_iter(["status"]) if process.info["status"] == "disk-sleep"]
    _thaw(disk)
    psutil.wait_procs(stuck, timeout=20)
    assert stuck
    assert (code, (tmp_path / "said").read_text().split()) == (0, [str(errno.ETIMEDOUT), "refused", "left"])


def test_the_default_patience_leaves_room_for_a_slow_disk():
    with contextlib.closing(_camera(writer_patience_s=None)) as cam:
        assert cam._engine.writer._writers.timeout_s > 30
