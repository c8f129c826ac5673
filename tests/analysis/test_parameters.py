import json
import pickle

import cbor2
import numpy as np
import pytest

from openhsi_shared.analysis.parameter_files import parameters_of
from openhsi_shared.analysis.parameter_log import ParameterLog
from openhsi_shared.analysis.parameters import (
    BinaryParameter,
    BoolParameter,
    FloatParameter,
    IntParameter,
    Parameters,
    StrParameter,
    described_by,
)
from openhsi_shared.errors import AnalysisError, ParameterError

DESCRIBED = {
    one.name: one
    for one in (
        IntParameter("till_x", default=2, minimum=1, maximum=9),
        FloatParameter("gain", "of the sensor", 1, minimum=0),
        StrParameter("mode", default="fast", choices=("fast", "exact")),
        BoolParameter("dark"),
        BinaryParameter("poni"),
    )
}


def test_values_are_typed_and_equal_values_have_an_equal_hash():
    by_text = Parameters(DESCRIBED, {"till_x": b"3", "gain": "1e1", "dark": "True", "poni": b"\x00\xff"})
    typed = Parameters(DESCRIBED, {"till_x": np.int16(3), "gain": 10, "dark": True, "poni": memoryview(b"\x00\xff")})
    assert {name: one.value for name, one in by_text.items()} == {
        "till_x": 3, "gain": 10.0, "mode": "fast", "dark": True, "poni": b"\x00\xff",
    }  # fmt: skip
    assert {name: (one.data, one.uuid) for name, one in by_text.items()} == {
        name: (one.data, one.uuid) for name, one in typed.items()
    }
    assert (by_text["till_x"].data, by_text["dark"].data) == (b"3", b"True")
    assert by_text.hash == typed.hash == pickle.loads(pickle.dumps(typed)).hash != Parameters(DESCRIBED).hash
    with pytest.raises(KeyError, match="did you mean 'till_x'"):
        typed["till_y"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"til_x": 3}, "no parameter 'til_x' is described: did you mean 'till_x'"),
        ({"till_x": "abc"}, "'till_x': expected an integer, got 'abc'"),
        ({"till_x": 3.5}, "'till_x': expected an integer, got 3.5"),
        ({"till_x": True}, "expected an integer"),
        ({"till_x": 0}, "0 is out of range: from 1 up to 9"),
        ({"gain": float("nan")}, "nan is out of range: from 0"),
        ({"gain": "fast"}, "expected a number"),
        ({"gain": None}, "expected a number"),
        ({"mode": "slow"}, r"expected one of \['fast', 'exact'\]"),
        ({"mode": b"\xff"}, "expected text"),
        ({"dark": "maybe"}, "expected True or False"),
        ({"poni": 3}, "expected bytes"),
    ],
)
def test_a_value_that_does_not_fit_is_an_error(values, message):
    with pytest.raises(ParameterError, match=message):
        Parameters(DESCRIBED, values)


def test_descriptions_are_checked_and_those_of_the_neighbour_are_taken():
    class Theirs:  # as dranspose.parameters.IntParameter, which is no dependency
        name, description, dtype, default = "till_x", None, "int", 2

    class Worker:
        @staticmethod
        def describe_parameters():
            return [Theirs()]

    class Reducer:
        @staticmethod
        def describe_parameters():
            raise ZeroDivisionError

    assert described_by(Worker, None) == {"till_x": IntParameter("till_x", default=2)}
    with pytest.raises(AnalysisError, match="ZeroDivisionError"):
        described_by(Worker, Reducer)
    with pytest.raises(ParameterError, match="0 is out of range"):
        IntParameter("x", minimum=1)
    with pytest.raises(ParameterError, match="only numbers"):
        StrParameter("x", minimum="a")


def test_files_of_parameters_are_json_cbor_or_a_trusted_pickle(tmp_path):
    def read(content, **more):
        path = tmp_path / "params"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return {name: one.value for name, one in parameters_of(DESCRIBED, path, **more).items()}

    (tmp_path / "x.poni").write_bytes(b"\x01\xfe")
    entries = [{"name": "till_x", "data": "3"}, {"name": "gain", "data": 2}]
    expected = {"till_x": 3, "gain": 2.0, "mode": "fast", "dark": False, "poni": b"\x01\xfe"}
    assert read([*entries, {"name": "poni", "file": "x.poni"}]) == expected
    assert read(cbor2.dumps([{"name": "till_x", "data": b"3"}, {"name": "poni", "data": b"\x01\xfe"}])) == {
        **expected,
        "gain": 1,
    }
    assert read({"till_x": 3, "gain": 2.0}) == {**expected, "poni": b""}
    assert read(pickle.dumps(entries), trust_pickles=True) == {**expected, "poni": b""}
    for content, message in [
        (pickle.dumps(entries), "--trust-pickles"),
        (b"\x80\x04cut", None),
        (b'{"till_x": ', "no JSON"),
        (b"\x82\x01", "neither JSON nor CBOR"),
        (b'{"gain": 1, "gain": 2}', "twice"),
        ([*entries, *entries], "twice"),
        ([{"name": "till_x"}], "entry 0: expected"),
        ([{"name": "poni", "file": "none.poni"}], "none.poni, cannot be read"),
        (3, "expected a list"),
    ]:
        with pytest.raises(ParameterError, match=message):
            read(content)
    with pytest.raises(ParameterError, match="cannot be read"):
        parameters_of(DESCRIBED, tmp_path / "none.json")


def test_a_change_holds_from_an_event_on_and_can_be_repeated():
    log = ParameterLog(DESCRIBED, Parameters(DESCRIBED, {"till_x": 3}))
    assert log.change("till_x", "4", 10)["till_x"].value == 4
    log.change("poni", b"\xff", 10)
    assert log.change("till_x", 3, 20).version == 3
    assert [log.version_for(k) for k in (0, 9, 10, 19, 20, 99)] == [0, 0, 2, 2, 3, 3]
    assert [log.next_change(k) for k in (0, 9, 10, 20)] == [10, 10, 20, None]
    for change, message in [
        (("till_x", "0", 30), "out of range"),
        (("x", 1, 30), "no parameter"),
        (("gain", 1, 19), "in the order"),
    ]:
        with pytest.raises(ParameterError, match=message):
            log.change(*change)
    again = ParameterLog.from_json(DESCRIBED, log.to_json())
    assert again.changes == log.changes
    assert [again.at(k).hash for k in range(4)] == [log.at(k).hash for k in range(4)]
    with pytest.raises(ParameterError, match="no list of changes"):
        ParameterLog.from_json(DESCRIBED, "[]")


def test_a_large_value_does_not_grow_in_the_list_of_changes():
    described = {"mask": BinaryParameter("mask", default=b"")}
    log = ParameterLog(described, Parameters(described, {}))
    log.change("mask", bytes(100_000), 5)
    text = log.to_json()
    assert len(text) < 140_000  # escaped as text it would have 600,000
    assert ParameterLog.from_json(described, text).newest["mask"].value == bytes(100_000)
