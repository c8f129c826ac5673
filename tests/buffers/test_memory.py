"""Shared memory is allocated only if it fits; else the error contains the numbers, and no process is killed."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared.buffers import memory
from openhsi_shared.buffers.memory import PAGE, aligned_bytes, arena_of, require_memory, shared_array
from openhsi_shared.errors import ArgumentError, MemoryShortage
from tests.support.helpers import TIMEOUT_S, environment

MB = 1 << 20


def test_array_is_zeroed_also_where_another_one_has_been():
    for _ in range(3):
        array = shared_array("B", 9 * MB, "test")
        items = np.frombuffer(array, np.uint8)
        assert not items.any()
        items[:] = 255
        del items, array


def test_array_has_the_type_asked_for():
    assert np.frombuffer(shared_array(ctypes.c_float, 5, "test"), np.float32).shape == (5,)
    assert np.frombuffer(shared_array("q", 5, "test"), np.int64).shape == (5,)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/shm is Linux's")
def test_memory_has_no_name_that_could_be_left_behind():
    array = shared_array("B", 9 * MB, "test")
    link = Path(f"/proc/self/fd/{arena_of(array)[0].fd}").readlink()
    assert link.parent == Path("/dev/shm")
    assert link.name.endswith(" (deleted)")
    assert not link.with_name(link.name.removesuffix(" (deleted)")).exists()


@pytest.mark.parametrize("n", [0, -1, 1.5, "3", None])
def test_impossible_number_of_items_is_refused(n):
    with pytest.raises(ArgumentError, match="lines: the number of items must be a whole number > 0, got"):
        shared_array("B", n, "lines")


def test_aligned_bytes_begin_at_a_page_wherever_the_array_lies():
    arrays = [shared_array("B", 3 * PAGE + 8, "test") for _ in range(10)]
    assert any(arena_of(array)[1] % PAGE for array in arrays), "else nothing had to be aligned"
    for k, array in enumerate(arrays):
        flat = aligned_bytes(array, 2 * PAGE)
        assert flat.ctypes.data % PAGE == 0
        assert flat.size == 2 * PAGE
        flat[:] = k + 1
    for k, array in enumerate(arrays):
        assert (np.frombuffer(array, np.uint8) == k + 1).sum() == 2 * PAGE


def test_shortage_is_a_memory_error_with_numbers_and_remedy():
    with pytest.raises(
        MemoryShortage, match=r"my cube needs [\d,]+\.\d MB, but .* has [\d,]+\.\d MB free .*: use fewer"
    ):
        require_memory(1 << 50, "my cube")
    assert issubclass(MemoryShortage, MemoryError)
    require_memory(1000, "something small")


def test_limits_that_exist_here_are_found():
    places = {place: free for place, free, _ in memory.free_memory()}
    if sys.platform.startswith("linux"):
        assert places["/dev/shm"] > 0
        assert places["this machine"] > 0


# ---- control groups: real files, laid out as the kernel does ----


def write_group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def free_in(tmp_path, own):
    (tmp_path / "own").write_text(own)
    return memory._cgroup_free(tmp_path / "cgroup", tmp_path / "own")


def test_limit_of_our_own_control_group_counts_and_those_above_it(tmp_path):
    root = tmp_path / "cgroup"
    write_group(root / "a", memory__max=1000 * MB, memory__current=300 * MB, memory__stat=f"inactive_file {50 * MB}")
    write_group(root / "a/b", memory__max=800 * MB, memory__current=100 * MB, memory__stat="anon 5\ninactive_file 0")
    write_group(root / "a/b/c", memory__max="max", memory__current=1, memory__stat="")
    write_group(root / "other", memory__max=1, memory__current=1, memory__stat="")
    assert sorted(free_in(tmp_path, "0::/a/b/c\n")) == [700 * MB, 750 * MB]


def test_container_sees_its_own_limit_at_the_root(tmp_path):
    write_group(tmp_path / "cgroup", memory__max=5 * MB, memory__current=2 * MB, memory__stat="inactive_file 0")
    assert free_in(tmp_path, "0::/\n") == [3 * MB]
    assert free_in(tmp_path, "0::/not/mounted/here\n") == [3 * MB]


def test_limit_of_version_1_is_found_below_the_folder_of_its_controller(tmp_path):
    root = tmp_path / "cgroup/memory"
    unlimited = 9223372036854771712
    write_group(root, memory__limit_in_bytes=unlimited, memory__usage_in_bytes=7, memory__stat="total_inactive_file 0")
    write_group(
        root / "docker/1234",
        memory__limit_in_bytes=100 * MB,
        memory__usage_in_bytes=60 * MB,
        memory__stat=f"cache 9\ntotal_inactive_file {10 * MB}",
    )
    assert free_in(tmp_path, "5:memory:/docker/1234\n4:cpu,cpuacct:/docker/1234\n") == [50 * MB]


def test_no_control_groups_are_no_limit(tmp_path):
    assert free_in(tmp_path, "0::/\n") == []
    assert memory._cgroup_free(tmp_path, tmp_path / "missing") == []


# ---- a /dev/shm that is too small, or none at all ----

needs_own_mounts = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="needs root and unshare, to mount a small /dev/shm",
)


def run_with_shm(mount, program):
    """Run `program` where `mount` has been done, unseen by everybody else. Returns (exit code, what it wrote)."""
    command = ["unshare", "-m", "sh", "-c", f'mount --make-rprivate / && {mount} && exec "$0" -c "$1"']
    done = subprocess.run(
        [*command, sys.executable, program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    return done.returncode, done.stdout + done.stderr


TRY = """
from openhsi_shared.buffers.arrays import SharedCircArrayBuffer
from openhsi_shared.errors import MemoryShortage
for megabytes in ({sizes}):
    try:
        SharedCircArrayBuffer((megabytes, 1 << 20)).put(1)
        print(megabytes, "is there")
    except MemoryShortage as error:
        print(megabytes, error)
