"""What a killed writer leaves behind at each stage of a save, and its recovery."""

import errno
import fcntl
import functools
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared import open_cube, recover, verify
from openhsi_shared.durable import PartFile
from openhsi_shared.errors import ChecksumError, FileError, IncompleteFileError, SaveError
from openhsi_shared.files.dumping import read_dump, write_dump
from openhsi_shared.files.recovering import leftovers
from tests.files.interrupted_saves import UUID, kill_at, save, stop_at
from tests.support.cubes import make_cube
from tests.support.helpers import child, receive, run_python

DAY = "2023_11_14"
COMPRESSIONS = (None, "deflate", "zstd")


@pytest.fixture(scope="module")
def leave(tmp_path_factory):
    """Kill a writer at a stage of its save, and give what it left; of each kind one is killed, and its file copied."""

    @functools.cache
    def left_at(point, **options):
        directory = tmp_path_factory.mktemp("left")
        with child(kill_at, directory, point, options, {"attributes": {"recovered": 0}}) as (process, _):
            process.join(60)
            assert process.exitcode == -signal.SIGKILL
        (left,) = (directory / DAY).iterdir()
        return left

    def leave(directory, point, **options) -> Path:
        (directory / DAY).mkdir(exist_ok=True)
        return Path(shutil.copy2(left_at(point, **options), directory / DAY))

    return leave


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("point", ["written", "fsynced"])
def test_a_whole_leftover_gets_its_name_its_mark_and_its_picture(leave, tmp_path, point, compression):
    left = leave(tmp_path, point, compression=compression)
    assert leftovers(tmp_path) == [left]
    found = recover(tmp_path)
    (path,) = found.published
    assert (found.ok, found.damaged, found.live, found.removed) == (True, {}, (), ())
    assert path.name.startswith("pass1_2023_11_14-")
    assert path.suffix == ".nc"
    assert sorted(file.suffix for file in (tmp_path / DAY).iterdir()) == [".nc", ".png"]
    assert verify(path).ok
    expected = make_cube(9, 30, 40)
    with open_cube(path) as cube:
        assert np.array_equal(cube.lines[:], expected.memory)
        assert cube.attributes["recovered"] == 1
        assert cube.attributes["uuid"] == UUID
    assert str(found) == "1 published"
    assert str(recover(tmp_path)) == "nothing was left behind"


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("point", ["created", "half"])
def test_a_leftover_that_is_not_whole_is_reported_and_kept(leave, tmp_path, point, compression):
    left = leave(tmp_path, point, compression=compression)
    before = left.read_bytes()
    for _ in range(2):
        found = recover(tmp_path)
        assert (found.ok, found.published) == (False, ())
        assert list(found.damaged) == [left]
        assert "was not finished when its writer died" in found.damaged[left]
    with pytest.raises(IncompleteFileError, match=r"if its writer is dead, call openhsi_shared\.recover\("):
        open_cube(left)
    assert left.read_bytes() == before


