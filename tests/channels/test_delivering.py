"""What sources deliver: stored, refused, counted, and the states that follow."""

import math

import numpy as np
import pytest

from openhsi_shared.buffers.samples import SampleLayout, SampleMemory
from openhsi_shared.channels import Channel, State
from openhsi_shared.channels.delivering import RingDeliver
from openhsi_shared.errors import ArgumentError
from openhsi_shared.line_times import UNKNOWN_TIME_NS
from tests.support.helpers import wait_for


def made(**keywords):
    channel = Channel("a", **keywords)
    memory = SampleMemory.allocate([SampleLayout("a", len(channel.fields), 100)])
    return RingDeliver(channel.properties, memory), memory.view("a")


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int16(1), np.array(1.0), [1.0], (1,), np.array([1]), True])
def test_every_number_is_one(value):
    deliver, view = made()
    deliver.sample(value, 5, 6, 7)
    assert view.newest()._replace(arrival_ns=0) == (5, 0, 6, 7, (1.0,))


@pytest.mark.parametrize("value", ["text", "1.0", None, b"1", [1.0, 2.0], [], {}, [[1.0]], 1j])
def test_what_is_no_number_is_refused_counted_and_said_once(value, caplog):
    deliver, view = made()
    for _ in range(100):
        deliver.sample(value)
    assert view.counts == (0, 100, 0)
    assert caplog.text.count("samples refused") == 1
    assert "expected a number" in caplog.text


def test_why_all_samples_are_refused_is_in_the_status_until_one_is_not():
    deliver, view = made()
    deliver.state(State.CONNECTING)
    deliver.sample([1.0, 2.0])
    assert "expected a number" in view.description()["why"]
    deliver.sample(1.0)
    assert view.description()["why"] == ""


@pytest.mark.parametrize("time_ns", [1.5, "now", 2**63, math.nan])
def test_a_time_that_is_none_is_refused(time_ns):
    deliver, view = made()
    deliver.sample(1.0, time_ns)
    assert view.counts == (0, 1, 0)


def test_several_values_need_one_for_each_field():
    deliver, view = made(fields=["x", "y"])
    deliver.sample([1, 2])
    deliver.sample(np.array([3.0, math.nan]))
    for wrong in (1.0, [1], [1, 2, 3], "xy", [1, "y"]):
        deliver.sample(wrong)
    assert view.counts == (2, 5, 0)
    assert np.array_equal(view.snapshot().values, [[1, 2], [3, math.nan]], equal_nan=True)
    assert (view.snapshot().time_ns == UNKNOWN_TIME_NS).all()


def test_nan_and_infinity_are_values():
    deliver, view = made()
    for value in (math.nan, math.inf, -math.inf):
        deliver.sample(value)
    assert np.array_equal(view.snapshot().values[:, 0], [math.nan, math.inf, -math.inf], equal_nan=True)
    assert view.state() is State.GOOD


def test_a_sample_ends_some_states_and_the_others_end_when_the_source_says_so():
    deliver, view = made()
    deliver.state(State.CONNECTING)
    for state in (State.LOST, State.STALLED, State.REFUSED, State.UNCHANGED):
        deliver.sample(1.0)
        assert view.state() is State.GOOD
        deliver.state(state, "because")
        assert (view.state(), view.description()["why"]) == (state, "because")
    for state in (State.NO_FIX, State.JUMPED, State.ENDED):
        deliver.state(state)
        deliver.sample(1.0)
        assert view.state() is state
    times = [time_ns for time_ns, _ in view.states()]
    assert times == sorted(times)


def test_a_declared_rate_and_silence_is_stalled():
    deliver, view = made(rate=1000.0)
    deliver.sample(1.0)
    deliver.watch()
    assert view.state() is State.GOOD
    wait_for(lambda: deliver.watch() or view.state() is State.STALLED)
    assert "1000 samples/s expected" in view.description()["why"]
    deliver.sample(1.0)
    assert view.state() is State.GOOD


def test_a_source_that_speaks_on_change_is_unchanged_while_it_is_silent():
    deliver, view = made(speaks_on_change=True)
    deliver.watch()
    assert view.states() == ()
    deliver.sample(1.0)
    wait_for(lambda: deliver.watch() or view.state() is State.UNCHANGED)


def test_what_a_source_says_of_itself_is_kept_and_its_unit_spelt_as_udunits_does(caplog):
    deliver, view = made()
    deliver.describe(unit="C", flags=["closed", "open"])
    deliver.describe(precision=3)
    assert view.description() == {"unit": "degC", "flags": ["closed", "open"], "precision": 3}
    deliver.describe(unit="furlong")
    assert (view.description()["unit"], view.description()["unit_as_given"]) == (None, "furlong")
    assert "not known to UDUNITS" in caplog.text
    with pytest.raises(ArgumentError, match="description"):
        deliver.describe(text="x" * 5000)
    deliver.describe(more=1)
    assert "text" not in view.description()


def test_the_one_that_replaces_it_goes_on():
    deliver, view = made()
    deliver.describe(unit="m")
    deliver.sample(1.0)
    memory = SampleMemory((view.layout,), (view._parts.words.obj,), view.anchor)
    after = RingDeliver(deliver.properties, memory)
    after.state(State.CONNECTING)
    after.sample(2.0)
    assert view.snapshot().values[:, 0].tolist() == [1.0, 2.0]
    assert [state for _, state in view.states()] == [State.GOOD, State.CONNECTING, State.GOOD]
    assert view.description()["unit"] == "m"
