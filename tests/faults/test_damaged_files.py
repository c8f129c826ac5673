"""Files that are damaged, incomplete or foreign: one clear error, never wrong data, never the end of a program."""

import errno
import json
import os
import pickle
import shutil

import h5py
import numpy as np
import pytest

from openhsi_shared import open_cube, verify
from openhsi_shared.calibration import read_calibration, write_calibration
from openhsi_shared.errors import CalibrationError, ChecksumError, FileError, IncompleteFileError
from openhsi_shared.files import CubeWriter
from openhsi_shared.groups import Group, Variable
from openhsi_shared.save_options import SaveOptions
from tests.support import file_corruption
from tests.support.channels import parts_of_a_cube
from tests.support.cubes import TIME_NS, make_cube, make_groups
from tests.support.file_corruption import (
    Original,
    check_all,
    check_calibration,
    check_cube,
    everything_in,
    look_into,
    mutant,
    read_all,
)
from tests.support.helpers import in_child
from tests.support.level_oracle import CALIBRATION

LONG_STORY = "".join(f"{number}-{number + 3} " for number in range(0, 6000, 7))
"""Like the list of very many gaps: more than HDF5 keeps where it has checksums."""

# ---- I3: cubes that are damaged or foreign ----


def save(directory, name, shape=(5, 30, 40), dtype="u2", old_style=True, metadata=None, parts=None, groups=None, **how):
    """A cube of (lines, cross-track, bands), with everything that a file can hold, saved under this name."""
    n_lines, x, bands = shape
    about = {"wavelengths_nm": np.linspace(400, 700, bands), "level": 4, "attributes": {"lost_frame_ids": LONG_STORY}}
    about["metadata"] = {"owner": "me"} if metadata is None else metadata
    cube = make_cube(n_lines, x, bands, dtype, **(parts or {"groups": groups or {}}), **about)
    with CubeWriter(n_lines, (x, bands), dtype, SaveOptions(**how), threads=1) as writer:
        written = writer.write(cube, [directory], old_style=old_style, picture=False)
    return written.path.rename(directory / f"{name}.nc")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Good files of each kind."""
    directory = tmp_path_factory.mktemp("originals")
    paths = [
        save(directory, "small lines", (12, 9, 7)),
        save(directory, "whole pages", (3, 200, 170)),
        save(directory, "deflate", compression="deflate"),
        save(directory, "zstd", dtype="f4", compression="zstd"),
        save(directory, "bands first", old_style=False),
    ]
    return [Original.of_cube(path) for path in paths]


@pytest.fixture(scope="module")
def with_groups(tmp_path_factory):
    """Good files with groups: nested, with texts; with so many that HDF5 stores them in another way; large ones."""
    directory = tmp_path_factory.mktemp("with_groups")
    many = {}
    for number in range(20):
        values, ids = Variable(("y",), np.arange(6) * number), Variable(("n",), np.array([1, number]))
        many[f"channel {number}"] = Group({"values": values, "id": ids})
    many["attributes"] = Group(attributes={f"number {number}": number for number in range(50)} | {"long": LONG_STORY})
    paths = [
        save(directory, "groups", (6, 5, 7), groups=make_groups()),
        save(directory, "groups, bands first", (6, 5, 7), old_style=False, compression="deflate", groups=make_groups()),
        save(directory, "many groups", (6, 5, 7), groups=many),
        save(directory, "large groups", (6, 20, 30), groups=make_groups(6, 20, 30, n_samples=9000)),
        save(directory, "channels", (6, 5, 7), parts=parts_of_a_cube(TIME_NS + np.arange(6) * 50_000_000)),
    ]
    return [Original.of_cube(path) for path in paths]


def test_sixty_damaged_cubes_are_never_read_as_good(originals):
    """I3: bits, blocks, ends; each way of reading gives what was written or an error, and `verify` finds each."""
    verdicts = read_all(originals, range(60), check_cube)
    assert not verdicts.faults, str(verdicts)
    assert verdicts.counts.total() == 60
    assert verdicts.counts["found"] > 42


def test_thirty_damaged_cubes_with_groups_are_never_read_as_good(with_groups):
    """I3: the same with groups."""
    verdicts = read_all(with_groups, range(30), check_cube)
    assert not verdicts.faults, str(verdicts)
    assert verdicts.counts["found"] > 16


def test_the_check_of_damaged_files_detects_wrong_groups(with_groups, tmp_path):
    """I3: another value, another attribute, another group."""
    good = everything_in(with_groups[0].path)
    assert check_cube(with_groups[0].path, good) == "harmless"
    for name, change in {
        "value": {"imu": Group({"id": Variable(("n",), [1])})},
        "attribute": {"imu": Group(attributes={"a": 1})},
        "name": {"gps": Group()},
    }.items():
        other = save(tmp_path, name, (6, 5, 7), groups=make_groups() | change)
        assert check_cube(other, good).startswith("wrong data: ['"), name


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_five_thousand_damaged_cubes_with_groups_are_never_read_as_good(with_groups, record_property):
    """I3: the same with groups, with other damages."""
    verdicts = read_all(with_groups, range(30, 5030), check_cube)
    record_property("verdicts", str(verdicts))
    print(verdicts)  # noqa: T201 - the figures of a campaign, with -s
    assert not verdicts.faults, str(verdicts)
    assert verdicts.counts.total() == 5000


@pytest.mark.campaign
@pytest.mark.timeout(1200)
def test_five_thousand_damaged_cubes_are_never_read_as_good(originals, record_property):
    """I3: the same, with other damages."""
    verdicts = read_all(originals, range(60, 5060), check_cube)
    record_property("verdicts", str(verdicts))
    print(verdicts)  # noqa: T201 - the figures of a campaign, with -s
    assert not verdicts.faults, str(verdicts)
    assert verdicts.counts.total() == 5000


def test_the_check_of_damaged_files_detects_wrong_data(originals, tmp_path):
    """I3: a file that is whole, and another one, is no harmless damage."""
    good = everything_in(originals[0].path)
    assert check_cube(originals[0].path, good) == "harmless"
    other = save(tmp_path, "other", (12, 9, 7), dtype="i2")
    assert check_cube(other, good).startswith("wrong data: ['lines', 'a line', 'axes'")
    assert check_cube(originals[2].path, good).startswith("wrong data: ['lines'")


def test_a_mutant_is_what_its_number_says(originals):
    """I3: so that each can be reproduced."""
    for number in range(len(file_corruption.MUTATIONS) * 2):
        original = originals[number % len(originals)]
        description, content = mutant(original, number)
        assert content != original.content
        assert (description, content) == mutant(original, number)


def heap_in(content):
    """Offset of the first object in the first of HDF5's global heaps."""
    return content.index(b"GCOL") + 16


