"""Disks fail in every way: the errno is the true one, the cube stays in memory, capture continues, no frame is lost.

Most tests share one camera and its writer, which must survive them all; `tests/air.py` says what is proved each time.
"""

import errno
import os
import resource
import subprocess
import sys

import pytest

from openhsi_shared import SharedSimulatedCamera, record, recover, verify
from openhsi_shared.errors import SaveError
from tests.support.disk_faults import BAD, LARGE, LINES, Flight, files_in
from tests.support.disks import break_down, free_bytes, make_image, mounted, needs_disks, pull_out
from tests.support.faulty_calls import FaultyCalls
from tests.support.flow import CAMERA, COUNTING, run
from tests.support.oracle import prove, prove_summary
from tests.support.process_faults import camera

# ---- full ------------------------------------------------------------------------------------

FULL = {"folder": "size=8m,nr_inodes=1", "create": "size=8m,nr_inodes=2", "space": "size=300k"}


@pytest.mark.root
@needs_disks
@pytest.mark.parametrize("point", FULL)
def test_a_full_disk_is_told_and_has_its_space_back(flight, bad, point):
    """D1: ENOSPC where the folder of the day, the file, or the place of its lines is to be made."""
    with mounted("tmpfs", bad, FULL[point]):
        free = free_bytes(bad)
        assert "No space left on device" in str(flight.fail(errno.ENOSPC, bad))
        assert free_bytes(bad) == free
        flight.go_on(bad)


@pytest.mark.root
@needs_disks
def test_a_disk_that_gets_full_while_lines_are_compressed_is_told(tmp_path):
    """D1: in the middle; the length of such a file cannot be known before."""
    place = tmp_path / "small"
    with mounted("tmpfs", place, "size=16k"), camera(resolution=LARGE, compression="deflate") as cam:
        cam.collect()
        handle = cam.save(place)
        with pytest.raises(SaveError, match="cube 1 was not saved; it is kept in memory") as caught:
            handle.result(60)
        assert caught.value.errno == errno.ENOSPC
        assert files_in(place) == []
        assert free_bytes(place) == 16384
        handle.retry(tmp_path / "elsewhere").result(60)
        assert prove(tmp_path / "elsewhere", LINES).saved == LINES


@pytest.mark.root
@needs_disks
def test_a_disk_that_others_fill_in_the_middle_of_a_save_does_no_harm(flight, bad):
    """D1: the place of the lines was taken before the first one was written."""
    with mounted("tmpfs", bad, "size=1m"):
        with flight.stopping(bad, "write") as handle:
            (bad / "others").write_bytes(bytes(free_bytes(bad) - 65536))
        flight.end(handle)
        flight.go_on()


CALLS = [
    ("mkdir", errno.ENOSPC),
    ("mkdir", errno.EDQUOT),
    ("open", errno.ENOSPC),
    ("open", errno.EDQUOT),
    ("open", errno.EMFILE),
    ("open", errno.ENFILE),
    ("open", errno.EIO),
    ("lock", errno.EIO),
    ("allocate", errno.ENOSPC),
    ("allocate", errno.EDQUOT),
    ("allocate", errno.EIO),
    ("write", errno.ENOSPC),
    ("write", errno.EDQUOT),
    ("write", errno.EIO),
    ("truncate", errno.EIO),
    ("sync", errno.ENOSPC),
    ("sync", errno.EDQUOT),
    ("sync", errno.EIO),
    ("renameat2", errno.EIO),
    ("renameat2", errno.EROFS),
    ("renameat2", errno.EDQUOT),
]


@pytest.mark.parametrize(("kind", "number"), CALLS, ids=[f"{kind}-{errno.errorcode[n]}" for kind, n in CALLS])
def test_any_call_that_fails_is_told_by_its_number(flight, bad, kind, number):
    """D1, D2, D3, D9, D10: also a disk that accepts everything and reports the error only at fsync."""
    flight.calls.inject(number, kind)
    assert os.strerror(number) in str(flight.fail(number, bad))
    flight.go_on(bad)
    assert files_in(bad) == []


@pytest.mark.parametrize("kinds", ["sync unlink", "sync truncate unlink"])
@pytest.mark.parametrize("is_retried", [True, False])
def test_what_a_dead_disk_will_not_even_remove_is_found_by_recover(flight, bad, kinds, is_retried):
    """D3: the first error is reported, not one of the cleanup. A retry finds what is left, too."""
    flight.save(bad)
    flight.calls.inject(errno.EIO, kinds)
    flight.fail(errno.EIO, bad)
    if is_retried:
        flight.go_on()
    flight.calls.stop()
    found = recover(bad)
    assert (len(found.damaged) + len(found.published), found.live) == (int(not is_retried), ())


