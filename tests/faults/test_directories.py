"""Directories vanish, names are in use or invalid: the cube is kept in memory, or gets another name; none is lost.

Most tests share one camera and its writer, as those of `test_disk.py`.
"""

import errno
import fcntl
import os
import shutil
import subprocess

import pytest

from openhsi_shared import recover, verify
from openhsi_shared.errors import ArgumentError
from tests.support.disk_faults import files_in
from tests.support.disks import make_image, mounted, needs_disks, unmount

# ---- directories that go -----------------------------------------------------------------------


def test_a_directory_named_for_the_first_time_is_made(flight, bad):
    """D6: with all that is missing above it."""
    flight.save(bad / "a" / "b")
    flight.go_on(bad)


@pytest.mark.parametrize("way", ["removed", "moved", "replaced by a file", "replaced by a broken link"])
def test_a_directory_that_goes_between_two_cubes_is_told(flight, bad, way):
    """D6: it is not made again: that might be the place where a disk was mounted."""
    place = bad / "out"
    flight.save(place)
    place.rename(bad / "moved")
    expected = errno.ENOENT
    if way == "removed":
        shutil.rmtree(bad / "moved")
    elif way == "replaced by a file":
        place.write_text("")
        expected = errno.ENOTDIR
    elif way == "replaced by a broken link":
        place.symlink_to(bad / "nowhere")
    flight.fail(expected, place)
    flight.go_on()
    assert not place.is_dir()


@pytest.mark.parametrize("kind", ["allocate", "write", "sync", "renameat2"])
@pytest.mark.parametrize("way", ["directory moved", "folder removed", "directory replaced by a file"])
def test_a_directory_that_goes_in_the_middle_of_a_save_is_told(flight, bad, way, kind):
    """D6: lines go on into a file without a place, which then cannot get its name."""
    place = bad / "out"
    flight.save(place)
    kept = flight.save(place)
    with flight.stopping(place, kind) as handle:
        if way == "folder removed":
            shutil.rmtree(kept.parent)
        else:
            place.rename(bad / "moved")
            if way.endswith("file"):
                place.write_text("")
    flight.fail(errno.ENOTDIR if way.endswith("file") else errno.ENOENT, place, handle)
    flight.go_on()
    moved = bad / "moved"
    assert [path for path in files_in(moved) if path.suffix == ".part" and path.stat().st_size] == []
    if moved.exists():  # what could not be removed is empty, and told
        assert all(why for why in recover(moved).damaged.values())
        assert verify(moved / kept.relative_to(place)).ok


@pytest.mark.root
@needs_disks
@pytest.mark.parametrize("kind", ["between", "write", "renameat2"])
def test_a_disk_that_is_unmounted_is_told(flight, bad, tmp_path, kind):
    """D6: nothing is written into the empty place where it was."""
    image = make_image(tmp_path / "image", 32)
    with mounted(image, bad):
        place = bad / "out"
        before = flight.save(place)
        if kind == "between":
            unmount(bad)
            flight.fail(errno.ENOENT, place)
        else:
            with flight.stopping(place, kind) as handle:
                subprocess.run(["umount", "-l", str(bad)], check=True)
            flight.fail(errno.ENOENT, place, handle)
        flight.go_on()
    assert list(bad.iterdir()) == []
    with mounted(image, bad):
        assert verify(before).ok
        assert [path for path in files_in(bad) if path.suffix == ".nc"] == [before]


# ---- names -------------------------------------------------------------------------------------


def test_a_directory_whose_name_is_too_long_is_told(flight, bad):
    """D7: the cube can be saved in another one."""
    flight.fail(errno.ENAMETOOLONG, bad / ("x" * 300))
    flight.go_on(bad)


@pytest.mark.parametrize("prefix", ["\udcff\udcfe_", "ü 測 ", "- -", "'\"$(x)`", "%s{0}", "~"])
@pytest.mark.parametrize("where", ["prefix", "directory"])
def test_a_strange_name_is_a_name(flight, bad, prefix, where):
    """D7: bytes that are no UTF-8, blanks, quotes, dots, line ends: what the system takes, we take."""
    if where == "prefix":
        path = flight.save(bad, prefix=prefix, suffix=prefix)
        assert path.name.startswith(prefix)
    else:
        path = flight.save(bad / f"_{prefix}")
    assert verify(path).ok
    flight.go_on(bad)


