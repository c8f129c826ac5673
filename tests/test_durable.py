"""A file exists under its name only when it is whole, and a failure leaves nothing."""

import errno
import fcntl
import mmap
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared import durable, file_calls, renaming
from openhsi_shared.durable import PAGE, PartFile, make_folder
from openhsi_shared.errors import SaveError
from openhsi_shared.files.blocks import BlockWriter
from openhsi_shared.locking import lock
from openhsi_shared.renaming import replace_file

RANDOM = np.random.default_rng(0).integers(0, 256, 1 << 20, dtype=np.uint8)


def aligned(n_bytes, shift=0):
    base = np.empty(n_bytes + 2 * PAGE, np.uint8)
    begin = -base.ctypes.data % PAGE + shift
    part = base[begin : begin + n_bytes]
    part[:] = RANDOM[:n_bytes]
    return part


def n_open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def published(folder, data=b"whole", **options):
    with PartFile(folder, "a.nc") as part:
        part.write_at(0, memoryview(data))
        return part.publish("a", ".nc", **options)


def test_a_file_has_its_name_only_when_published(tmp_path):
    with PartFile(tmp_path, "a.nc") as part:
        part.write_at(0, memoryview(b"whole"))
        assert names_in(tmp_path) == [f".a.nc.{os.getpid()}.part"]
        path = part.publish("a", ".nc")
        assert part.path == path
    assert names_in(tmp_path) == ["a.nc"]
    assert path.read_bytes() == b"whole"


def test_what_is_not_published_is_removed(tmp_path):
    with PartFile(tmp_path, "a.nc") as part:
        part.write_at(0, memoryview(b"half"))
    assert names_in(tmp_path) == []
    part.close()


def test_space_is_released_although_another_process_has_the_file_open(tmp_path):
    with PartFile(tmp_path, "a.nc") as part:
        part.write_at(0, memoryview(b"half"))
        watcher = os.open(part.path, os.O_RDONLY)
    try:
        assert os.fstat(watcher).st_size == 0
    finally:
        os.close(watcher)


def test_a_taken_name_is_kept_and_the_next_one_used(tmp_path):
    (tmp_path / "a.nc").write_bytes(b"other")
    assert [published(tmp_path).name for _ in range(3)] == ["a-1.nc", "a-2.nc", "a-3.nc"]
    assert (tmp_path / "a.nc").read_bytes() == b"other"


def test_an_exact_name_that_is_taken_is_refused(tmp_path):
    target = tmp_path / "cube.nc"
    target.write_bytes(b"mine")
    with PartFile(tmp_path, "cube.nc") as part:
        part.write_at(0, memoryview(b"other"))
        with pytest.raises(SaveError, match=r"cube\.nc") as caught:
            part.publish_as(target)
        assert caught.value.errno == errno.EEXIST
        target.unlink()
        part.publish_as(target)
    assert target.read_bytes() == b"other"
    assert [path.name for path in tmp_path.iterdir()] == ["cube.nc"]


def test_what_is_kept_can_be_adopted_and_read(tmp_path):
    part = PartFile(tmp_path, "cube.nc")
    part.write_at(0, memoryview(b"lines"))
    part.keep()
    with PartFile.adopt(part.path) as again:
        assert again.read_at(2, 10) == b"nes"
        again.remove()
    assert not list(tmp_path.iterdir())


def test_the_same_cube_published_before_is_found_again(tmp_path):
    first = published(tmp_path)
    again = published(tmp_path, b"again", is_same=lambda path: path.read_bytes() == b"whole")
    assert again == first
    assert names_in(tmp_path) == ["a.nc"]
    assert first.read_bytes() == b"whole"


@pytest.mark.parametrize("way", ["renameat2", "link", "exclusive"])
def test_of_several_that_want_one_name_each_gets_its_own(tmp_path, monkeypatch, way):
    if way != "renameat2":
        for module in (file_calls, renaming):
            monkeypatch.setattr(module, "function_of_libc", lambda name: None)
    if way == "exclusive":

        def no_links(source, target):
            raise OSError(errno.EPERM, "no hard links")

        monkeypatch.setattr(os, "link", no_links)
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(published, tmp_path, str(number).encode()) for number in range(24)]
        paths = [job.result() for job in jobs]
    assert len(set(paths)) == 24
    assert sorted(int(path.read_bytes()) for path in paths) == list(range(24))
    assert len(names_in(tmp_path)) == 24


