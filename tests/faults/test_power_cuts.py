"""Power is cut at any moment: what was done is on the disk, and what has its name is whole.

A power cut takes three things: what the file system has in memory, what the disk has in its cache, and the programs.
Here a disk is a file on another disk: the outer one is shut down without writing anything more, so that of the inner
one only that is left for which it was asked to flush its cache, and perhaps a bit of the rest. Both are mounted anew,
their journals are replayed, and all is read. The camera outlives its disk: it tells which cubes were done.
"""

import logging
import random
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from openhsi_shared import recover, verify
from openhsi_shared.errors import SaveError
from tests.support.disk_faults import BAD, Flight, files_in
from tests.support.disks import make_image, mount, needs_disks, pull_out, unmount

pytestmark = [pytest.mark.root, needs_disks]
OUTER_MB, INNER_MB = 96, 48


class Disk:
    """An ext4 disk at `place` whose power can be cut."""

    def __init__(self, directory: Path) -> None:
        self.place, self._below = directory / BAD, directory / "below"
        self._image = make_image(directory / "image", OUTER_MB)
        mount(self._image, self._below)
        make_image(self._below / "disk", INNER_MB)
        mount(self._below / "disk", self.place)

    def cut(self) -> None:
        """Nothing more reaches the disk, from this very moment."""
        pull_out(self._below)
        pull_out(self.place)

    def put_in_again(self) -> None:
        """Power is back: the journals are replayed."""
        self.take_out()
        mount(self._image, self._below)
        mount(self._below / "disk", self.place)

    def take_out(self) -> None:
        for place in (self.place, self._below):
            if place.is_mount():
                unmount(place)


@contextmanager
def _disk(directory: Path) -> Iterator[Disk]:
    disk = Disk(directory)
    try:
        yield disk
    finally:
        disk.take_out()


def _cut_and_look(caplog: pytest.LogCaptureFixture, flight: Flight, disk: Disk, wait_s: float) -> tuple[int, int]:
    """Save one cube after the other; cut the power after `wait_s`; see what is there. Returns how many were done, are.

    What was done must be there, what is there be whole, the rest be told by `recover`, and the camera have it all.
    """
    done: list[Path] = []
    timer = threading.Timer(wait_s, disk.cut)
    timer.start()
    handle = flight.begin(disk.place)
    with suppress(SaveError):
        while True:  # until the cut, or until the disk is full
            path = handle.result(60).path
            assert path is not None
            done.append(path)
            handle = flight.begin(disk.place)
    timer.join()
    assert handle.error is not None
    flight.fail(handle.error.errno, disk.place, handle)
    disk.put_in_again()
    named = [path for path in files_in(disk.place) if path.suffix == ".nc"]
    missing = set(done) - set(named)
    reported = {path for path in missing if any(f"{path} is saved, but not synced" in text for text in caplog.messages)}
    assert missing == reported, "what was done is on the disk"
    assert len(named) <= len(done) + 1
    problems = [problem for path in named for problem in verify(path).problems]
    assert problems == []
    if missing:
        pytest.skip("the cut came between a file's name and the sync of its folder, which the log reports: no account")
    for path in done:
        flight.add_file(path)
    flight.go_on()
    left = [path for path in files_in(disk.place) if path.suffix == ".part"]
    found = recover(disk.place)
    assert found.live == ()
    assert len(found.published) + len(found.removed) + len(found.damaged) == len(left)
    assert all(verify(path).ok for path in found.published)
    return len(done), len(named)


OPTIONS = [{}, {"compression": "deflate"}, {"resolution": (16, 32), "n_lines": 200}]
"""Past the page cache, by it, and with small lines."""


@pytest.mark.parametrize("options", OPTIONS, ids=["past the cache", "deflate", "small lines"])
def test_what_was_done_before_a_power_cut_is_on_the_disk(tmp_path, monkeypatch, caplog, options):
    """D16: one cut each; what has its name is whole."""
    flight = Flight(tmp_path, monkeypatch, **options)
    try:
        with _disk(tmp_path) as disk:
            _cut_and_look(caplog, flight, disk, 0.1)
    finally:
        flight.close()


@pytest.mark.parametrize("options", OPTIONS, ids=["past the cache", "deflate", "small lines"])
def test_a_name_whose_sync_has_failed_once_is_not_believed_to_be_on_the_disk(tmp_path, monkeypatch, caplog, options):
    """D16: the disk below is gone, the file system does not know; it reports the error once, and then success."""
    flight = Flight(tmp_path, monkeypatch, **options)
    try:
        with _disk(tmp_path) as disk:
            flight.save(disk.place)
            with flight.stopping(disk.place, "sync", 2) as handle:  # after the rename, before the sync of the folder
                pull_out(disk._below)
            handle.join(60)
            disk.put_in_again()
            assert handle.path not in files_in(disk.place)
            assert handle.error is not None or "is saved, but not synced" in caplog.text
            (path,) = recover(disk.place).published  # the file itself was synced before it got its name
            assert verify(path).ok
    finally:
        flight.close()


@pytest.mark.parametrize("kind", ["allocate", "write", "truncate", "sync", "renameat2", "mkdir"])
def test_a_power_cut_at_any_step_of_a_save_leaves_a_whole_file_or_none(tmp_path, monkeypatch, kind):
    """D16: the writer stands just before that call; what it did before may be on the disk, or not."""
    flight = Flight(tmp_path, monkeypatch)
    try:
        with _disk(tmp_path) as disk:
            done = {flight.save(disk.place)} if kind != "mkdir" else set()
            with flight.stopping(disk.place, kind) as handle:
                disk.cut()
            with pytest.raises(SaveError) as caught:
                handle.result(60)
            flight.fail(caught.value.errno, disk.place, handle)
            flight.go_on()
            disk.put_in_again()
            named = {path for path in files_in(disk.place) if path.suffix == ".nc"}
            assert named == done
            assert all(verify(path).ok for path in named)
            assert recover(disk.place).live == ()
    finally:
        flight.close()


@pytest.mark.campaign
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("options", OPTIONS, ids=["past the cache", "deflate", "small lines"])
def test_what_was_done_before_each_of_many_power_cuts_is_on_the_disk(tmp_path, monkeypatch, caplog, options):
    """D16: twenty cuts at moments that nobody has chosen."""
    dice = random.Random(str(options))
    flight = Flight(tmp_path, monkeypatch, **options)
    figures = []
    try:
        for number in range(20):
            (tmp_path / str(number)).mkdir()
            with _disk(tmp_path / str(number)) as disk:
                figures.append(_cut_and_look(caplog, flight, disk, dice.uniform(0, 0.3)))
            shutil.rmtree(tmp_path / str(number))
    finally:
        flight.close()
    logging.getLogger(__name__).warning("done and found: %s", figures)
    assert sum(done for done, _ in figures) > 20
