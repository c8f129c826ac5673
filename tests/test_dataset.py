"""Names, labels and units."""

import numpy as np
import pytest

from openhsi_shared.dataset import Cube, coordinates, cube_stem, datacube_attributes, day_folder, global_attributes
from openhsi_shared.errors import ArgumentError
from openhsi_shared.line_times import decode_times

TIME_NS = 1_700_000_000_123_456_789


def cube(**changes):
    memory = np.arange(24, dtype=np.uint16).reshape(4, 2, 3)
    options = {"memory": memory, "n_lines": 3, "first": 2, "columns": {"time_ns": np.arange(3) + TIME_NS}, "uuid": "u"}
    return Cube(**(options | changes))


def test_a_cube_gives_its_lines_in_the_order_of_time():
    assert [int(line[0, 0]) for line in cube().lines()] == [12, 18, 0]
    assert int(cube().line(2)[0, 0]) == 0
    assert cube().line_shape == (2, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"memory": np.zeros((4, 2))}, r"shape \(4, 2\)"),
        ({"memory": np.zeros((4, 2, 0))}, "is not a cube"),
        ({"memory": np.zeros((4, 2, 3), complex)}, "complex128"),
        ({"n_lines": 0}, "0 lines"),
        ({"n_lines": 5}, "5 lines"),
        ({"first": 4}, "from line 4"),
        ({"columns": {}}, "lack time_ns"),
        ({"columns": {"time_ns": np.arange(2)}}, r"time_ns has the shape \(2,\), expected \(3,\)"),
        ({"columns": {"time_ns": list("abc")}}, "column time_ns is of <U1, expected numbers"),
        ({"wavelengths_nm": [1, 2]}, "do not fit 3 bands"),
        ({"wavelengths_nm": ["a", "b", "c"]}, "wavelengths are .*, expected numbers"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(ArgumentError, match=words):
        cube(**changes)


def test_names_are_utc_to_the_microsecond():
    assert cube_stem(TIME_NS, "a-", "_b") == "a-2023_11_14-22_13_20_123456_b"
    assert day_folder(TIME_NS) == "2023_11_14"
    assert day_folder(0) == "1970_01_01"
    assert cube_stem(np.int64(-1)) == "1969_12_31-23_59_59_999999"


@pytest.mark.parametrize("text", ["a/b", "a\\b", "a:b", "a\0b", "a\nb", "\ud800"])
def test_what_no_file_name_can_hold_is_refused(text):
    with pytest.raises(ArgumentError, match="cannot be part of a file's name"):
        cube_stem(TIME_NS, prefix=text)
    with pytest.raises(ArgumentError, match="suffix"):
        cube_stem(TIME_NS, suffix=text)


@pytest.mark.parametrize(
    ("affixes", "message"),
    [
        ({"prefix": None}, "prefix must be text, or '' for none, got None"),
        ({"suffix": ["a"]}, r"suffix must be text, or '' for none, got \['a'\]"),
        ({"prefix": "é" * 60, "suffix": "x" * 81}, "prefix and suffix have 201 bytes, at most 200 fit"),
        ({"prefix": ".hidden"}, "must not begin with a dot"),
    ],
)
def test_what_would_spoil_a_name_is_refused_before_anything_is_collected(affixes, message):
    with pytest.raises(ArgumentError, match=message):
        cube_stem(TIME_NS, **affixes)


@pytest.mark.parametrize(
    ("units", "values", "expected"),
    [
        ("nanoseconds since 1970-01-01T00:00:00Z", [TIME_NS], [TIME_NS]),
        ("nanoseconds since 2023-11-14 22:13:20.123456789", [0, 1], [TIME_NS, TIME_NS + 1]),
        ("microseconds since 1970-01-01 00:00:01", [2], [1_000_002_000]),
        ("seconds since 1970-01-01", [1.5], [1_500_000_000]),
        ("days since 1970-01-02 00:00:00 UTC", [1], [2 * 86400 * 10**9]),
        ("hours since 1970-01-01T00:00:00+00:00", [1], [3600 * 10**9]),
    ],
)
def test_times_are_decoded_exactly(units, values, expected):
    assert decode_times(np.array(values), units).tolist() == expected


def test_what_is_no_time_is_refused():
    with pytest.raises(ArgumentError, match="'metres'"):
        decode_times(np.arange(3), "metres")


def test_units_follow_the_level():
    units = {level: datacube_attributes(level)["units"] for level in range(-1, 9)}
    radiance = "uW cm-2 sr-1 nm-1"
    assert units == {level: radiance if level in (4, 5, 7) else "1" for level in range(-1, 9)}


def test_what_functions_of_the_users_made_is_not_labelled_as_the_level_would_have_been():
    for level in range(-1, 9):
        labels = datacube_attributes(level, arithmetic="custom_tfms")
        assert (labels["units"], labels["long_name"]) == ("1", "made by custom_tfms")
        assert "standard_name" not in labels
        attributes = global_attributes(cube(level=level, attributes={"level_arithmetic": "custom_tfms"}))
        assert (attributes["level"], attributes["processing_level"]) == (level, f"level {level}: made by custom_tfms")


def test_everything_of_a_line_lies_on_y():
    columns = {"time_ns": np.arange(3), "frame_id": np.arange(3), "altitude": np.zeros(3)}
    variables = coordinates(cube(columns=columns))
    assert list(variables) == ["x", "y", "wavelength", "time", "frame_id", "altitude"]
    assert {variables[name].dims for name in ("y", "time", "frame_id", "altitude")} == {("y",)}
    assert variables["wavelength"].attributes["units"] == "1"
    known = coordinates(cube(wavelengths_nm=[400.5, 500, 600]))["wavelength"]
    assert known.attributes["units"] == "nm"
    assert known.data.tolist() == [400.5, 500, 600]


def test_attributes_say_who_when_and_what():
    attributes = global_attributes(
        cube(level=2, attributes={"run_id": "r", "uuid": "x"}, metadata={"run_id": 1, "title": "t"}), TIME_NS
    )
    assert attributes["Conventions"] == "CF-1.11, ACDD-1.3"
    assert attributes["uuid"] == "u"
    assert attributes["metadata_uuid"] == "x"
    assert (attributes["run_id"], attributes["metadata_run_id"], attributes["title"]) == ("r", 1, "t")
    assert attributes["time_coverage_start"] == "2023-11-14T22:13:20.123456Z"
    assert attributes["level"] == 2
    assert "complete" not in attributes
