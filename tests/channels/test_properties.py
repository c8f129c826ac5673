"""Channels are checked when they are made."""

import math

import pytest

from openhsi_shared.channels import Channel, Field
from openhsi_shared.channels.properties import check_together
from openhsi_shared.channels.units import known_unit
from openhsi_shared.errors import ArgumentError


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"name": ""}, "not a name for netCDF"),
        ({"name": "a/b"}, "not a name for netCDF"),
        ({"name": "time"}, "'time' exists in every file"),
        ({"name": "string5"}, "reserved for the length of texts"),
        ({"fields": ["string5"]}, "reserved for the length of texts"),
        ({"name": "temperature"}, "exists in every file"),
        ({"name": "line_crc32"}, "exists in every file"),
        ({"name": "clock_offset"}, "exists in every file"),
        ({"name": "frame", "fields": ["id"]}, "'id' is the name of a variable of every channel"),
        ({"fields": ["age"]}, "variable of every channel"),
        ({"fields": ["a", "b", "a"]}, "given twice"),
        ({"fields": []}, "at least one field"),
        ({"fields": "abc"}, "sequence of names"),
        ({"fields": ["a/b"]}, "not a name"),
        ({"kind": "numbr"}, "kind"),
        ({"how": "nearby"}, "how"),
        ({"stamp": "mine"}, "stamp"),
        ({"clock": ""}, "clock"),
        ({"clock": "a"}, "clock"),
        ({"kind": "quaternion", "fields": ["x", "y", "z"]}, "4 fields"),
        ({"tolerance_s": -1.0}, "tolerance_s"),
        ({"gap_s": math.nan}, "gap_s"),
        ({"max_age_s": "1"}, "max_age_s"),
        ({"clock_offset_s": math.inf}, "clock_offset_s"),
        ({"latency_s": None}, "latency_s"),
        ({"rate": 0}, "rate"),
        ({"rate": True}, "rate"),
        ({"required": 1}, "required"),
        ({"unit": 3}, "unit"),
        ({"kind": "flags", "how": "linear"}, "impossible for kind='flags'"),
        ({"kind": "quaternion", "how": "cubic"}, "impossible for kind='quaternion'"),
        ({"kind": "quaternion", "fields": [Field(name, how="cubic") for name in "wabc"]}, "impossible"),
        ({"kind": "angle", "unit": "furlong"}, "an angle has a unit such as"),
        ({"kind": "angle", "unit": "mm"}, "an angle has a unit such as"),
        ({"fields": ["x", "a_x"]}, "stored as a_x"),
        ({"clock_offset_s": 4e9}, "100 years"),
        ({"latency_s": 1e12}, "100 years"),
    ],
    ids=str,
)
def test_what_cannot_be_a_channel_is_refused(keywords, words):
    with pytest.raises(ArgumentError, match=words):
        Channel(**{"name": "a", **keywords})


def test_how_it_is_matched_follows_from_what_it_is():
    found = Channel("a", fields=["n", Field("roll", kind="angle"), Field("lat", standard_name="latitude")])
    assert [field.how for field in found.fields] == ["previous", "linear", "linear"]
    assert [field.how for field in Channel("a", kind="quaternion").fields] == ["linear"] * 4
    assert Channel("a", how="mean").fields[0].how == "mean"
    assert Channel("a", kind="flags").fields[0].how == "previous"


def test_names_of_variables():
    assert Channel("a").properties.variables == ("a", "a_age", "a_state")
    assert Channel("a", fields=["b"]).properties.variables == ("a_b", "a_age", "a_state")


def test_channels_that_do_not_fit_together_are_refused():
    def together(*channels):
        check_together({channel.name: channel.properties for channel in channels})

    together(Channel("a"), Channel("b", clock="a"))
    with pytest.raises(ArgumentError, match="'a_b'"):
        together(Channel("a", fields=["b"]), Channel("a_b"))
    with pytest.raises(ArgumentError, match="'gps'"):
        together(Channel("a", clock="gps"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        *((text, "degC") for text in ("C", "deg C", "degC", "°C", "Celsius")),
        *((text, "degree") for text in ("°", "deg", "degrees", "degree")),
        *((text, "rad") for text in ("rad", "radian", "Radians")),
        *(
            (text, text)
            for text in ("kN", "kT", "m", "mm", "K", "1", "V", "mV", "hPa", "m s-1", "uW cm-2 sr-1 nm-1", "count", "S")
        ),
        *(("m/s", "m s-1"), ("%", "percent"), ("", "1"), ("kn", "knot"), ("mW/m^2", "mW/m^2")),
        *((text, None) for text in ("furlong", "EGU", "mdegC", "m s s-1 ly", "°°")),
    ],
)
def test_units_are_spelt_as_udunits_does(given, expected):
    assert known_unit(given) == expected
    units = pytest.importorskip("cf_units")
    if expected is not None:
        assert not units.Unit(expected).is_unknown()


def test_an_unknown_unit_is_kept_as_given_and_warned_about(caplog):
    field = Channel("a", unit="furlong").fields[0]
    assert (field.unit, field.unit_as_given) == (None, "furlong")
    assert "'furlong' is not known to UDUNITS" in caplog.text