@pytest.mark.parametrize("shift", [0, 1, 100])
@pytest.mark.parametrize("offset", [0, 100, PAGE, 3 * PAGE - 1])
@pytest.mark.parametrize("n_bytes", [1, PAGE - 1, PAGE, 10 * PAGE + 17])
def test_bytes_arrive_wherever_they_lie_and_go(tmp_path, n_bytes, offset, shift):
    data = aligned(n_bytes, shift)
    with PartFile(tmp_path, "a") as part:
        part.reserve(offset + n_bytes)
        was_direct = part.is_direct
        part.write_at(offset, data.data)
        assert part.is_direct == was_direct
        part.resize(offset + n_bytes)
        path = part.publish("a", "")
    assert path.read_bytes() == bytes(offset) + data.tobytes()


def test_direct_writes_that_the_file_system_refuses_go_through_the_cache(tmp_path):
    data = aligned(4 * PAGE)
    with PartFile(tmp_path, "a") as part:
        if not part.is_direct:
            pytest.skip("this file system has no direct writes at all")
        os.close(part._direct_fd)
        part._direct_fd = os.open(tmp_path / "pipe", os.O_RDWR | os.O_CREAT)  # a file: the same number, another nature
        (tmp_path / "pipe").unlink()
        real = os.pwrite

        def refuse(fd, view, at):
            if fd == part._direct_fd:
                raise OSError(errno.EINVAL, "Invalid argument")
            return real(fd, view, at)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "pwrite", refuse)
            part.write_at(0, data.data)
        assert not part.is_direct
        path = part.publish("a", "")
    assert path.read_bytes() == data.tobytes()


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, view, at: real(fd, view[: max(1, min(len(view), 3000))], at))
    data = aligned(5 * PAGE + 9)
    with PartFile(tmp_path, "a") as part:
        part._close_direct()
        part.write_at(7, data.data)
        path = part.publish("a", "")
    assert path.read_bytes()[7:] == data.tobytes()


def test_a_system_that_takes_nothing_is_an_error_and_no_endless_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "pwrite", lambda fd, view, at: 0)
    with PartFile(tmp_path, "a") as part, pytest.raises(SaveError, match="accepted none of the bytes"):
        part.write_at(0, memoryview(b"x"))


@pytest.mark.parametrize("sizes", [[5], [3000, 3000, 3000], [70_000] * 40, [1, PAGE, 100_000, 8 << 17]])
@pytest.mark.parametrize("gap", [0, 96, PAGE + 5])
@pytest.mark.parametrize("offset", [0, 33])
def test_gathered_pieces_arrive(tmp_path, sizes, gap, offset):
    expected = bytearray()
    with PartFile(tmp_path, "a") as part:
        gathered = BlockWriter(part, 16 * PAGE)
        at = offset
        for size in sizes:
            piece = RANDOM[:size]
            gathered.put(at, piece.data)
            expected += bytes(at - len(expected)) + piece.tobytes()
            at += size + gap
        gathered.flush()
        gathered.flush()
        path = part.publish("a", "")
    assert path.read_bytes() == bytes(expected)


def test_the_lock_says_that_the_writer_lives(tmp_path):
    code = (
        "import fcntl, os, sys\n"
        "fd = os.open(sys.argv[1], os.O_RDWR)\n"
        "try:\n    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except BlockingIOError:\n    print('lives')\n"
        "else:\n    print('dead')\n"
    )

    def state(path):
        return subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
        ).stdout.strip()

    with PartFile(tmp_path, "a") as part:
        assert state(part.path) == "lives"
    writer = (
        "import os; from pathlib import Path; from openhsi_shared.durable import PartFile\n"
        f"PartFile(Path({str(tmp_path)!r}), 'b'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", writer], check=True, cwd=Path(__file__).parents[1])
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".b.")
    assert left.suffix == ".part"
    assert state(left) == "dead"