@pytest.mark.root
@needs_disks
@pytest.mark.parametrize("shape", [(16, 512), LARGE], ids=["by the cache", "past the cache"])
def test_a_disk_that_lies_is_found_out_before_a_file_has_its_name(bad, tmp_path, monkeypatch, shape):
    """D2: a real one: its image lies on a disk too small for it, which is not reported when space is reserved."""
    with mounted("tmpfs", tmp_path / "below", "size=6m") as below:
        image = make_image(below / "image", 64)
        with mounted(image, bad):
            flight = Flight(tmp_path, monkeypatch, resolution=shape)
            try:
                flight.save(bad)
                (below / "others").write_bytes(bytes(free_bytes(below) - 32768))
                flight.calls.inject(0, "allocate sync")
                handle = flight.begin(bad)
                with pytest.raises(SaveError) as caught:
                    handle.result(60)
                assert caught.value.errno in (errno.EIO, errno.ENOSPC)
                assert shape == LARGE or flight.calls.calls == ["allocate", "sync"]
                flight.fail(caught.value.errno, bad, handle)
                flight.go_on(bad)
            finally:
                flight.close()


# ---- broken, pulled out, read-only --------------------------------------------------------------


@pytest.mark.root
@needs_disks
@pytest.mark.parametrize(("kind", "n"), [("allocate", 1), ("write", 3), ("sync", 1), ("renameat2", 1)])
def test_a_disk_that_is_pulled_out_in_the_middle_of_a_save_is_told(flight, bad, tmp_path, kind, n):
    """D3, D6: EIO from then on; what was saved before is whole when the disk is put in again."""
    image = make_image(tmp_path / "image", 32)
    with mounted(image, bad):
        before = flight.save(bad)
        with flight.stopping(bad, kind, n) as handle:
            pull_out(bad)
        flight.fail(errno.EIO, bad, handle)
        flight.go_on()
    with mounted(image, bad):
        assert verify(before).ok
        assert [path for path in files_in(bad) if path.suffix == ".nc"] == [before]
        assert recover(bad).live == ()


@pytest.mark.root
@needs_disks
@pytest.mark.parametrize("kind", ["tmpfs", "image"])
def test_a_disk_that_was_mounted_read_only_is_erofs(flight, bad, tmp_path, kind):
    """D4: from the beginning, and after it has taken some cubes."""
    what = "tmpfs" if kind == "tmpfs" else make_image(tmp_path / "image", 32)
    with mounted(what, bad, "size=8m" if kind == "tmpfs" else "rw"):
        flight.save(bad)
        subprocess.run(["mount", "-o", "remount,ro", str(bad)], check=True)
        flight.fail(errno.EROFS, bad)
        flight.go_on(bad)


@pytest.mark.root
@needs_disks
@pytest.mark.parametrize("call", ["write", "sync", "renameat2"])
def test_a_disk_that_breaks_down_and_becomes_read_only_in_the_middle_is_told(flight, bad, tmp_path, call):
    """D4: the kernel finds it damaged while a cube is written."""
    image = make_image(tmp_path / "image", 32, "-e", "remount-ro")
    with mounted(image, bad):
        with flight.stopping(bad, call) as handle:
            break_down(bad)
        with pytest.raises(SaveError) as caught:
            handle.result(60)
        assert caught.value.errno in (errno.EROFS, errno.EIO)
        flight.fail(caught.value.errno, bad, handle)
        flight.go_on()
    with mounted(image, bad):
        assert [path for path in files_in(bad) if path.suffix == ".nc"] == []
        assert not recover(bad).live


