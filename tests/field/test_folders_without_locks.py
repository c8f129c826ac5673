"""Folders that cannot lock files: NFS without its lock service (ENOLCK, ENOTSUPP), some FUSE (ENOSYS, EOPNOTSUPP).

Reports: "unable to lock file, errno = 37" of HDF5 on cluster file systems, errno 524 in containers on NFS, errno 95 on
mounted network shares; a damaged file and a file that cannot be locked have had one message.
"""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import openhsi_shared
from openhsi_shared.errors import FileError
from openhsi_shared.files import CubeWriter, open_cube, verify
from openhsi_shared.files.recovering import recover
from tests.support.cubes import make_cube
from tests.support.faulty_calls import FaultyCalls

NO_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, 524]
PYTHONPATH = str(Path(openhsi_shared.__file__).parent.parent)
SMALL = ["--option", "resolution=[16,48]", "--option", "row_slice=[2,14]", "--lines", "8"]
READ = """
import sys
from openhsi_shared import open_cube, ProcessRawDatacube
for path in sys.argv[1:]:
    for check in (True, False):
        with open_cube(path, check=check) as cube:
            print(int(cube.dataset.datacube.sum()), int(cube.lines[0].sum()))
    with open_cube(path) as first, open_cube(path) as second:  # HDF5 refuses two ways of locking
        print(len(first.lines) + len(second.lines))
"""
READ_WITHOUT_LOCKS = f"""
import os, sys
from pathlib import Path
from tests.support.faulty_calls import Control
control, (program, *words) = Control(Path(os.environ["IOFAULT_CONTROL"])), sys.argv
for sys.argv in zip(words[::2], words[1::2]):
    control.inject(int(sys.argv[0]), "lock")
    exec({READ!r})
"""


@pytest.fixture
def calls(tmp_path: Path) -> FaultyCalls:
    return FaultyCalls(tmp_path, mark="flight")


def _run(calls: FaultyCalls, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": PYTHONPATH} | calls.environment
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.parametrize("recorded_with", [NO_LOCKS[:1], pytest.param(NO_LOCKS[1:], marks=pytest.mark.campaign)])
def test_cubes_are_recorded_verified_and_read_where_there_are_no_locks(calls, tmp_path, recorded_with):
    arguments, expected = [], []
    for number in recorded_with:
        calls.inject(number, "lock")
        out = f"flight{number}"
        done = _run(calls, tmp_path, "-m", "openhsi_shared", "record", "--cubes", "5", "--out", out, *SMALL)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("does not support locks") == 1, "once a folder"
        done = _run(calls, tmp_path, "-m", "openhsi_shared", "verify", out)
        assert "5 of 5 cubes are intact" in done.stdout, done.stdout
        path = next((tmp_path / out).rglob("*.nc"))
        with h5py.File(path) as file:
            lines = np.asarray(file["datacube"])
        for other in NO_LOCKS:
            arguments += [str(other), str(path)]
            expected += [f"{lines.sum()} {lines[:, 0].sum()}"] * 2 + ["16"]
    done = _run(calls, tmp_path, "-c", READ_WITHOUT_LOCKS, *arguments)
    assert done.stdout.splitlines() == expected, done.stderr


def test_a_cube_without_checksums_is_read_by_xarray_where_there_are_no_locks(calls, tmp_path):
    (tmp_path / "flight").mkdir()
    with CubeWriter(6, (5, 7), np.uint16) as writer:
        path = writer.write(make_cube(), [tmp_path / "flight"]).path
    with h5py.File(path, "r+") as file:
        del file["line_crc32"]
        file.attrs["_NCProperties"] = "version=2,netcdf=4.9.2"
    calls.inject(errno.ENOLCK, "lock")
    done = _run(calls, tmp_path, "-c", READ, str(path))
    assert done.returncode == 0, done.stderr


def test_a_file_that_is_being_written_and_a_damaged_one_have_two_messages(tmp_path):
    with CubeWriter(6, (5, 7), np.uint16) as writer:
        path = writer.write(make_cube(), [tmp_path]).path
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(FileError, match="locked by a program that writes into it: it is not damaged"):
            open_cube(path)
        assert "not damaged" in verify(path).problems[0]
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(FileError, match="not a NetCDF-4 file, or a damaged one"):
        open_cube(path)


WRITER = """
import sys, time
from pathlib import Path
from openhsi_shared.durable import PartFile
part = PartFile(Path(sys.argv[1]), "cube.nc")
part.write_at(0, memoryview(bytearray(100)))
print(part.path, flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("is_alive", [True, False])
def test_recover_knows_a_live_writer_by_the_name_where_there_are_no_locks(calls, tmp_path, is_alive):
    (tmp_path / "flight").mkdir()
    calls.inject(errno.ENOLCK, "lock")
    environment = os.environ | {"PYTHONPATH": PYTHONPATH} | calls.environment
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, "flight"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline()
            if not is_alive:
                writer.send_signal(signal.SIGKILL)
                writer.wait(60)
            done = _run(calls, tmp_path, "-m", "openhsi_shared", "recover", "flight")
        finally:
            writer.kill()
    assert ("being written" in done.stdout) == is_alive
    assert ("damaged" in done.stdout) == (not is_alive)


def test_what_the_system_does_not_allow_is_failed_and_not_damaged(tmp_path):
    (tmp_path / "flight").mkdir()
    with CubeWriter(6, (5, 7), np.uint16) as writer:
        path = writer.write(make_cube(), [tmp_path / "flight"]).path
    left = path.rename(path.with_name(f".{path.name}.{2**22 + 1}.part"))
    calls = FaultyCalls(tmp_path, mark=".part")
    calls.inject(errno.EACCES, "open")
    done = _run(calls, tmp_path, "-m", "openhsi_shared", "recover", "flight")
    assert done.returncode == 1
    assert f"failed         {left.relative_to(tmp_path)}: [Errno 13] Permission denied" in done.stdout
    assert "damaged" not in done.stdout
    calls.stop()
    assert recover(tmp_path / "flight").published == (path,)