@pytest.mark.skipif(sys.platform == "win32", reason="locks of this kind are POSIX")
def test_a_search_for_leftovers_between_creation_and_lock_removes_nothing(tmp_path, monkeypatch):
    """As if the writer had been held up there: each of the first lookers has the lock before it."""
    looks = []

    def look_first(fd, path):
        looker = os.open(path, os.O_RDWR)
        assert lock(looker, path)
        try:
            looks.append(path.name)
            return lock(fd, path) if len(looks) < 3 else True
        finally:
            os.close(looker)

    before = n_open_files()
    monkeypatch.setattr(durable, "lock", look_first)
    assert published(tmp_path).read_bytes() == b"whole"
    process_id = os.getpid()
    assert looks == [f".a.nc.{process_id}.part", f".a.nc.{process_id}-1.part", f".a.nc.{process_id}-2.part"]
    assert names_in(tmp_path) == ["a.nc"]
    monkeypatch.setattr(durable, "lock", lambda fd, path: False)
    monkeypatch.setattr(durable, "MAX_NAMES", 5)
    with pytest.raises(SaveError, match="all of 5 temporary names are in use") as caught:
        PartFile(tmp_path, "b.nc")
    assert caught.value.errno == errno.EBUSY
    assert names_in(tmp_path) == ["a.nc"]
    assert n_open_files() == before


@pytest.mark.skipif(sys.platform == "win32", reason="locks of this kind are POSIX")
def test_a_file_that_is_about_to_be_locked_is_no_leftover(tmp_path, monkeypatch):
    looks = []

    def look_first(fd, path):
        if not looks:
            looks.append(None)
            looks[0] = PartFile.adopt(path)
        return lock(fd, path)

    monkeypatch.setattr(durable, "lock", look_first)
    with PartFile(tmp_path, "a.nc") as part:
        assert looks == [None]
        assert names_in(tmp_path) == [part.path.name]
        assert part.has_name


@pytest.mark.parametrize("process_id", [1, os.getpid(), 1 << 31, 10**30], ids=["init", "ours", "too large", "huge"])
def test_an_empty_leftover_is_one_although_a_process_has_its_id_by_now(tmp_path, process_id):
    path = tmp_path / f".a.nc.{process_id}.part"
    path.touch()
    with PartFile.adopt(path) as part:
        assert part.has_name
        path.unlink()
        path.touch()
        assert not part.has_name


def test_a_leftover_with_our_process_id_is_not_touched(tmp_path):
    leftover = tmp_path / f".a.nc.{os.getpid()}.part"
    leftover.write_bytes(b"left over")
    assert published(tmp_path).name == "a.nc"
    assert leftover.read_bytes() == b"left over"


@pytest.mark.parametrize(
    ("folder", "number"),
    [("missing", errno.ENOENT), ("file", errno.ENOTDIR), ("x" * 300, errno.ENAMETOOLONG)],
)
def test_errors_have_the_true_number_and_the_path(tmp_path, folder, number):
    (tmp_path / "file").write_text("")
    for call in (lambda: PartFile(tmp_path / folder, "a"), lambda: make_folder(tmp_path / folder, "day")):
        with pytest.raises(SaveError, match=folder) as caught:
            call()
        assert caught.value.errno == number
        assert folder in caught.value.filename


def test_a_failed_fsync_is_an_error_and_is_never_tried_again(tmp_path, monkeypatch):
    calls = []

    def fail(fd):
        calls.append(fd)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with PartFile(tmp_path, "a") as part:
        part.write_at(0, memoryview(b"x"))
        with pytest.raises(SaveError, match="Input/output") as caught:
            part.sync()
    assert caught.value.errno == errno.EIO
    assert len(calls) == 1
    assert names_in(tmp_path) == []


def test_a_directory_that_cannot_be_synced_leaves_the_published_file(tmp_path, monkeypatch):
    _fail_syncs(monkeypatch, range(2, 99))
    with pytest.raises(SaveError, match="Input/output"):
        published(tmp_path)
    assert (tmp_path / "a.nc").read_bytes() == b"whole"


def test_a_directory_that_cannot_be_synced_once_is_synced_again(tmp_path, monkeypatch, caplog):
    calls = _fail_syncs(monkeypatch, [2])
    assert published(tmp_path).read_bytes() == b"whole"
    assert len(calls) == 3
    assert "could not be synced, and is synced again" in caplog.text


def _fail_syncs(monkeypatch, which):
    """Let the calls of fsync fail that have these numbers; returns the list of all."""
    real, calls = os.fsync, []

    def sync(fd):
        calls.append(fd)
        if len(calls) in which:
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", sync)
    return calls


def test_a_leftover_that_is_published_by_a_link_is_removed_without_its_lines(tmp_path):
    (tmp_path / "a.nc").write_bytes(b"whole")
    left = tmp_path / ".a.nc.17.part"
    left.hardlink_to(tmp_path / "a.nc")
    part = PartFile.adopt(left)
    assert part.publish("a", ".nc", is_same=lambda path: True) == tmp_path / "a.nc"
    assert (tmp_path / "a.nc").read_bytes() == b"whole"
    assert not left.exists()