def test_a_damaged_heap_of_hdf5_is_no_search_for_ever(originals, tmp_path):
    """I3: it stores a variable's references to its axes, without a checksum; HDF5 would loop in it endlessly."""
    paths = []
    for number, original in enumerate(originals):
        content = bytearray(original.content)
        place = heap_in(content)
        content[place : place + 64] = bytes(64)
        paths.append(tmp_path / f"endless {number}.nc")
        paths[-1].write_bytes(content)
    verdicts = in_child(check_all, paths, [everything_in(original.path) for original in originals])
    assert set(verdicts) <= {"found", "harmless"}


def look_at_column(path, name):
    with open_cube(path) as cube:
        cube.column(name)


def test_a_damaged_length_of_a_column_does_not_end_the_reader(originals, tmp_path):
    """I3: HDF5 would take the checksum off the end of what is shorter than that."""
    original, paths = originals[0], []
    for name in ("line_crc32", "frame_id"):
        with h5py.File(original.path) as file:
            chunk = file[name].id.get_chunk_info(0)
        entry = chunk.size.to_bytes(4, "little") + bytes(20) + chunk.byte_offset.to_bytes(8, "little")
        assert original.content.count(entry) == 1
        for n_bytes in (0, 3, 51, (1 << 32) - 1):
            content = original.content.replace(entry, n_bytes.to_bytes(4, "little") + entry[4:])
            paths.append(tmp_path / f"{name} {n_bytes}.nc")
            paths[-1].write_bytes(content)
            with pytest.raises(ChecksumError, match=rf"{name} {n_bytes}\.nc: the variable {name} is damaged"):
                look_at_column(paths[-1], name)
    assert in_child(check_all, paths, [everything_in(original.path)] * len(paths)) == ["found"] * len(paths)


