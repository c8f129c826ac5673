"""What netCDF cannot store is refused when a group is created, or added to a cube."""

import numpy as np
import pytest

from openhsi_shared.dataset import Cube, time_variable
from openhsi_shared.errors import ArgumentError
from openhsi_shared.groups import Group, Variable
from tests.support.cubes import make_cube, make_groups

VALUES = np.arange(3.0)


def on(*dims, data=VALUES, **attributes):
    return Variable(dims, data, attributes)


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8", ">f8", ">u2"])
def test_numbers_of_every_type_of_netcdf_are_taken(kind):
    group = Group({"values": on("n", data=np.arange(3).astype(kind))})
    assert group.variables["values"].data.dtype == np.dtype(kind)


@pytest.mark.parametrize(
    "data",
    [[True], [None], [b"bytes"], [{}], *(np.zeros(1, kind) for kind in ("f2", "c8", "M8[ns]", "S3", "V2", "g"))],
    ids=str,
)
def test_other_types_are_refused_by_name(data):
    with pytest.raises(ArgumentError, match=r"variable 'values' is of .*, expected numbers of a type that netCDF has"):
        Group({"values": on("n", data=data)})


@pytest.mark.parametrize("data", [["a", "\u00e4"], np.array(["a"]), np.array(["a", "bc"], object), [""]], ids=str)
def test_texts_of_any_kind_of_array_are_taken(data):
    found = Group({"text": on("n", data=data)}).variables["text"].data
    assert found.dtype.kind == "U"
    assert found.tolist() == list(data)


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_texts_that_no_file_holds_are_refused(text):
    with pytest.raises(ArgumentError, match="variable 'text' has the text"):
        Group({"text": on("n", data=np.array([text], object))})


NAMES = ["", "a/b", "/a", ".", "..", "_a", " a", "a ", "a\n", "a\0", "\x7f", "\ud800", "a\u0308", "x" * 201, 5, None]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_names_that_netcdf_cannot_hold_are_refused(name):
    for make in (
        lambda: Group({name: on("n")}),
        lambda: Group({"a": on(name)}),
        lambda: Group({"a": Variable(("n",), VALUES, {name: 1})}),
        lambda: Group(attributes={name: 1}),
        lambda: Group(groups={name: Group()}),
        lambda: make_cube(groups={name: Group()}),
        lambda: make_cube(columns={name: np.arange(6)}),
    ):
        with pytest.raises(ArgumentError, match="is not a name for netCDF"):
            make()


@pytest.mark.parametrize("name", ["IOC:m1.RBV", "2nd", "\u00e4", "with blanks", "x" * 200])
def test_other_names_are_taken(name):
    assert name in Group({name: on("n")}, {name: 1}, {f"{name[:190]} group": Group()}).variables


@pytest.mark.parametrize(
    "name", ["CLASS", "NAME", "DIMENSION_LIST", "values_crc32", "attributes_crc32", "contents_crc32"]
)
def test_attributes_that_the_file_uses_for_itself_are_refused(name):
    for make in (lambda: Group(attributes={name: 1}), lambda: Group({"a": Variable(("n",), VALUES, {name: 1})})):
        with pytest.raises(ArgumentError, match=f"attribute '{name}' of .* has a reserved name"):
            make()