@pytest.mark.parametrize(("durability", "is_synced"), [("fsync", True), ("rename", False)])
def test_file_folder_and_names_are_synced_once_each(tmp_path, monkeypatch, durability, is_synced):
    real, seen = os.fsync, []

    def count(fd):
        seen.append(os.fstat(fd).st_ino)
        real(fd)

    monkeypatch.setattr(os, "fsync", count)
    folder = make_folder(tmp_path, "day", durability=durability)
    path = published(folder, durability=durability)
    assert make_folder(tmp_path, "day", durability=durability) == folder
    inodes = [tmp_path.stat().st_ino, path.stat().st_ino, folder.stat().st_ino]
    assert seen == (inodes if is_synced else [])


def test_a_folder_whose_creator_died_before_it_was_synced_is_synced(tmp_path, monkeypatch):
    real, seen = os.fsync, []

    def count(fd):
        seen.append(os.fstat(fd).st_ino)
        real(fd)

    (tmp_path / "day").mkdir()
    monkeypatch.setattr(os, "fsync", count)
    folder = make_folder(tmp_path, "day")
    assert seen == [tmp_path.stat().st_ino]
    (folder / "cube.nc").touch()
    make_folder(tmp_path, "day")
    assert len(seen) == 1, "whoever put a file there has synced it"


def test_no_descriptor_is_left_open(tmp_path):
    before = n_open_files()
    for _ in range(5):
        published(tmp_path)
        with PartFile(tmp_path, "b"):
            pass
        with pytest.raises(SaveError):
            PartFile(tmp_path / "missing", "b")
    assert n_open_files() == before


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_full_disk_shows_when_space_is_reserved(tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with PartFile(tmp_path, "a") as part, pytest.raises(SaveError) as caught:
            part.reserve(2 << 20)
        assert caught.value.errno == errno.ENOSPC
        assert names_in(tmp_path) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="locks of this kind are POSIX")
def test_readers_may_look_as_soon_as_the_name_is_there_but_the_writer_still_shows_that_it_lives(tmp_path):
    (tmp_path / "cube.nc").write_bytes(b"of somebody else")
    looks = []

    def is_same(_: Path) -> bool:  # called between the sync and the name
        with part.path.open("rb") as reader:
            fcntl.flock(reader, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with part.path.open("rb") as sweeper, pytest.raises(BlockingIOError):
            fcntl.flock(sweeper, fcntl.LOCK_EX | fcntl.LOCK_NB)
        looks.append(part.path)
        return False

    with PartFile(tmp_path, "cube.nc") as part:
        part.write_at(0, memoryview(b"ours"))
        assert part.publish("cube", ".nc", is_same=is_same).name == "cube-1.nc"
    assert len(looks) == 1


def test_memory_that_may_only_be_read_bypasses_the_page_cache_too(tmp_path, monkeypatch):
    """The writer has read-only views of the slots."""
    pages = memoryview(mmap.mmap(-1, 4 * PAGE)).toreadonly()
    usual, descriptors = durable.write_at, []
    monkeypatch.setattr(
        durable, "write_at", lambda fd, data, at: descriptors.append((fd, len(data))) or usual(fd, data, at)
    )
    with PartFile(tmp_path, "a.nc") as part:
        if not part.is_direct:
            pytest.skip("this file system has no direct writes")
        part.write_at(PAGE, pages)
        assert descriptors == [(part._direct_fd, 4 * PAGE)]


@pytest.mark.parametrize("is_unnamed", [True, False])
def test_a_file_is_replaced_when_the_new_one_is_complete_and_nothing_else_is_left(tmp_path, monkeypatch, is_unnamed):
    if not is_unnamed:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no files without a name")
    path, seen, sync = tmp_path / "a.png", [], os.fsync
    path.write_bytes(b"old")

    def look_and_sync(descriptor):
        seen.append(sorted(file.name for file in tmp_path.iterdir()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look_and_sync)
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    if is_unnamed:
        assert seen == [["a.png"]], "a process that is killed would leave it behind"
    monkeypatch.setattr(os, "fsync", lambda _: os.open(tmp_path / "none", os.O_RDONLY))
    with pytest.raises(FileNotFoundError):
        replace_file(path, b"newer")
    assert path.read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
