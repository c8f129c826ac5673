"""Values of Python as attributes of files."""

import numpy as np
import pytest

from openhsi_shared.attributes import attribute_value, user_attributes


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ü", "ü"),
        (3, 3),
        (np.float32(0.5), 0.5),
        (None, "null"),
        (True, "true"),
        ([], "[]"),
        ([1, "a"], '[1, "a"]'),
        ([1, True], "[1, true]"),
        ({"a": {"b": None}}, '{"a": {"b": null}}'),
        (2**63, str(2**63)),
        (np.zeros((1, 2)), "[[0.0, 0.0]]"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (np.datetime64("2026-11-28T01:02:03", "ns"), "2026-11-28T01:02:03.000000000"),
        (np.timedelta64(3, "s"), "3 seconds"),
        (np.longdouble(0.5), 0.5),
        ([np.longdouble(0.5)], "[0.5]"),
    ],
)
def test_every_value_becomes_one_that_an_attribute_can_hold(value, expected):
    assert attribute_value(value) == expected


def test_numbers_of_types_that_netcdf_lacks_become_others():
    for kind in (np.float16, np.longdouble):
        found = attribute_value(np.array([0.5, 1.5], kind))
        assert found.dtype == np.float64
        assert found.tolist() == [0.5, 1.5]


def test_ours_win_and_the_users_are_kept():
    attributes = user_attributes({"uuid": 1, "metadata_uuid": 2, "CLASS": 3, " a ": 4, "a": 5, "_x": 6}, {"uuid"})
    assert attributes == {
        "metadata_uuid": 1,
        "metadata_metadata_uuid": 2,
        "metadata_CLASS": 3,
        "a": 4,
        "metadata_a": 5,
        "metadata__x": 6,
    }
