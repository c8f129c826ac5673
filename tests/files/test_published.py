"""What is on the disk of a cube already: its file, its dump, what dead writers left of it."""

import errno
import fcntl
import os
import shutil

import numpy as np
import pytest

from openhsi_shared import open_cube, recover, verify
from openhsi_shared.files.dumping import write_dump
from openhsi_shared.files.published import CubeOnDisk, is_whole
from openhsi_shared.files.writing import CubeWriter
from tests.support.cubes import TIME_NS, make_cube

DAY = "2023_11_14"
STEM = "pass_2023_11_14-22_13_20_123456"
UUID = "00000000-0000-5000-8000-000000000001"


@pytest.fixture
def places(tmp_path):
    """Directories that the cube may have gone to; the second one is missing."""
    (tmp_path / "a" / DAY).mkdir(parents=True)
    (tmp_path / "b").mkdir()
    return [tmp_path / "a", tmp_path / "missing", tmp_path / "b"]


@pytest.fixture
def cube(places):
    return CubeOnDisk(uuid=UUID, time_ns=TIME_NS, prefix="pass_", suffix="", directories=places, durability="fsync")


def _save(directory, uuid=UUID):
    made = make_cube(9, 30, 40, uuid=uuid, attributes={"recovered": 0})
    with CubeWriter(9, (30, 40), np.uint16) as writer:
        return writer.write(made, [directory], prefix="pass_", picture=False).path


def _damage(path):
    data = bytearray(path.read_bytes())
    with open_cube(path) as opened:
        at = data.index(opened.lines[4].tobytes())
    data[at + 100] ^= 4
    path.write_bytes(data)


def _names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_whole_file_is_found_in_any_directory_and_under_any_number(cube, places):
    assert cube.find() is None
    foreign = _save(places[2], uuid="00000000-0000-5000-8000-000000000002")
    path = _save(places[2])
    assert (foreign.name, path.name) == (f"{STEM}.nc", f"{STEM}-1.nc")
    assert cube.find() == cube.published() == path


@pytest.mark.parametrize("how", ["damaged", "cut off", "empty", "a link to nothing"])
def test_a_name_alone_is_not_believed(cube, places, how):
    path = _save(places[0])
    if how == "damaged":
        _damage(path)
    else:
        path.write_bytes(path.read_bytes()[:-5000] if how == "cut off" else b"")
    if how == "a link to nothing":
        path.unlink()
        path.symlink_to("nothing")
    assert cube.published() is None
    again = _save(places[0])
    assert again.name == f"{STEM}-1.nc", "saved beside it"
    assert verify(again).ok
    assert cube.published() == again


@pytest.mark.parametrize("recovered", [False, True])
def test_a_whole_leftover_is_published_where_it_is(cube, places, recovered):
    path = _save(places[2])
    path.rename(path.with_name(f".{path.name}.17.part"))
    assert cube.find(recovered=recovered) == path
    assert is_whole(path, UUID)
    with open_cube(path) as opened:
        assert opened.attributes["recovered"] == int(recovered)
    assert _names(places[2]) == [path.name]


def test_what_is_of_no_use_is_removed_and_its_space_released(cube, places):
    folder = places[0] / DAY
    for name in (f".{STEM}.nc.17.part", f".{STEM}-1.nc.18-2.part", f".{STEM}.raw.17.part", f".{STEM}.raw.json.17.part"):
        (folder / name).write_bytes(b"half of it")
    with (folder / f".{STEM}.nc.17.part").open("rb") as of_a_hung_writer:
        assert cube.find() is None
        assert os.fstat(of_a_hung_writer.fileno()).st_size == 0
    assert _names(places[0]) == []


def test_what_is_of_others_stays(cube, places):
    folder = places[0] / DAY
    other = _save(places[0], uuid="00000000-0000-5000-8000-000000000002")
    other.rename(folder / f".{STEM}.nc.17.part")
    names = [f".{STEM}_x.nc.17.part", f".x{STEM}.nc.17.part", f".{STEM}.nc.0.part", f".{STEM}.png.17.part"]
    for name in names:
        (folder / name).write_bytes(b"theirs")
    with (folder / f".{STEM}.nc.18.part").open("wb") as of_a_writer_that_lives:
        of_a_writer_that_lives.write(b"half of it")
        of_a_writer_that_lives.flush()
        fcntl.flock(of_a_writer_that_lives, fcntl.LOCK_EX)
        before = _names(places[0])
        assert cube.find() is None
        assert _names(places[0]) == before


def test_a_leftover_beside_the_published_file_is_removed_also_if_it_is_a_link_to_it(cube, places):
    path = _save(places[0])
    shutil.copy(path, path.with_name(f".{path.name}.17.part"))
    path.with_name(f".{path.name}.18.part").hardlink_to(path)
    assert cube.find() == path
    assert verify(path).ok
    assert _names(places[0]) == [path.name]


def test_a_dump_is_found_and_goes_when_the_cube_is_published(cube, places):
    made = make_cube(9, 30, 40, uuid=UUID)
    sidecar = write_dump(made, [places[0]], prefix="pass_")
    other = write_dump(make_cube(9, 30, 40), [places[2]], prefix="pass_")
    (places[2] / DAY / f"{STEM}-1.raw").write_bytes(b"its writer died before it wrote the sidecar")
    assert (cube.find(), cube.dumped()) == (None, sidecar)
    path = _save(places[2])
    assert cube.find() == path
    assert cube.dumped() is None
    assert _names(places[0]) == []
    assert _names(places[2]) == sorted([path.name, other.name, other.with_suffix("").name])
    assert recover(places[0]).published == ()


def test_a_file_whose_folder_cannot_be_synced_is_saved_and_that_is_told(cube, places, monkeypatch, caplog):
    path = _save(places[0])

    def fail(fd):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    assert cube.find() == path
    assert f"{path} is saved, but not synced" in caplog.text


@pytest.mark.parametrize("n_failures", [1, 3])
def test_a_folder_that_cannot_be_synced_makes_no_second_file(places, monkeypatch, n_failures, caplog):
    (places[0] / DAY / "other").touch()
    real, calls = os.fsync, []

    def sync(fd):
        calls.append(fd)
        if 1 < len(calls) <= 1 + n_failures:  # the first one is that of the file
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", sync)
    with CubeWriter(9, (30, 40), np.uint16) as writer:
        written = writer.write(make_cube(9, 30, 40, uuid=UUID), [places[0], places[2]])
    assert written.path.is_relative_to(places[0])
    assert written.means is not None
    assert ("is saved, but not synced" in caplog.text) is (n_failures == 3)
    assert _names(places[2]) == []


def test_a_folder_that_cannot_be_synced_makes_no_second_dump(places, monkeypatch):
    (places[0] / DAY / "other").touch()
    real, calls = os.fsync, []

    def sync(fd):
        calls.append(fd)
        if len(calls) > 3:  # those of the lines and of the sidecar succeed
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", sync)
    sidecar = write_dump(make_cube(9, 30, 40, uuid=UUID), [places[0], places[2]])
    assert sidecar.is_relative_to(places[0])
    assert _names(places[2]) == []
