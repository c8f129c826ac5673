"""Sidecars with a valid checksum that this library did not write."""

import json
import zlib

import numpy as np
import pytest

from openhsi_shared import open_cube, recover, verify
from openhsi_shared.columns import COLUMNS, Column
from openhsi_shared.errors import FileError
from openhsi_shared.files.dumping import read_dump, write_dump
from tests.support.cubes import make_cube, make_groups


@pytest.fixture
def sidecar(tmp_path):
    return write_dump(make_cube(3), [tmp_path])


def rewrite(sidecar, text):
    sidecar.write_bytes(text + b"\n%08x\n" % zlib.crc32(text))


def column(dtype, value, name="more"):
    return {
        "columns": {"time_ns": {"dtype": "<i8", "values": [1, 2, 3]}, name: {"dtype": dtype, "values": [value] * 3}}
    }


@pytest.fixture
def with_groups(tmp_path):
    flags = {"flag_values": (0, 1), "flag_meanings": "good stale"}
    described = (
        *COLUMNS,
        Column("altitude", "float64", "m", "height above the ground"),
        Column("altitude_state", "int8", "1", "state of altitude", flags),
    )
    columns = {"altitude": np.arange(6.0), "altitude_state": np.zeros(6, np.int8)}
    return make_cube(groups=make_groups(), columns=columns, column_descriptions=described)


def test_a_dump_keeps_groups_and_what_is_known_of_columns(with_groups, tmp_path):
    sidecar = write_dump(with_groups, [tmp_path])
    assert json.loads(sidecar.read_bytes().splitlines()[0])["format"] == "openhsi_shared dump 2"
    (path,) = recover(tmp_path).published
    report = verify(path)
    assert report.problems == ()
    assert "/marks/of_user/weight" in report.covers
    with open_cube(path) as saved:
        assert saved.dataset.altitude.attrs["units"] == "m"
        assert saved.dataset.altitude_state.attrs["flag_values"].dtype == np.int8
        assert saved.dataset.altitude_state.attrs["flag_meanings"] == "good stale"
        for name, group in with_groups.groups.items():
            again = saved.groups[name].read()
            assert {key: item.data.tolist() for key, item in again.variables.items()} == {
                key: item.data.tolist() for key, item in group.variables.items()
            }
        assert saved.groups["imu"].attributes["filter"] == "null"


def test_a_dump_without_groups_is_one_that_earlier_versions_read(sidecar):
    fields = json.loads(sidecar.read_bytes().splitlines()[0])
    assert fields["format"] == "openhsi_shared dump 1"
    assert "groups" not in fields


WRONG_GROUPS = {
    "no group": [1],
    "a number": {"g": 5},
    "nothing in it": {"g": {}},
    "a variable without type": {"g": {"variables": {"a": {}}, "attributes": {}, "groups": {}}},
    "objects": {
        "g": {
            "variables": {"a": {"dims": ["n"], "dtype": "O", "shape": [1], "values": "", "attributes": {}}},
            "attributes": {},
            "groups": {},
        }
    },
    "too few values": {
        "g": {
            "variables": {"a": {"dims": ["n"], "dtype": "<f8", "shape": [9], "values": "AAAA", "attributes": {}}},
            "attributes": {},
            "groups": {},
        }
    },
}


@pytest.mark.parametrize("wrong", WRONG_GROUPS)
def test_wrong_groups_of_a_sidecar_are_told(sidecar, tmp_path, wrong):
    fields = json.loads(sidecar.read_bytes().splitlines()[0]) | {"groups": WRONG_GROUPS[wrong]}
    rewrite(sidecar, json.dumps(fields).encode())
    with pytest.raises(FileError, match=r"\.raw\.json is not a valid dump"):
        read_dump(sidecar)
    assert list(recover(tmp_path).damaged) == [sidecar]


WRONG = {
    "too few checksums": ({"line_crc32": [1, 2]}, "line_crc32 must be 3 numbers, one for each line"),
    "no checksums": ({"line_crc32": None}, "line_crc32 is None, expected a list of numbers"),
    "one checksum": ({"line_crc32": 5}, "line_crc32 is 5, expected a list of numbers"),
    "checksums of text": ({"line_crc32": ["a"] * 3}, "line_crc32 must be 3 numbers"),
    "a list of columns": ({"columns": [1]}, r"columns is \[1\], expected names and values"),
    "a column of one number": ({"columns": {"time_ns": 1}}, "column 'time_ns' is 1, expected"),
    "a column without values": ({"columns": {"time_ns": {"dtype": "<i8"}}}, "KeyError: 'values'"),
    "a column of objects": (column("O", 0), "the type of column 'more' is 'O', expected a numeric type"),
    "a column of much": (column("(9999,9999)f8", 0), "expected a numeric type"),
    "a column of text": (column("<i8", "a"), "invalid literal"),
    "a column that overflows": (column("<i8", 1 << 80), "OverflowError"),
    "a column in a group": (column("<i8", 0, "a/b"), "a name without /"),
    "times without date": ({"columns": {"time_ns": {"dtype": "<f8", "values": [1e300] * 3}}}, None),
    "a list of attributes": ({"attributes": [1]}, r"attributes is \[1\], expected names and values"),
    "a number of metadata": ({"metadata": 7}, "metadata is 7, expected names and values"),
    "wavelengths of text": ({"wavelengths_nm": ["a"] * 7}, "wavelengths are .*, expected numbers"),
    "wavelengths in a table": ({"wavelengths_nm": [[1]]}, r"\(1, 1\) wavelengths do not fit 7 bands"),
    "one wavelength": ({"wavelengths_nm": 5}, "wavelengths_nm is 5, expected a list of numbers, or null"),
    "a level of text": ({"level": "x"}, "level is 'x', expected a number"),
    "a level beyond all": ({"level": 1 << 80}, "OverflowError"),
    "a number for its name": ({"uuid": 7}, "uuid is 7, expected text"),
    "pixels of objects": ({"dtype": "O"}, "the type of the pixels is 'O', expected a numeric type"),
    "pixels of no type": ({"dtype": "much"}, "is not a valid dump"),
    "a shape of text": ({"shape": "abc"}, "shape is 'abc', expected a list of numbers"),
    "a shape of nothing": ({"shape": [3, 0, 7]}, r"shape is \[3, 0, 7\], expected three positive numbers"),
    "a large shape": ({"shape": [3, 1 << 40, 1 << 40]}, "expected 7253"),
    "another directory": ({"prefix": "../"}, None),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_sidecar_is_told_and_the_other_leftovers_are_looked_at(sidecar, tmp_path, wrong):
    changes, words = WRONG[wrong]
    good = write_dump(make_cube(3), [tmp_path])
    assert good != sidecar
    rewrite(sidecar, json.dumps(json.loads(sidecar.read_bytes().splitlines()[0]) | changes).encode())
    if words is not None:  # else it is the cube that cannot be saved
        with pytest.raises(FileError, match=rf"\.raw.* {words}"):
            read_dump(sidecar)
    found = recover(tmp_path)
    assert list(found.damaged) == [sidecar]
    assert verify(*found.published).ok
    assert sidecar.with_suffix("").exists()


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"format": "openhsi_shared dump 1"}', b"[1]", b"nothing"])
def test_a_sidecar_of_something_else_is_no_dump(sidecar, text):
    rewrite(sidecar, text)
    with pytest.raises(FileError, match=r"\.raw\.json is not "):
        read_dump(sidecar)