@pytest.mark.parametrize("place", [1 << 40, (1 << 63) - 1, (1 << 64) - (1 << 20)])
def test_a_column_that_should_lie_behind_the_end_is_damaged(originals, tmp_path, place):
    """I3: for any wrong offset."""
    original = originals[0]
    with h5py.File(original.path) as file:
        found = file["frame_id"].id.get_chunk_info(0).byte_offset.to_bytes(8, "little")
    assert original.content.count(found) == 1
    (tmp_path / "place.nc").write_bytes(original.content.replace(found, place.to_bytes(8, "little")))
    with open_cube(tmp_path / "place.nc") as cube:
        with pytest.raises(ChecksumError, match=r"place\.nc: the variable frame_id is damaged: .*behind the end"):
            _ = cube.frame_ids
        assert cube.lines[:].shape == (12, 9, 7)
    assert "frame_id is damaged" in verify(tmp_path / "place.nc").problems[0]


@pytest.mark.parametrize("n_gaps", [1, 6000])
def test_a_damaged_list_of_gaps_is_found(tmp_path, n_gaps):
    """I3: HDF5 has a checksum for a short attribute, and none for a long one."""
    path = save(tmp_path, "gaps", metadata={"told": " ".join(map(str, range(n_gaps))) + " the end"})
    content = path.read_bytes()
    assert content.count(b" the end") == 1
    path.write_bytes(content.replace(b" the end", b" tha end"))
    assert not verify(path)
    with open_cube(path) as cube:
        assert cube.lines[:].shape == (5, 30, 40)
        with pytest.raises(FileError, match=r"gaps\.nc.* damaged"):
            _ = cube.attributes
    if n_gaps > 1:
        assert "the attribute told is damaged" in verify(path).problems[0]
        with open_cube(path, check=False) as cube:
            assert cube.attributes["told"].endswith(" tha end")
            assert cube.attributes["lost_frame_ids"] == LONG_STORY


def test_the_checksums_of_attributes_are_not_shown_and_not_taken_from_a_user(tmp_path):
    """I3: they are internal to the file."""
    path = save(tmp_path, "own", metadata={"attributes_crc32": '{"uuid": 1}', "row": list(range(1000))})
    assert verify(path)
    with open_cube(path) as cube:
        assert cube.attributes["metadata_attributes_crc32"] == '{"uuid": 1}'
        assert "attributes_crc32" not in cube.attributes
    with h5py.File(path) as file:
        assert set(json.loads(file.attrs["attributes_crc32"])) == {"lost_frame_ids", "row"}


# ---- I3: foreign files ----


def on_axes(file, shape, dtype="u2", **how):
    """A datacube that looks like one."""
    variable = file.create_dataset("datacube", shape, dtype, **how)
    for axis, name in enumerate(("x", "y", "wavelength")[: len(shape)]):
        file[name] = np.arange(max(shape[axis], 1))
        file[name].make_scale(name)
        variable.dims[axis].attach_scale(file[name])


def pretending(file):
    """A file with the attributes of this library, and with wrong checksums."""
    on_axes(file, (3, 4, 5), chunks=(3, 1, 5))
    file.attrs["complete"] = 1
    file["line_crc32"] = np.zeros(4, np.uint32)


