"""A column that a file cannot store is refused before anything is collected."""

import pytest

from openhsi_shared.columns import COLUMNS, Column
from openhsi_shared.errors import ArgumentError


@pytest.mark.parametrize(
    ("name", "dtype", "message"),
    [
        ("a/b", "int64", "column 'a/b' is not a name for netCDF"),
        ("time", "int64", "column 'time' has the name of another variable"),
        ("line_crc32", "uint32", "column 'line_crc32' has the name of another variable"),
        ("altitude", "metres", "column 'altitude' has an invalid numpy type"),
        ("altitude", "bool", "column 'altitude' is of bool, expected numbers"),
        ("altitude", "float16", "column 'altitude' is of float16, expected numbers"),
    ],
)
def test_what_no_file_holds_is_refused(name, dtype, message):
    with pytest.raises(ArgumentError, match=message):
        Column(name, dtype, "m", "height")


def test_those_of_every_camera_are_four():
    assert [column.name for column in COLUMNS] == ["time_ns", "frame_id", "camera_time_ns", "temperature"]