def test_a_single_turned_bit_keeps_a_leftover_from_being_published(leave, tmp_path):
    left = leave(tmp_path, "fsynced")
    data = bytearray(left.read_bytes())
    with open_cube(left) as cube:
        at = data.index(cube.lines[4].tobytes())
    data[at + 100] ^= 4
    left.write_bytes(data)
    assert "line 4 is damaged" in recover(tmp_path).damaged[left]
    left.write_bytes(data[: len(data) // 2])
    assert list(recover(tmp_path).damaged) == [left]


def test_a_cube_that_was_published_already_is_not_published_twice(leave, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    left = leave(tmp_path / "a", "fsynced")
    home = save(tmp_path / "b", None, {}, {})
    found = recover(tmp_path)
    assert (found.published, found.removed) == ((), (left,))
    assert not left.exists()
    assert verify(home).ok


def _turn_bits(path, published):
    data = bytearray(path.read_bytes())
    with open_cube(path) as cube:
        at = data.index(cube.lines[4].tobytes())
    data[at + 100] ^= 4
    path.write_bytes(data)


def _zero_the_last_line(path, published):
    data = bytearray(path.read_bytes())
    with open_cube(path) as cube:
        line = cube.lines[8].tobytes()
    at = data.index(line)
    data[at : at + len(line)] = bytes(len(line))
    path.write_bytes(data)


def _cut_off(path, published):
    path.write_bytes(path.read_bytes()[:-5000])


def _point_to_the_leftover(path, left):
    path.unlink()
    path.symlink_to(left)


@pytest.mark.parametrize("harm", [_turn_bits, _zero_the_last_line, _cut_off, _point_to_the_leftover])
def test_a_named_file_that_is_not_whole_does_not_stand_for_the_cube(leave, tmp_path, harm):
    left = leave(tmp_path, "fsynced")
    named = left.with_name(left.name[1:].rsplit(".", 2)[0])
    shutil.copy(left, named)
    harm(named, left)
    before = named.readlink() if named.is_symlink() else named.read_bytes()
    found = recover(tmp_path)
    assert ([path.name for path in found.published], found.removed) == ([named.name.replace(".nc", "-1.nc")], ())
    assert verify(found.published[0]).ok
    assert (named.readlink() if named.is_symlink() else named.read_bytes()) == before


def test_a_dump_stays_useful_while_the_named_file_is_damaged(tmp_path):
    _dump(tmp_path)
    named = save(tmp_path, None, {}, {})
    _turn_bits(named, None)
    found = recover(tmp_path)
    assert (len(found.published), found.removed) == (1, ())
    assert verify(found.published[0]).ok


def test_a_leftover_is_kept_if_the_published_file_cannot_be_synced(leave, tmp_path, monkeypatch):
    left = leave(tmp_path, "fsynced")
    (tmp_path / "b").mkdir()
    save(tmp_path / "b", None, {}, {})

    def fail(fd):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    found = recover(tmp_path)
    assert (found.removed, list(found.failed)) == ((), [left])
    assert left.exists()


def test_a_cube_that_is_published_elsewhere_is_not_published_twice(leave, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    left = leave(tmp_path / "a", "fsynced")
    save(tmp_path / "b", None, {}, {})
    assert recover(tmp_path / "a", elsewhere=[tmp_path / "b"]).removed == (left,)
    left = leave(tmp_path / "a", "fsynced")
    done = run_python("-m", "openhsi_shared", "recover", str(tmp_path / "a"), str(tmp_path / "b"))
    assert done.stdout.startswith(f"already saved  {left}")


def test_a_foreign_file_under_its_name_is_left_alone(leave, tmp_path):
    left = leave(tmp_path, "fsynced")
    name = left.name[1:].rsplit(".", 2)[0]
    (left.parent / name).write_text("mine")
    (path,) = recover(tmp_path).published
    assert path.name == name.replace(".nc", "-1.nc")
    assert (left.parent / name).read_text() == "mine"


@pytest.mark.parametrize("point", ["created", "fsynced"])
def test_what_a_living_writer_is_at_work_on_is_never_touched(tmp_path, point):
    with child(stop_at, tmp_path, point, {}, {}) as (process, connection):
        assert receive(connection) == point
        (left,) = (tmp_path / DAY).iterdir()
        found = recover(tmp_path)
        assert (found.live, found.published, found.damaged) == ((left,), (), {})
        connection.close()
        process.join(60)
        assert process.exitcode == 0
    (path,) = (tmp_path / DAY).iterdir()
    assert path.suffix == ".nc"
    assert verify(path).ok


def test_a_process_id_that_came_round_does_not_count(leave, tmp_path):
    """By its name it belongs to a live process, this one; by its lock it is not being written."""
    left = leave(tmp_path, "fsynced")
    part = left.with_name(left.name.rsplit(".", 2)[0] + f".{os.getpid()}.part")
    left.rename(part)
    assert len(recover(tmp_path).published) == 1


def test_what_its_writer_finished_since_we_looked_is_no_leftover(leave, tmp_path, monkeypatch):
    left = leave(tmp_path, "fsynced")
    name = left.with_name(left.name[1:].rsplit(".", 2)[0])
    (tmp_path / "dumps").mkdir()
    dump = _dump(tmp_path / "dumps")
    adopt = PartFile.adopt

    def finish_first(path):
        if path == left:
            left.rename(name)
        else:
            for part_of_dump in (dump, dump.with_suffix("")):
                part_of_dump.unlink()
        return adopt(path)

    monkeypatch.setattr(PartFile, "adopt", finish_first)
    found = recover(tmp_path)
    assert (str(found), found.damaged) == ("nothing was left behind", {})
    assert verify(name).ok


def test_a_name_that_is_of_another_file_since_we_looked_is_left_alone(leave, tmp_path, monkeypatch):
    left = leave(tmp_path, "half")
    adopt = PartFile.adopt

    def begin_again(path):
        part = adopt(path)
        left.unlink()
        left.write_bytes(b"of a writer that lives")
        return part

    monkeypatch.setattr(PartFile, "adopt", begin_again)
    assert str(recover(tmp_path)) == "nothing was left behind"
    assert left.read_bytes() == b"of a writer that lives"


def test_bytes_whose_sidecar_comes_after_we_looked_are_no_leftover(tmp_path):
    dump = _dump(tmp_path)
    text = dump.read_bytes()
    dump.unlink()

    def finish_first(found):
        assert found == [dump.with_suffix("")]
        dump.write_bytes(text)
        return iter(found)

    assert str(recover(tmp_path, each=finish_first)) == "nothing was left behind"
    assert len(recover(tmp_path).published) == 1


def test_two_at_once_publish_it_once(leave, tmp_path):
    left = leave(tmp_path, "fsynced")
    with left.open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # what the other one holds while it checks
        assert recover(tmp_path).live == (left,)
    assert len(recover(tmp_path).published) == 1


def test_a_leftover_of_something_else_is_reported(tmp_path):
    part = tmp_path / ".cube.raw.17.part"
    part.write_bytes(b"half of it")
    (tmp_path / "cube.raw").write_bytes(b"lines")
    found = recover(tmp_path)
    assert found.damaged[part] == "unfinished file, to be named cube.raw"
    assert "has no sidecar cube.raw.json" in found.damaged[tmp_path / "cube.raw"]
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_no_directory_is_refused(tmp_path):
    for path in (tmp_path / "missing", __file__):
        with pytest.raises(FileError, match="is not a directory: give the one that cubes were saved in"):
            recover(path)


# ---- dumps ----


def _dump(directory, **options) -> Path:
    cube = make_cube(9, 30, 40, n_stored=12, first=7, uuid=UUID, attributes={"run_id": "r", "recovered": 0}, **options)
    return write_dump(cube, [directory], prefix="pass1_", suffix="_x", old_style=False)


def test_a_dump_holds_everything_and_becomes_a_file(tmp_path):
    sidecar = _dump(tmp_path, wavelengths_nm=np.linspace(400, 800, 40), metadata={"pilot": "Ada"}, level=2)
    dump = read_dump(sidecar)
    expected = make_cube(9, 30, 40)
    assert np.array_equal(dump.cube.memory, expected.memory)
    assert (dump.prefix, dump.suffix, dump.old_style, dump.cube.level) == ("pass1_", "_x", False, 2)
    found = recover(tmp_path)
    (path,) = found.published
    assert sorted(file.name for file in (tmp_path / DAY).iterdir()) == [path.name, path.with_suffix(".png").name]
    assert verify(path).ok
    with open_cube(path) as cube:
        assert np.array_equal(cube.lines[:], expected.memory)
        assert cube.dims == ("wavelength", "x", "y")
        assert cube.frame_ids.tolist() == expected.columns["frame_id"].tolist()
        assert cube.times_ns.tolist() == expected.columns["time_ns"].tolist()
        assert np.array_equal(cube.temperatures, expected.columns["temperature"], equal_nan=True)
        assert (cube.attributes["recovered"], cube.attributes["uuid"]) == (1, UUID)
        assert (cube.attributes["pilot"], cube.attributes["run_id"]) == ("Ada", "r")
        assert cube.wavelengths_nm[-1] == 800


def test_a_dump_of_a_cube_that_was_saved_after_all_is_removed(tmp_path):
    sidecar = _dump(tmp_path)
    save(tmp_path, None, {}, {})
    found = recover(tmp_path)
    assert (found.published, found.removed) == ((), (sidecar,))
    assert [file.suffix for file in (tmp_path / DAY).iterdir()] == [".nc"]


def test_a_dump_that_was_moved_becomes_a_file_where_it_is(tmp_path, monkeypatch):
    sidecar = _dump(tmp_path)
    (tmp_path / "usb").mkdir()
    for path in (sidecar, sidecar.with_suffix("")):
        shutil.move(path, tmp_path / "usb" / path.name)
    monkeypatch.chdir(tmp_path / "usb")
    (path,) = recover(".").published
    assert path.resolve().parent == tmp_path / "usb" / DAY


def test_a_damaged_dump_is_reported_and_kept(tmp_path):
    sidecar = _dump(tmp_path)
    raw, text = sidecar.with_suffix(""), sidecar.read_bytes()
    data = bytearray(raw.read_bytes())
    data[5 * 2400 + 3] ^= 1
    raw.write_bytes(data)
    with pytest.raises(ChecksumError, match="line 5 is damaged"):
        read_dump(sidecar)
    raw.write_bytes(data[:-1])
    with pytest.raises(FileError, match="has 21599 bytes, expected 21600"):
        read_dump(sidecar)
    sidecar.write_bytes(text.replace(b"pass1_", b"pass2_"))
    with pytest.raises(ChecksumError, match="is damaged: its checksum is"):
        read_dump(sidecar)
    found = recover(tmp_path)
    assert list(found.damaged) == [sidecar]
    assert raw.exists()
    assert sidecar.exists()


@pytest.mark.parametrize("text", [b"", b"{}", b"[]\n", b"\xff\xfe", json.dumps({"format": "other"}).encode()])
def test_what_is_no_sidecar_is_one_clear_error(tmp_path, text):
    path = tmp_path / "a.raw.json"
    path.write_bytes(text)
    with pytest.raises(FileError, match=r"a\.raw\.json"):
        read_dump(path)


def test_a_dump_tries_one_directory_after_the_other_and_leaves_nothing_behind(tmp_path):
    cube = make_cube(3)
    (tmp_path / "file").touch()
    sidecar = write_dump(cube, [tmp_path / "missing", tmp_path])
    assert sidecar.is_relative_to(tmp_path)
    with pytest.raises(SaveError) as caught:
        write_dump(cube, [tmp_path / "missing", tmp_path / "file"])
    assert caught.value.errno == errno.ENOENT

    def fail(_):
        raise OSError(errno.EIO, "the disk is gone")

    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SaveError, match="the disk is gone"):
        write_dump(cube, [tmp_path], passed=fail)
    assert sorted(tmp_path.rglob("*")) == before


# ---- the command ----


def test_the_command_tells_each_leftover_and_fails_for_damaged_ones(leave, tmp_path):
    left = leave(tmp_path, "fsynced")
    shutil.copy(left, tmp_path / ".other.nc.1.part")
    done = run_python("-m", "openhsi_shared", "recover", str(tmp_path))
    assert done.returncode == 0, done.stderr
    words = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert words == ["published", "already saved", f"{tmp_path}: 1 published, 1 already saved"]
    (tmp_path / ".bad.nc.1.part").write_bytes(b"nothing")
    done = run_python("-m", "openhsi_shared", "recover", str(tmp_path))
    assert done.returncode == 1
    assert done.stdout.startswith(f"damaged        {tmp_path}/.bad.nc.1.part: ")
    assert run_python("-m", "openhsi_shared", "recover", str(tmp_path / "missing")).returncode == 2
