"""A save that fails reports why, leaves nothing behind, and tries the next directory."""

import errno
import os
import resource
import subprocess
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError, SaveError
from openhsi_shared.files import CubeWriter, pieces, verify
from openhsi_shared.save_options import SaveOptions

COMPRESSIONS = [None, "deflate", "zstd"]


def save(cube, directory, old_style=True, writer=None, passed=None, directories=None, **options):
    names = {name: options.pop(name) for name in ("prefix", "suffix", "picture") if name in options}
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype, SaveOptions(**options)) as writer:
        return writer.write(cube, directories or [directory], old_style=old_style, passed=passed, **names)


def n_open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_first_directory_that_works_is_taken_and_the_others_are_told(cube_of, tmp_path, caplog):
    missing = tmp_path / "gone"
    written = save(cube_of(), None, directories=[missing, tmp_path])
    assert written.path.parent.parent == tmp_path
    assert str(missing) in caplog.text
    assert not missing.exists()


def test_all_directories_failing_is_the_error_of_the_first(cube_of, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="gone") as caught:
        save(cube_of(), None, directories=[tmp_path / "gone", tmp_path / "file"])
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("point", ["created", "half", "written", "fsynced"])
def test_a_failure_at_any_point_leaves_nothing_behind(cube_of, tmp_path, point, compression):
    def fault(passed):
        if passed == point:
            raise OSError(errno.EIO, "the disk is gone")

    before = n_open_files()
    with pytest.raises(SaveError, match="the disk is gone"):
        save(cube_of(9, 300, 400), tmp_path, passed=fault, compression=compression)
    assert list((tmp_path / "2023_11_14").iterdir()) == []
    assert n_open_files() <= before


def test_all_points_are_passed_once_and_in_order(cube_of, tmp_path):
    for compression in COMPRESSIONS:
        for n_lines in (1, 2, 9):
            passed: list[str] = []
            save(cube_of(n_lines), tmp_path, passed=passed.append, compression=compression)
            assert "piece" in passed
            named = [point for point in passed if point != "piece"]
            assert named == ["created", "half", "written", "fsynced", "published"]


def test_a_name_that_is_too_long_is_the_systems_own_error(cube_of, tmp_path):
    with pytest.raises(SaveError) as caught:
        save(cube_of(), tmp_path / ("x" * 256))
    assert caught.value.errno == errno.ENAMETOOLONG


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_permission_is_eacces(cube_of, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(SaveError) as caught:
        save(cube_of(), tmp_path)
    assert caught.value.errno == errno.EACCES


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_limit_of_the_files_size_is_efbig(cube_of, tmp_path, compression):
    cube = cube_of(30, 300, 400)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(SaveError) as caught:
            save(cube, tmp_path, compression=compression)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert list((tmp_path / "2023_11_14").iterdir()) == []
    assert verify(save(cube, tmp_path, compression=compression).path).ok


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_full_disk_is_enospc_and_gives_its_space_back(cube_of, tmp_path, compression, monkeypatch):
    monkeypatch.setattr(pieces, "WRITE_BYTES", 1 << 20)  # so that half of it would fit
    mounting = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(tmp_path)]
    if subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        passed: list[str] = []
        with pytest.raises(SaveError) as caught:
            save(cube_of(30, 300, 400), tmp_path, compression=compression, passed=passed.append)
        assert caught.value.errno == errno.ENOSPC
        if compression is None:
            assert passed == ["created"]  # it shows before anything is written
        assert caught.value.filename.startswith(str(tmp_path))
        assert os.statvfs(tmp_path).f_bfree * os.statvfs(tmp_path).f_bsize > 4_900_000
        assert verify(save(cube_of(3), tmp_path).path).ok
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_lines_of_another_kind_and_no_directory_are_refused(cube_of, tmp_path):
    with CubeWriter(4, (5, 7), np.uint8) as writer:
        with pytest.raises(ArgumentError, match="made for"):
            writer.write(cube_of(), [tmp_path])
        with pytest.raises(ArgumentError, match="at least one"):
            writer.write(cube_of(dtype="u1"), [])
    with pytest.raises(ArgumentError, match="at least 1"):
        CubeWriter(4, (5, 7), np.uint16, threads=0)
    with pytest.raises(ArgumentError, match="complex"):
        CubeWriter(4, (5, 7), np.complex64)