FOREIGN = {
    "group": (lambda file: file.create_group("datacube"), "expected a variable datacube"),
    "type": (lambda file: file.__setitem__("datacube", np.dtype("u2")), "expected a variable datacube"),
    "texts": (lambda file: on_axes(file, (3, 4, 5), h5py.string_dtype()), "is not a cube: datacube object"),
    "records": (lambda file: on_axes(file, (3, 4, 5), [("a", "u2")]), "is not a cube"),
    "complex": (lambda file: on_axes(file, (3, 4, 5), "c8"), "is not a cube: datacube complex64"),
    "flat": (lambda file: on_axes(file, (3, 4)), "is not a cube: .* has axes"),
    "axes": (lambda file: file.create_dataset("datacube", (3, 4, 5), "u2"), "is not a cube: .* has axes"),
    "nothing": (lambda file: file.create_dataset("datacube", data=h5py.Empty("f4")), "is not a cube: .* has axes"),
    "elsewhere": (lambda file: file.__setitem__("datacube", h5py.ExternalLink("no.h5", "datacube")), "is damaged"),
    "circle": (lambda file: file.__setitem__("datacube", h5py.SoftLink("/datacube")), "is damaged"),
    "pretending": (pretending, "line_crc32 is damaged"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_hdf5_that_is_no_cube_is_named_and_told(tmp_path, name):
    """I3: for any object with the name of a cube."""
    make, message = FOREIGN[name]
    with h5py.File(tmp_path / "odd.nc", "w") as file:
        make(file)
    with pytest.raises(FileError, match=rf"odd\.nc.*{message}"):
        open_cube(tmp_path / "odd.nc")
    assert len(verify(tmp_path / "odd.nc").problems) == 1


STRANGE = {
    "nothing": b"",
    "signature": b"\x89HDF\r\n\x1a\n",
    "signature and zeros": b"\x89HDF\r\n\x1a\n" + bytes(4096),
    "classic": b"CDF\x01" + bytes(64),
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "archive": b"PK\x03\x04" + bytes(100),
    "pickle": pickle.dumps({"datacube": [1, 2, 3]}),
    "text": b"datacube: 1 2 3\n" * 1000,
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_no_file_of_hdf5_is_named_and_told(tmp_path, name):
    """I3: even if its name ends with .nc."""
    (tmp_path / "odd.nc").write_bytes(STRANGE[name])
    with pytest.raises(
        FileError, match=r"odd\.nc is (not a NetCDF-4 file, or a damaged one|empty|a NetCDF-3 file|a PNG|a zip)"
    ):
        open_cube(tmp_path / "odd.nc")
    assert len(verify(tmp_path / "odd.nc").problems) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes that have a name")
def test_a_pipe_is_not_waited_for(tmp_path):
    """I3: opening one blocks until a process writes into it."""
    os.mkfifo(tmp_path / "pipe.nc")
    error, problems = in_child(look_into, tmp_path / "pipe.nc")
    assert "pipe.nc is a pipe, not a file" in error
    assert problems == (error,)


# ---- I3: calibrations ----


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    return Original.of(write_calibration(CALIBRATION, tmp_path_factory.mktemp("calibration") / "calibration.nc"))


def test_damaged_calibrations_are_read_or_refused_but_end_nobody(calibration):
    """I3: their layout is openhsi's and has no checksums, so only what HDF5 notices is noticed."""
    verdicts = read_all([calibration], range(200), check_calibration)
    assert not verdicts.faults, str(verdicts)
    assert verdicts.counts["found"] > 100


@pytest.mark.campaign
@pytest.mark.timeout(1200)
def test_five_thousand_damaged_calibrations_end_nobody(calibration):
    """I3: the same, with other damages."""
    verdicts = read_all([calibration], range(200, 5200), check_calibration)
    print(verdicts)  # noqa: T201 - the figures of a campaign, with -s
    assert not verdicts.faults, str(verdicts)


@pytest.mark.parametrize("length", [0, (1 << 64) - 16], ids=["free space of no length", "a thing without end"])
def test_a_calibration_whose_heap_is_damaged_is_no_search_for_ever(calibration, tmp_path, length):
    """I3: NetCDF's library would loop in it, without reacting to Ctrl-C."""
    content = bytearray(calibration.content)
    place = heap_in(content)
    content[place : place + 2] = (0 if length == 0 else 1).to_bytes(2, "little")
    content[place + 8 : place + 16] = length.to_bytes(8, "little")
    (tmp_path / "endless.nc").write_bytes(content)
    verdict = in_child(check_calibration, tmp_path / "endless.nc", {})
    assert verdict == "found"
    with pytest.raises(CalibrationError, match=r"endless\.nc' is not a NetCDF file, or damaged: the heap at byte \d+"):
        read_calibration(tmp_path / "endless.nc")


# ---- I5: incomplete files ----


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_file_that_is_being_written_opens_only_when_it_is_whole(tmp_path, compression):
    """I5: copied at each stage of the save."""
    cube = make_cube(9, 30, 40)
    seen = {}

    def look(point):
        for part in (tmp_path / "out").rglob("*.part"):
            shutil.copy(part, tmp_path / "copy.nc")
            try:
                with open_cube(tmp_path / "copy.nc") as copy:
                    seen[point] = np.array_equal(copy.lines[:], np.stack(list(cube.lines())))
            except FileError as error:
                seen[point] = str(error)

    (tmp_path / "out").mkdir()
    with CubeWriter(9, (30, 40), "u2", SaveOptions(compression=compression)) as writer:
        writer.write(cube, [tmp_path / "out"], passed=look)
    assert "is empty" in seen["created"]
    assert any(words in seen["half"] for words in ("not a NetCDF-4 file", "is empty", "begins with zeros"))
    assert seen["written"] is True
    assert seen["fsynced"] is True


def test_an_incomplete_file_is_refused_by_whoever_opens_it(originals, tmp_path):
    """I5: its writer sets `complete` last."""
    for original in originals:
        shutil.copy(original.path, tmp_path / "incomplete.nc")
        with h5py.File(tmp_path / "incomplete.nc", "r+") as file:
            file.attrs["complete"] = 0
        for check in (True, False):
            with pytest.raises(IncompleteFileError, match=r"incomplete\.nc is incomplete: its writer did not finish"):
                open_cube(tmp_path / "incomplete.nc", check=check)
        assert "is incomplete" in verify(tmp_path / "incomplete.nc").problems[0]


def test_the_error_of_a_damaged_line_names_the_line_and_nobody_else_suffers(originals, tmp_path):
    """I5: in each kind of file; the other lines are read."""
    for original in originals:
        with h5py.File(original.path) as file:
            chunks = []
            file["datacube"].id.chunk_iter(chunks.append)
        line = 2
        place = sorted(chunks, key=lambda chunk: max(chunk.chunk_offset))[line]
        content = bytearray(original.content)
        content[place.byte_offset + place.size // 2] ^= 4
        (tmp_path / "line.nc").write_bytes(content)
        with open_cube(tmp_path / "line.nc") as cube, open_cube(original.path) as good:
            with pytest.raises(ChecksumError, match=rf"line\.nc: line {line} is damaged"):
                cube.lines[:]
            for other in set(range(len(cube.lines))) - {line}:
                assert np.array_equal(cube.lines[other], good.lines[other])
        assert verify(tmp_path / "line.nc").damaged_lines == (line,)


def test_a_file_that_is_gone_is_the_systems_own_error(tmp_path):
    """I5: and no damaged one."""
    with pytest.raises(FileError, match="No such file") as caught:
        open_cube(tmp_path / "gone.nc")
    assert caught.value.errno == errno.ENOENT