@pytest.mark.parametrize("prefix", ["a/b", "../", "a:b", "a\\b", "\0", "x\0y", "a\nb"])
@pytest.mark.parametrize("what", ["prefix", "suffix"])
def test_what_cannot_be_a_name_is_refused_at_once(flight, bad, prefix, what):
    """D7: the cube is still in memory, and saved under another name."""
    flight.take()
    with pytest.raises(ArgumentError, match=f"{what}.* cannot be part of a file's name"):
        flight.camera.save(bad, **{what: prefix})
    flight.end(flight.camera.save(bad))
    flight.go_on(bad)


@pytest.mark.parametrize(("prefix", "words"), [("x" * 250, "have 250 bytes"), (".a", "would hide the file")])
def test_a_name_that_nobody_would_find_or_no_disk_can_have_is_refused_at_once(flight, bad, prefix, words):
    """D7: else its cube could not be saved, or would be saved under a hidden name."""
    flight.take()
    with pytest.raises(ArgumentError, match=words):
        flight.camera.save(bad, prefix=prefix)
    flight.end(flight.camera.save(bad))
    flight.go_on(bad)


@pytest.mark.parametrize("directory", ["", None, 7, b"out"])
def test_what_cannot_be_a_directory_is_refused_at_once(flight, bad, directory):
    """D7: empty, or no text; the cube is still there."""
    flight.take()
    with pytest.raises(ArgumentError, match="save_dir must be a directory"):
        flight.camera.save(directory)
    flight.end(flight.camera.save(bad))
    flight.go_on(bad)


def test_a_directory_that_no_system_can_have_is_refused_at_once(flight, bad):
    """D7: with NUL."""
    flight.take()
    with pytest.raises(ArgumentError, match="contains a null character"):
        flight.camera.save(bad / "a\0b")
    flight.end(flight.camera.save(bad))
    flight.go_on(bad)


# ---- names that are taken ------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["file", "directory", "broken link", "half a cube", "another cube"])
def test_a_name_that_others_have_is_left_to_them(flight, bad, way):
    """D11: taken in the last moment; ours gets a suffix."""
    other = flight.save(bad)
    with flight.stopping(bad, "renameat2") as handle:
        (part,) = (path for path in files_in(bad) if path.suffix == ".part")
        taken = part.with_name(part.name[1:].rsplit(".", 2)[0])
        if way == "directory":
            taken.mkdir()
        elif way == "broken link":
            taken.symlink_to("nowhere")
        elif way == "file":
            taken.write_text("mine")
        else:
            taken.write_bytes(other.read_bytes()[: None if way == "another cube" else 100_000])
        before = taken.lstat()
    path = flight.end(handle)
    assert path.name == taken.stem + "-1.nc"
    assert (taken.lstat().st_size, taken.lstat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    flight.go_on()


def test_a_cube_that_has_its_name_already_is_not_saved_twice(flight, bad):
    """D11: the rename was done, the sync of the folder fails; the file is whole, and saved."""
    flight.save(bad)
    flight.calls.inject(errno.EIO, "sync", 2)  # that of the folder
    handle = flight.begin(bad)
    flight.end(handle)
    flight.calls.stop()
    flight.go_on(bad)
    assert len(files_in(bad)) == 2


# ---- left over --------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["dead", "live", "truncated", "empty"])
def test_what_lies_there_of_other_writers_is_left_alone_and_recovered(flight, bad, tmp_path, way):
    """D17: a cube is saved beside it; then `recover` publishes it, leaves it, or reports it."""
    path = flight.save(tmp_path / "other")
    folder = bad / path.parent.name
    folder.mkdir()
    process_id = os.getpid() if way == "live" else 1
    part = folder / f".{path.name}.{process_id}.part"
    size = {"truncated": path.stat().st_size // 2, "empty": 0}.get(way)
    part.write_bytes(path.read_bytes()[:size])
    flight.save(bad)
    assert part.exists()
    with part.open("rb") as file:
        if way == "live":
            fcntl.flock(file, fcntl.LOCK_EX)
        found = recover(bad)
    expected = {"dead": "1 published", "live": "1 being written"}.get(way, "1 damaged")
    assert str(found) == expected
    assert len(files_in(bad)) == 2
    flight.go_on()
