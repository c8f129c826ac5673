"""Insufficient memory is an error with figures and a remedy, before a camera has started; never a SIGBUS."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from openhsi_shared import SharedDataCube, SharedSimulatedCamera, record
from openhsi_shared.errors import ArgumentError, MemoryShortage
from tests.support.flow import CAMERA, COUNTING, SHAPE, environment
from tests.support.helpers import wait_for
from tests.support.oracle import prove
from tests.support.process_faults import camera

is_root = hasattr(os, "geteuid") and os.geteuid() == 0
needs_mounts = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not is_root or shutil.which("unshare") is None,
    reason="needs root and unshare, to mount a small /dev/shm",
)
TRY = f"""{CAMERA}
import os, sys
from openhsi_shared import record
class Told(SharedSimulatedCamera):
    def start_cam(self):
        print("started", flush=True)
        super().start_cam()
def fly(how, **keywords):
    keywords = dict(mode="counting", row_slice=None, cal_path="", resolution=(64, 128), n_lines=1024, **keywords)
    if how == "record":
        with record(Told, "out", n_cubes=1, progress=False, **keywords) as run:
            return run.wait().lines
    with Told(**keywords) as cam:
        cam.collect(progress=False)
        return cam.save("out").result().n_lines
try:
    print(fly(sys.argv[1]))
except MemoryError as error:
    print(type(error).__name__, error)
"""


def _run_with_shm(tmp_path: Path, mount: str, how: str) -> str:
    """Output of the program after `mount`, in a mount namespace of its own."""
    (tmp_path / "program.py").write_text(TRY)
    script = f'mount --make-rprivate / && {mount} && exec "$0" program.py "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, sys.executable, how],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr  # not -7, which is SIGBUS
    return done.stdout


@pytest.mark.root
@needs_mounts
@pytest.mark.parametrize("how", ["collect", "record"])
def test_a_small_dev_shm_refuses_the_camera_before_it_starts(tmp_path, how):
    """M1: 64 MB, the default of a container; two cubes of 17 MB fit, three of `record` as well."""
    said = _run_with_shm(tmp_path, "mount -t tmpfs -o size=30m tmpfs /dev/shm", how)
    assert said.startswith("MemoryShortage ")
    assert "MB, but /dev/shm has 31.5 MB free" in said
    assert "use fewer lines or slots, or mount it larger (in a container: --shm-size)" in said
    assert "started" not in said
    assert _run_with_shm(tmp_path, "mount -t tmpfs -o size=64m tmpfs /dev/shm", how) == "started\n1024\n"


@pytest.mark.root
@needs_mounts
def test_a_dev_shm_that_cannot_be_written_refuses_the_camera(tmp_path):
    """M1: read-only."""
    said = _run_with_shm(tmp_path, "mount -t tmpfs -o ro tmpfs /dev/shm", "collect")
    assert "no shared memory in /dev/shm" in said or "/dev/shm has 0.0 MB free" in said
    assert "started" not in said


@pytest.mark.root
@needs_mounts
def test_a_dev_shm_that_others_fill_after_the_check_costs_no_line(tmp_path):
    """M1: the slots were made, and have their pages; what others take afterwards cannot take them away."""
    code = f"""{CAMERA}
import os
with camera(resolution=(64, 128), n_lines=1024) as cam:
    filling = os.open("/dev/shm/others", os.O_CREAT | os.O_WRONLY)
    try:
        while True:
            os.write(filling, bytes(1 << 20))
    except OSError as error:
        print(error.errno)
    for _ in range(3):
        cam.collect(progress=False)
        cam.save("out")
"""
    (tmp_path / "program.py").write_text(code)
    script = 'mount --make-rprivate / && mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$0" program.py'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, sys.executable],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    assert (done.returncode, done.stdout) == (0, "28\n"), done.stderr
    assert prove(tmp_path / "out", 3072).saved == 3072


@pytest.mark.root
@pytest.mark.skipif(not is_root, reason="needs root, to make a control group")
@pytest.mark.parametrize("how", ["collect", "record"])
def test_a_limit_of_the_control_group_refuses_the_camera_instead_of_killing_it(tmp_path, how):
    """M2: the limit of a container or service, of version 1 or 2."""
    for base, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = base / f"openhsi_shared-limit-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(200 << 20))
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        break
    else:
        pytest.skip("control groups of memory cannot be made here")
    (tmp_path / "program.py").write_text(TRY.replace("n_lines=1024", "n_lines=8192"))
    try:
        done = subprocess.run(
            ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$0" program.py "$1"', sys.executable, how],
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        if "sh:" in done.stderr:
            pytest.skip(f"no process can be put into a control group here: {done.stderr.strip()}")
        assert done.returncode == 0, f"{done.returncode} {done.stderr}"
        assert done.stdout.startswith("MemoryShortage ")
        assert "the memory limit of this container has" in done.stdout
        assert "raise it (--memory, MemoryMax=)" in done.stdout
    finally:
        wait_for(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


@pytest.mark.parametrize("how", ["make", "record"])
def test_more_than_the_machine_has_is_an_error_with_the_figures(tmp_path, runtime, how):
    """M3: nothing is allocated, no process is left behind."""
    words = r"needs [\d,]+\.\d MB, but .* has [\d,]+\.\d MB free .*: use fewer lines or slots, or "
    record_it = partial(record, SharedSimulatedCamera, tmp_path, **COUNTING, progress=False)
    with pytest.raises(MemoryShortage, match=words):
        (camera if how == "make" else record_it)(n_lines=10**11)


@pytest.mark.parametrize("name", ["n_lines", "n_buffers"])
@pytest.mark.parametrize("size", [0, -1, 2.0, 1e300, float("nan"), True, "8", None])
def test_a_size_that_is_none_is_refused_with_what_it_was(name, size):
    """M4: zero, negative, not whole, no number."""
    with pytest.raises((ArgumentError, MemoryShortage), match=f"{name} must be"):
        SharedDataCube(**{"n_lines": 4, "resolution": SHAPE, name: size})


@pytest.mark.parametrize("n_lines", [10**15, 2**31, 2**63, 10**30])
def test_a_size_that_no_machine_has_is_a_memory_error(n_lines):
    """M4: huge, also where 64 bits are not enough."""
    with pytest.raises(MemoryError, match="use fewer lines or slots"):
        SharedDataCube(n_lines=n_lines, resolution=(1024, 2048))


def test_a_camera_that_was_refused_leaves_room_for_one_that_fits(tmp_path):
    """M3: the next one is made as if nothing had been."""
    for _ in range(3):
        with pytest.raises(MemoryShortage):
            camera(n_lines=10**11)
    with camera() as cam:
        cam.collect()
        cam.save(tmp_path)
    assert prove(tmp_path, 8).saved == 8
