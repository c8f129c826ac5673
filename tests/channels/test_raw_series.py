"""The raw series of a channel is read from a file as it was written."""

import numpy as np
import pytest

from openhsi_shared import open_cube, verify
from openhsi_shared.buffers.times import Anchor
from openhsi_shared.channels.properties import Field
from openhsi_shared.channels.raw_series import CHANNELS, described, part_of, raw_group, raw_series
from openhsi_shared.errors import FileError
from openhsi_shared.files import CubeWriter
from openhsi_shared.groups import Group
from openhsi_shared.line_times import UNKNOWN_TIME_NS
from openhsi_shared.matching import State
from tests.support.channels import BEGIN, S, deliver, every, kind_of, properties
from tests.support.cubes import make_cube

COUNTS = {f"n_{what}_total": n for n, what in enumerate(("delivered", "refused", "squashed", "overwritten"), 10)}


def saved(groups, directory):
    cube = make_cube(groups={CHANNELS: Group(groups=groups)})
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype) as writer:
        path = writer.write(cube, [directory], picture=False).path
    assert verify(path).problems == ()
    return path


@pytest.mark.parametrize(
    "channel",
    [
        properties("a", [Field("value", "C", how="nearest")], rate=5.0, source="ca:T", speaks_on_change=True),
        properties(
            "gps", [Field("latitude", "degree_north", standard_name="latitude"), "x"], clock="fit", latency_s=0.1
        ),
        properties("shutter", [Field("value", kind="flags", flags=("closed", "open"))], stamp="host", max_age_s=3.0),
        properties("odd", [Field("value", "furlong per fortnight")], gap_s=2.0, tolerance_s=1.0, required=False),
    ],
    ids=lambda channel: channel.name,
)
def test_all_of_it_comes_back(channel, tmp_path):
    kind = kind_of(channel)
    times = every(250, BEGIN, BEGIN + 5 * S)
    times[3] = UNKNOWN_TIME_NS
    deliver(kind.memory, channel.name, times, lambda t: [t % 7, np.nan][: len(channel.fields)], lag_ns=0)
    kind.memory.ring(channel.name).note_state(BEGIN + S, State.NO_FIX)
    kind.memory.ring(channel.name).describe({"host": "10.0.0.1", "notes": ["one"]})
    samples = part_of(kind.memory.view(channel.name).snapshot(), 3)
    path = saved({channel.name: raw_group(channel, samples, COUNTS, to_lines_ns=9)}, tmp_path)
    with open_cube(path) as cube:
        assert list(cube.channels) == [channel.name]
        again = raw_series(channel.name, cube.channels[channel.name], Anchor(1, 2))
    assert again.properties == channel
    assert (again.samples.first_index, again.samples.counts) == (3, (10, 11, 12))
    assert again.samples.description == {"host": "10.0.0.1", "notes": ["one"]}
    assert again.samples.states == tuple((time_ns + 9, state) for time_ns, state in samples.states)
    for name in ("time_ns", "id", "quality", "values"):
        assert np.array_equal(getattr(again.samples, name), getattr(samples, name), equal_nan=True)
    assert (again.samples.arrival_ns == samples.arrival_ns + 9).all()


def test_a_channel_without_samples_has_an_empty_series(tmp_path):
    kind = kind_of(properties("a"))
    group = raw_group(kind.properties["a"], kind.memory.view("a").snapshot(), COUNTS)
    with open_cube(saved({"a": group}, tmp_path)) as cube:
        assert len(raw_series("a", cube.channels["a"], Anchor(0, 0)).samples) == 0
        assert cube.channels["a"].dataset.sizes["sample"] == 0


def test_another_group_is_no_raw_series(tmp_path):
    path = saved({"a": Group(attributes={"what": "else"})}, tmp_path)
    with open_cube(path) as cube, pytest.raises(FileError, match="group /channels/a is not the raw series"):
        raw_series("a", cube.channels["a"], Anchor(0, 0))


def test_what_the_source_says_is_used_where_the_user_has_said_nothing():
    description = {"unit": "deg C", "flags": ["off", "on"], "standard_names": {"value": "air_temperature"}}
    (field,) = described(properties("a", [Field("value", how="linear")]), description).fields
    assert (field.unit, field.kind, field.how, field.flags) == ("degC", "flags", "previous", ("off", "on"))
    assert field.standard_name == "air_temperature"
    (field,) = described(properties("a", [Field("value", "m")]), {"unit": "bananas"}).fields
    assert (field.unit, field.unit_as_given) == ("m", None)
    (field,) = described(properties("a"), {"unit": "bananas", "flags": "no list"}).fields
    assert (field.unit, field.unit_as_given, field.flags) == (None, "bananas", ())
    (field,) = described(properties("a", [Field("value", kind="angle")]), {"unit": "radians"}).fields
    assert field.unit == "rad"
    (field,) = described(properties("a", [Field("value", kind="angle")]), {"unit": "mm"}).fields
    assert (field.unit, field.unit_as_given) == (None, "mm"), "an angle in degrees, whatever the IOC says"