WRONG = {
    "no dimension": ({"a": Variable((), np.array(1.0))}, "has 0 axes"),
    "too few": ({"a": Variable(("n",), np.zeros((2, 2)))}, "has 2 axes"),
    "twice the same": ({"a": Variable(("n", "n"), np.zeros((2, 2)))}, "has 2 axes"),
    "a text": ({"a": Variable("n", VALUES)}, "has 1 axes"),
    "two sizes": ({"a": on("n"), "b": on("n", data=[1.0])}, "'b' of group 'group' has 1 values along 'n', which has 3"),
    "length of texts": ({"a": on("string5")}, "'string5' of variable 'a' is reserved for the length of texts"),
    "elsewhere": ({"n": on("m"), "b": on("n")}, r"has the name of a dimension, but the axes \('m',\)"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_dimensions_that_do_not_fit_are_refused(wrong):
    variables, message = WRONG[wrong]
    with pytest.raises(ArgumentError, match=message):
        Group(variables)


def test_groups_inherit_the_dimensions_around_them():
    nested = Group({"b": on("n"), "c": on("y", data=np.zeros(6)), "own": on("m", data=[1.0])})
    make_cube(groups={"g": Group({"n": on("n")}, {}, {"nested": nested}), "h": Group({"n": on("n", data=[1.0])})})


MISFITS = {
    "lines": (lambda: {"g": Group({"a": on("y")})}, "'a' of group 'g' has 3 values along 'y', which has 6"),
    "bands, nested": (
        lambda: {"g": Group(groups={"h": Group({"a": on("wavelength")})})},
        "group 'h' has 3 .*, which has 7",
    ),
    "of the group around": (
        lambda: {"g": Group({"a": on("n")}, {}, {"h": Group({"a": on("n", data=[1.0])})})},
        "'a' of group 'h' has 1 values along 'n', which has 3",
    ),
    "another x": (lambda: {"g": Group({"x": on("x", data=np.zeros(5))})}, "'x' .* has the name of a dimension outside"),
    "variable": (lambda: {"time": Group()}, "group 'time' has the name of a variable or dimension beside it"),
    "dimension": (lambda: {"y": Group()}, "group 'y' has the name"),
    "column": (lambda: {"frame_id": Group()}, "group 'frame_id' has the name"),
    "datacube": (lambda: {"datacube": Group()}, "group 'datacube' has the name"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_groups_that_do_not_fit_their_cube_are_refused(misfit):
    groups, message = MISFITS[misfit]
    with pytest.raises(ArgumentError, match=message):
        make_cube(groups=groups())


def test_what_is_no_group_is_refused():
    for make in (lambda: Group(groups={"h": 5}), lambda: make_cube(groups={"h": {}})):
        with pytest.raises(ArgumentError, match=r"group 'h' is .*, expected a Group"):
            make()


def test_a_group_is_not_changed_with_what_it_was_made_of():
    variables, attributes = {"a": on("n")}, {"b": 1}
    group = Group(variables, attributes)
    variables["c"] = on("n")
    assert list(group.variables) == ["a"]


def test_a_cube_takes_groups_of_every_kind():
    assert isinstance(make_cube(groups=make_groups()), Cube)
    assert time_variable(np.array(["2026-01-01"], "M8[ns]"), "t").data.dtype == np.int64


@pytest.mark.parametrize(("kind", "value"), [("i2", -1), ("f4", np.nan), ("u1", np.array([255])), ("f8", 1e30)])
def test_a_fill_value_has_the_type_of_its_variable(kind, value):
    variable = Group({"a": on("n", data=np.arange(3).astype(kind), _FillValue=value)}).variables["a"]
    assert variable.attributes["_FillValue"].dtype == np.dtype(kind)


@pytest.mark.parametrize(
    ("data", "value"), [([1], 0.5), ([1], "a"), (np.zeros(1, "u1"), -1), (["a"], 0), ([1.0], [1, 2]), ([1], np.nan)]
)
def test_a_fill_value_that_the_variable_cannot_have_is_refused(data, value):
    with pytest.raises(ArgumentError, match="_FillValue of variable 'a' is"):
        Group({"a": on("n", data=data, _FillValue=value)})


def test_a_text_coordinate_is_refused_because_netcdf_cannot_read_it():
    with pytest.raises(ArgumentError, match="variable 'k' has texts along the dimension of its own name"):
        Group({"k": on("k", data=["a", "bb"])})
    assert Group({"name": on("k", data=["a", "bb"])}).variables["name"].dims == ("k",)