FORBIDDEN = f"""{CAMERA}
import ctypes, os, pathlib
libc = ctypes.CDLL(None, use_errno=True)
if os.geteuid() == 0:
    for capability in (1, 2):  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: its writer is as weak as anybody
        assert libc.prctl(24, capability, 0, 0, 0) == 0
pathlib.Path("forbidden").mkdir()
os.chmod("forbidden", 0o500)
with camera() as cam:
    for directory in ("forbidden", "forbidden/new"):
        cam.collect()
        handle = cam.save(directory)
        try:
            handle.result(60)
        except OSError as error:
            print(error.errno, error.filename, "kept in memory" in str(error))
        handle.retry("allowed").result(60)
    cam.collect()
    cam.save("allowed")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux' capabilities, where it runs as root")
def test_a_directory_that_must_not_be_written_is_eacces(tmp_path):
    """D5: a writer without root's privileges, also where the tests have them."""
    code, output, errors = run(FORBIDDEN, tmp_path)
    assert code == 0, errors
    (first, where, kept), (second, *_) = (line.split() for line in output.splitlines())
    assert (first, kept) == ("13", "True")
    assert second in ("13", "2")
    assert where.startswith(str(tmp_path / "forbidden"))
    assert files_in(tmp_path / "forbidden") == []
    assert prove(tmp_path / "allowed", 24).saved == 24


# ---- limits ------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs a system that can limit another process")
@pytest.mark.parametrize(
    ("limit", "number"), [(resource.RLIMIT_FSIZE, errno.EFBIG), (resource.RLIMIT_NOFILE, errno.EMFILE)]
)
def test_a_limit_of_the_writer_is_told(flight, bad, limit, number):
    """D8, D9: the longest file, the most descriptors; the writer is not killed by the signal of the first."""
    before = resource.prlimit(flight.writer.pid, limit)
    enough = 100_000 if limit == resource.RLIMIT_FSIZE else 3
    resource.prlimit(flight.writer.pid, limit, (enough, before[1]))
    try:
        flight.fail(number, bad)
    finally:
        resource.prlimit(flight.writer.pid, limit, before)
    flight.go_on(bad)
    assert files_in(bad) == []


# ---- slow, old, left over ------------------------------------------------------------------------


def test_a_slow_disk_costs_exactly_the_frames_that_had_no_slot(tmp_path, monkeypatch):
    """D13: every write takes its time; what is lost meanwhile is named in the files."""
    calls = FaultyCalls(tmp_path, BAD)
    for name, value in calls.environment.items():
        monkeypatch.setenv(name, value)
    calls.inject(0, "write sync", delay_us=40_000)
    keywords = {**COUNTING, "n_lines": 16, "n_buffers": 3, "rate": 800, "n_cubes": 12, "progress": False}
    with record(SharedSimulatedCamera, tmp_path / BAD, **keywords) as run_:
        summary = run_.wait(100)
    verdict = prove_summary(tmp_path / BAD, summary)
    assert verdict.declared_lost > 0


def test_a_call_that_hangs_is_given_up_and_another_writer_saves_the_cube(bad, tmp_path, monkeypatch):
    """D12: what hangs in the kernel for good is in `tests/writer/test_hung_writers.py`."""
    flight = Flight(tmp_path, monkeypatch, writer_patience_s=1.0)
    try:
        flight.calls.inject(0, "sync", last=1, delay_us=100_000_000)
        path = flight.save(bad)
        assert flight.camera.status().writer_restarts >= 1
        assert verify(path).ok
        flight.go_on(n_restarts=None)
        assert len([path for path in files_in(bad) if path.suffix == ".nc"]) == 1
        assert recover(bad).live == ()
    finally:
        flight.close()


LESS = {
    "no renameat2": ("renameat2", errno.ENOSYS),
    "a file system without renameat2": ("renameat2", errno.EINVAL),
    "no hard links either": ("renameat2 link", errno.ENOSYS),
    "no locks": ("lock", errno.ENOLCK),
    "no allocation": ("allocate", errno.EOPNOTSUPP),
}


@pytest.mark.parametrize("what", LESS)
def test_a_file_system_that_can_do_less_is_good_enough(flight, bad, what):
    """D14: the cube gets its name all the same, by other means."""
    kinds, number = LESS[what]
    flight.calls.inject(number, kinds)
    paths = [flight.save(bad), flight.save(bad)]
    assert flight.calls.n_calls >= 2
    assert sorted(files_in(bad)) == sorted(paths)
    flight.go_on(bad)


def test_a_hard_link_whose_first_name_cannot_be_removed_is_a_whole_file(flight, bad):
    """D14, D3: both names are those of one file, which must not be emptied with the first one."""
    flight.calls.inject(errno.EIO, "unlink", without="renameat2")
    path = flight.save(bad)
    flight.calls.stop()
    assert verify(path).ok
    assert len(files_in(bad)) == 2
    assert len(recover(bad).removed) == 1
    flight.go_on(bad)
    assert verify(path).ok
