"""Small disks for tests that run as root: mounted, shut down, broken."""

import fcntl
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.helpers import wait_for

is_root = hasattr(os, "geteuid") and os.geteuid() == 0
needs_disks = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not is_root or not all(map(shutil.which, ("mount", "umount", "mkfs.ext4"))),
    reason="needs Linux, root, mount and mkfs.ext4, to mount small disks",
)
EXT4_IOC_SHUTDOWN = 0x8004587D
WITHOUT_LOG = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH: unwritten data are lost."""


def make_image(image: Path, size_mb: int, *options: str) -> Path:
    """An empty ext4 file system in a sparse file."""
    with image.open("wb") as file:
        file.truncate(size_mb << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", *options, str(image)], check=True)
    return image


def mount(what: str | Path, place: Path, *options: str) -> None:
    """Mount an image or a tmpfs at `place`, which is created; skip the test where that is not allowed."""
    place.mkdir(exist_ok=True)
    kind = ["-t", "tmpfs"] if what == "tmpfs" else ["-t", "ext4", "-o", "loop"]
    arguments = [argument for option in options for argument in ("-o", option)]
    done = subprocess.run(
        ["mount", *kind, *arguments, str(what), str(place)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


def unmount(place: Path) -> None:
    """Unmount, once no process has a file open there; fails if one stays open."""
    wait_for(lambda: subprocess.run(["umount", str(place)], check=False, capture_output=True).returncode == 0)


@contextmanager
def mounted(what: str | Path, place: Path, *options: str) -> Iterator[Path]:
    """Mount a disk for the length of a block."""
    mount(what, place, *options)
    try:
        yield place
    finally:
        if place.is_mount():
            unmount(place)


def pull_out(place: Path) -> None:
    """Shut the ext4 disk at `place` down: reads and writes fail, and unwritten data are lost."""
    folder = os.open(place, os.O_RDONLY)
    try:
        fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, struct.pack("I", WITHOUT_LOG))
    finally:
        os.close(folder)


def break_down(place: Path) -> None:
    """Trigger an error of the ext4 disk at `place`: mounted with errors=remount-ro, it becomes read-only."""
    device = place.stat().st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    trigger = Path("/sys/fs/ext4") / name / "trigger_fs_error"
    if not trigger.exists():
        pytest.skip("this kernel's ext4 has no trigger_fs_error")
    trigger.write_text("broken by a test")


def free_bytes(place: Path) -> int:
    """Free bytes on the disk of `place`."""
    stat = os.statvfs(place)
    return stat.f_bfree * stat.f_frsize


@contextmanager
def unanswered(place: Path) -> Iterator[None]:
    """Cover `place` with a disk that never answers, as that of a dead server, for the length of a block.

    A process that touches it waits until it is killed: it is a FUSE file system that no process serves.
    """
    if not is_root or not Path("/dev/fuse").exists():
        pytest.skip("needs root and /dev/fuse")
    place.mkdir(exist_ok=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    command = ["mount", "-i", "-t", "fuse", "-o", options, "unanswered", str(place)]
    done = subprocess.run(command, pass_fds=(device,), check=False, capture_output=True, text=True)
    if done.returncode:
        os.close(device)
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        os.close(device)  # requests fail now