"""


@pytest.mark.root
@needs_own_mounts
def test_small_shm_refuses_what_does_not_fit_and_takes_what_does():
    code, said = run_with_shm("mount -t tmpfs -o size=50m tmpfs /dev/shm", TRY.format(sizes="100, 49, 45, 20, 1"))
    assert code == 0, said
    lines = said.splitlines()
    assert "100 SharedCircArrayBuffer of size (100, 1048576) needs 104.9 MB, but /dev/shm has 52.4 MB free" in lines[0]
    assert "in a container: --shm-size" in lines[0]
    assert "/dev/shm has 52.4 MB free (6.6 MB are left to others)" in lines[1]
    assert lines[3:] == ["20 is there", "1 is there"]


@pytest.mark.root
@needs_own_mounts
def test_pages_taken_by_another_process_after_the_check_are_an_error_and_no_bus_error():
    program = """
import ctypes
from multiprocessing.heap import BufferWrapper
from multiprocessing.sharedctypes import rebuild_ctype
from openhsi_shared.buffers.memory import _reserve_pages, require_memory
size = 40 << 20
require_memory(size, "lines")
array = rebuild_ctype(ctypes.c_uint8 * size, BufferWrapper(size), None)
open("/dev/shm/others", "wb").write(bytes(20 << 20))
try:
    _reserve_pages(array, size, "lines")
except MemoryError as error:
    print(error)
else:
    ctypes.memset(ctypes.addressof(array), 0, size)
"""
    code, said = run_with_shm("mount -t tmpfs -o size=50m tmpfs /dev/shm", program)
    assert code == 0, said
    assert "lines: 41,943,040 bytes of shared memory are no longer available: No space" in said


@pytest.mark.root
@needs_own_mounts
def test_shm_that_cannot_be_written_is_an_error_that_says_so():
    code, said = run_with_shm("mount -t tmpfs -o size=50m,ro tmpfs /dev/shm", TRY.format(sizes="5,"))
    assert code == 0, said
    assert "no shared memory in /dev/shm" in said
    assert "Read-only file system" in said


@pytest.mark.root
@needs_own_mounts
def test_missing_shm_is_an_error_that_says_so():
    code, said = run_with_shm("mount -t tmpfs tmpfs /dev", TRY.format(sizes="5,"))
    assert code == 0, said
    assert "no shared memory in /dev/shm" in said


@pytest.mark.root
@needs_own_mounts
def test_array_never_comes_to_lie_on_a_disk():
    # multiprocessing takes pieces that double in size, and one that does not fit from the temp directory
    program = """
from openhsi_shared.buffers.memory import arena_of, shared_array
import os
kept = []
try:
    for _ in range(100):
        kept.append(shared_array("B", 100_000, "small"))
except MemoryError as error:
    print(error)
print({os.readlink(f"/proc/self/fd/{arena_of(array)[0].fd}")[:13] for array in kept})
"""
    code, said = run_with_shm("mount -t tmpfs -o size=3m tmpfs /dev/shm", program)
    assert code == 0, said
    assert "small: 100,000 bytes were allocated on a disk, not in /dev/shm: is it mounted" in said
    assert "{'/dev/shm/pym-'}" in said
