"""The recorder of rows, fed by hand."""

import json
import logging
import random
import threading
import time
from collections.abc import Mapping

import numpy as np
import pytest

from openhsi_shared.channels import CallbackChannel, Channel, Recorder, SimulatedChannel, State
from openhsi_shared.channels.recorder import rates
from openhsi_shared.channels.simulated import spot
from openhsi_shared.errors import ArgumentError, ChannelError, UnknownKeyword
from tests.channels.fed_recorder import PERIOD_NS, SHAPE, START_NS, Counter, Fed, image_of
from tests.support.helpers import wait_for


def test_rows_are_in_the_order_of_time_and_the_oldest_is_replaced(fed):
    one = fed(maxlen=5)
    recorder = one.recorder
    assert (len(recorder), recorder.full, recorder.maxlen, list(recorder.data["a"])) == (0, False, 5, [])
    one.feed(3)
    assert recorder.data["a"].tolist() == [0, 1, 2]
    assert recorder.data["b"].tolist() == [100, 101, 102]
    one.feed(5, first=3)
    assert (len(recorder), recorder.full) == (5, True)
    assert recorder.data["a"].tolist() == [3, 4, 5, 6, 7]
    assert recorder.data["time_ns"].tolist() == [START_NS + k * PERIOD_NS for k in range(3, 8)]
    np.testing.assert_allclose(recorder.data["timestamp"], recorder.data["time_ns"] / 1e9, atol=1e-6)
    assert recorder.data[-1]["b"] == recorder.data[4]["b"] == 107
    assert recorder.data[1:3]["a"].tolist() == [4, 5]
    assert recorder.data[::2].n_rows == 3


def test_data_are_a_mapping_that_cannot_be_changed(fed):
    one = fed(image={}, maxlen=3)
    one.feed(4)
    data = one.recorder.data
    assert isinstance(data, Mapping)
    assert list(data) == ["timestamp", "time_ns", "a", "b", "img", "img start", "img centre"]
    with pytest.raises(TypeError):
        data["a"] = np.zeros(3)
    data["a"][:] = -1
    row = data[0]
    row["img"][:] = 0
    row["a"] = -1
    assert data["a"].tolist() == [1, 2, 3]
    assert data[0]["img"].max() == 1000
    with pytest.raises(ValueError, match="read-only"):
        data["img"][0][:] = 0
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"row {index} of 3 does not exist"):
            data[index]
    with pytest.raises(KeyError):
        data["c"]


def test_regions_are_cut_out_with_their_place_and_keep_no_image(fed):
    one = fed(image={}, maxlen=20)
    one.feed(20)
    data = one.recorder.data
    assert data["img start"].dtype == np.dtype([("x", "u4"), ("y", "u4")])
    for k in range(20):
        region, (x, y) = data["img"][k], data["img start"][k]
        whole = image_of(k).reshape(SHAPE)
        assert (region == whole[x : x + region.shape[0], y : y + region.shape[1]]).all()
        assert region.sum() == whole.sum()
        assert data["img centre"][k].tolist() == (8 + k % 20, 24.5)
        assert region.base is None


def test_a_dark_image_is_a_row_with_an_empty_region(fed):
    one = fed(image={}, maxlen=5)
    came = Counter(one.recorder.new_row)
    one.push(0, only=("a", "b"))
    one.channels["img"].push(np.zeros(SHAPE, np.uint16), START_NS)
    came.wait_for(1)
    row = one.recorder.data[0]
    assert row["img"].shape == (0, 0)
    assert np.isnan(row["img centre"]["x"])


def test_an_image_of_another_shape_or_a_text_is_refused_and_counted(fed, caplog):
    one = fed(image={}, maxlen=5)
    one.channels["img"].push(np.zeros(7, np.uint16), START_NS)
    one.channels["a"].push("text", START_NS)
    one.channels["b"].push(np.nan, START_NS)
    one.feed(1, first=1)
    assert one.recorder.refused == {"a": 1, "b": 0, "img": 1}
    assert "cannot reshape array of size 7" in caplog.text
    assert len(one.recorder) == 1


def test_shuffled_arrivals_give_the_same_rows(fed):
    generator = random.Random(3)
    expected = None
    for _ in range(3):
        one = fed("a", "b", "c", maxlen=200, matching_maxlen=200)
        waiting = {name: list(range(60)) for name in "abc"}
        waiting["b"].remove(17)
        came = Counter(one.recorder.new_row)
        while any(waiting.values()):
            name = generator.choice([name for name in waiting if waiting[name]])
            one.push(waiting[name].pop(0), only=(name,))
        came.wait_for(59)
        one.recorder.stop()
        found = [one.recorder.data[name].tolist() for name in ("time_ns", "a", "b", "c")]
        expected = expected or found
        assert found == expected
        assert 17 not in found[1]
        assert {name: one.recorder.unmatched[name].n for name in "abc"} == {"a": 1, "b": 0, "c": 1}


def test_the_reference_makes_the_rows(fed):
    one = fed("fast", "slow", maxlen=50, reference="slow", timestamp_threshold=0.001)
    for k in range(100):
        one.channels["fast"].push(k, START_NS + k * 10**6)
        if k % 10 == 0:
            one.channels["slow"].push(k, START_NS + k * 10**6)
    one.recorder.stop()
    assert one.recorder.data["slow"].tolist() == one.recorder.data["fast"].tolist() == list(range(0, 100, 10))


def test_ids_match_whatever_the_stamps(fed):
    one = fed("a", "b", maxlen=50, match="id", id_mask=0x1FFFF)
    for pulse in range(1000, 1010):
        one.channels["a"].push(pulse, (START_NS & ~0x1FFFF) + pulse)
        one.channels["b"].push(pulse, (START_NS & ~0x1FFFF) + (pulse << 20) + pulse)
    one.recorder.stop()
    assert one.recorder.data["a"].tolist() == one.recorder.data["b"].tolist() == list(range(1000, 1010))
    assert json.loads(json.dumps(one.recorder.snapshot().attributes["match"])) == "id"


class ById(Channel):
    """A channel whose updates have ids."""

    def open(self, deliver):
        self.deliver = deliver

    def close(self):
        pass


def test_an_update_without_an_id_is_refused_where_ids_match():
    channels = {name: ById(name) for name in "ab"}
    with Recorder(channels, match="id", maxlen=5) as recorder:
        for name in "ab":
            channels[name].deliver.sample(1.0, START_NS, id=7)
            channels[name].deliver.sample(2.0, START_NS + 1)
    assert recorder.data["a"].tolist() == [1]
    assert recorder.refused == {"a": 1, "b": 1}


def test_values_with_the_alarm_invalid_are_not_matched():
    channels = {name: ById(name) for name in "ab"}
    with Recorder(channels, maxlen=5) as recorder:
        for name in "ab":
            channels[name].deliver.sample(1.0, START_NS, quality=3)
            channels[name].deliver.sample(2.0, START_NS + 10**9, quality=2)
    assert recorder.data["a"].tolist() == [2]
    assert recorder.refused["a"] == 1


def test_starting_and_stopping_is_idempotent_and_data_stay(fed):
    one = fed(maxlen=10)
    recorder = one.recorder
    for _ in range(20):
        recorder.start()
        recorder.start()
        recorder.stop()
        recorder.stop()
    assert not recorder.is_running
    one.push(0)  # nothing is open
    recorder.start()
    one.feed(2, first=5)
    recorder.stop()
    assert recorder.data["a"].tolist() == [5, 6]
    assert set(recorder.states.values()) == {State.ENDED}
    assert recorder.wait(1)


def test_signals_come_once_each_in_the_recorders_thread_and_may_call_everything(fed):
    one = Fed("a", "b", maxlen=3)
    recorder, heard, threads = one.recorder, [], set()

    def note(name):
        def hear(*arguments):
            heard.append((name, *arguments))
            threads.add(threading.current_thread())
            assert len(recorder.data["a"]) == len(recorder)

        return hear

    for name in ("started", "finished", "stopped", "filled", "new_row"):
        getattr(recorder, name).connect(note(name))
    recorder.start()
    one.feed(5)
    recorder.clear()
    one.feed(3, first=10)
    recorder.stop()
    rows = [("new_row", min(k, 2)) for k in range(5)]
    rows.insert(3, ("filled",))
    again = [("new_row", 0), ("new_row", 1), ("new_row", 2), ("filled",)]
    assert heard == [("started",), *rows, *again, ("finished",), ("stopped",)]
    assert threading.current_thread() not in threads
    assert len(threads) == 1


def test_a_slot_may_stop_and_start_the_recorder_and_one_that_raises_stops_nothing(fed, caplog):
    one = fed("a", "b", maxlen=2)
    recorder, stopped = one.recorder, threading.Event()

    def on_filled():
        recorder.stop()
        recorder.start()
        recorder.stop()
        stopped.set()
        raise RuntimeError("of a slot")

    recorder.filled.connect(on_filled)
    one.push(0)
    one.push(1)
    assert stopped.wait(60)
    recorder.stop()
    wait_for(lambda: "a slot of the signal 'filled' failed" in caplog.text)
    recorder.start()
    one.feed(1, first=2)
    assert recorder.data["a"].tolist() == [1, 2]


@pytest.fixture
def never_silent(monkeypatch):
    """Rates are known, however long ago the last event was."""
    monkeypatch.setattr(rates, "SILENT_S", 1000.0)


@pytest.mark.usefixtures("never_silent")
def test_clearing_forgets_updates_that_wait_too(fed):
    one = fed(maxlen=5)
    one.push(0, only=("a",))
    one.push(1, only=("a",))
    wait_for(lambda: one.recorder.rate["a"] > 0)
    one.recorder.clear()
    one.push(1, only=("b",))
    one.feed(1, first=2)
    assert one.recorder.data["a"].tolist() == [2]
    one.recorder.clear()
    assert len(one.recorder) == 0
    assert not one.recorder.full


@pytest.mark.usefixtures("never_silent")
def test_waiting_ends_when_it_is_full_or_stopped(fed):
    one = fed(maxlen=2)
    assert one.recorder.wait(0.01) is False
    one.feed(2)
    assert one.recorder.wait(60) is True
    assert one.recorder.is_running
    assert one.recorder.rate["a"] > 0
    assert list(one.recorder.rate) == ["a", "b", "Total"]
    assert one.recorder.rate.rate("Total") > 0


def test_a_shift_moves_a_column_until_it_is_changed_and_is_estimated(fed):
    one = fed("a", "b", image={}, maxlen=60)
    recorder = one.recorder
    came = Counter(recorder.new_row)
    values = np.random.default_rng(0).uniform(0, 100, 70)
    for k in range(70):
        stamp = START_NS + k * PERIOD_NS
        one.channels["a"].push(values[k], stamp)
        one.channels["b"].push(2 * values[k - 3] if k >= 3 else 0.0, stamp)
        image = np.zeros(SHAPE)
        top = int(values[k - 2] / 4) if k >= 2 else 0
        image[top : top + 6, 10:20] = 1
        one.channels["img"].push(image, stamp)
    came.wait_for(70)
    assert recorder.estimate_shift("b", "a") == -3
    assert recorder.estimate_shift("img", "a") == -2
    recorder.shift("b", -3)
    assert recorder.estimate_shift("b", "a") == -3
    assert recorder.estimate_shift("a", "b") == 0
    assert len(recorder) == 57
    np.testing.assert_array_equal(recorder.data["b"], 2 * recorder.data["a"])
    assert recorder.data["a"].tolist() == values[10:67].tolist()
    assert recorder.data[-1]["b"] == 2 * recorder.data[-1]["a"] == 2 * values[66]
    recorder.shift("img", -2)
    np.testing.assert_array_equal(recorder.data["img centre"]["x"], recorder.data["a"] // 4 + 2.5)
    recorder.clear()
    one.feed(10, first=100)
    assert len(recorder) == 7
    recorder.shift("b", 0)
    recorder.shift("img", 0)
    assert len(recorder) == 10
    with pytest.raises(ArgumentError, match="'c' is no column of this recorder; there are a, b, img"):
        recorder.shift("c", 1)
    with pytest.raises(ArgumentError, match="whole number of rows"):
        recorder.shift("b", 1.5)


def test_what_does_not_match_is_counted_and_explained(fed, caplog):
    one = fed("a", "b", maxlen=5, timestamp_threshold=0.001)
    for k in range(60):
        one.channels["a"].push(k, START_NS + k * 20 * 10**6)
        one.channels["b"].push(k, START_NS + k * 20 * 10**6 + 5 * 10**6)
    one.recorder.stop()
    found = one.recorder.unmatched["b"]
    assert found.n == one.recorder.updates["b"] == 60
    assert found.differences.shift_s == pytest.approx(0.005)
    assert found.differences.threshold_s > 0.005
    assert found.differences.counts.sum() == found.differences.n
    assert "'b' is +0.005000 s off 'a' all the time: clock_offset_s=-0.005000" in one.recorder.why
    assert one.recorder.unmatched["a"].differences.n == 0


def test_nothing_that_matches_for_5_s_is_a_warning_once(fed, caplog):
    one = fed("a", "b", maxlen=5)
    one.push(0, only=("a",))
    with caplog.at_level(logging.WARNING):
        wait_for(lambda: "nothing has matched for 5 s" in caplog.text)
    assert "no update of 'b' has come (connecting)" in caplog.text
    assert caplog.text.count("nothing has matched") == 1


def test_compat_gives_slots_counts_and_numbers_of_the_neighbour(fed):
    one = fed("a", "b", image={}, maxlen=4, compat=True)
    recorder = one.recorder
    assert recorder.data["a"].tolist() == [0, 0, 0, 0]
    assert recorder.data["img"].tolist() == [0, 0, 0, 0]
    one.feed(3)
    assert (len(recorder), recorder.index, recorder.full) == (3, 3, False)
    assert recorder.data["valid"].tolist() == [3, 3, 3, 0]
    one.feed(3, first=3)
    assert (len(recorder), recorder.index, recorder.full) == (4, 2, True)
    assert recorder.data["a"].tolist() == [4, 5, 2, 3]
    region, start = recorder.data["img"][0], recorder.data["img start"]
    assert start.dtype == np.dtype([("x", "u2"), ("y", "u2")])
    whole = image_of(4).reshape(SHAPE)
    x, y = start[0]
    assert (region == whole[x : x + region.shape[1], y : y + region.shape[0]].T).all()
    assert recorder.data[0]["timestamp"] == (START_NS + 4 * PERIOD_NS) / 1e9


def test_compat_makes_a_row_of_two_updates_of_one_channel_as_the_neighbour(fed):
    one = fed("a", "b", maxlen=4, compat=True)
    came = Counter(one.recorder.new_row)
    one.channels["a"].push(1.0, START_NS)
    one.channels["a"].push(2.0, START_NS + 10**6)
    came.wait_for(1)
    assert (one.recorder.data["a"][0], one.recorder.data["b"][0]) == (2, 0)


def test_the_offset_of_a_clock_is_given_or_found():
    now_ns = time.time_ns()
    channels = {
        "a": ById("a"),
        "moved": ById("moved", clock_offset_s=-3.25),
        "found": ById("found", clock="fit"),
        "late": ById("late", stamp="arrival", latency_s=0.1),
    }
    with Recorder(channels, maxlen=50, timestamp_threshold=0.004) as recorder:
        for k in range(50):
            stamp, monotonic = now_ns + k * 20 * 10**6, time.monotonic_ns() + now_ns - time.time_ns() + k * 20 * 10**6
            channels["a"].deliver.sample(k, stamp, arrival_ns=monotonic)
            channels["moved"].deliver.sample(k, stamp + 3_250_000_000, arrival_ns=monotonic)
            channels["found"].deliver.sample(k, stamp - 7_000_000_000, arrival_ns=monotonic)
            channels["late"].deliver.sample(k, stamp - 10**12, arrival_ns=monotonic + 10**8)
    assert recorder.data["a"].tolist() == list(range(50))
    for name in channels:
        assert (recorder.data[name] == recorder.data["a"]).all()


# ---- what is refused ----


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        ({}, ArgumentError, "needs at least one channel"),
        ({"channels": {"a": None}, "maxlen": 0}, ArgumentError, "maxlen must be a whole number of rows > 0, got 0"),
        ({"channels": {"a": None}, "maxlem": 5}, UnknownKeyword, r"did you mean maxlen\?"),
        ({"channels": {"a": 5}}, ArgumentError, "is neither a keyword of a recorder nor a channel"),
        ({"channels": {"a": {"shap": [1, 2]}}}, UnknownKeyword, r"no option 'shap' \(did you mean shape\?\)"),
        ({"channels": {"a": {"shape": [0, 2]}}}, ArgumentError, r"shape must be \[rows, columns\]"),
        ({"channels": {"a": {"threshold": 1}}}, ArgumentError, "threshold must be from 0 to below 1"),
        ({"channels": {"a": {"expand": 5}}}, ArgumentError, "expand must be two numbers"),
        ({"channels": {"a": None}, "reference": "b"}, ArgumentError, "reference 'b' is no channel of this recorder"),
        ({"channels": {"a": None}, "a": None}, ArgumentError, "given twice"),
        ({"channels": {"a": {}, "a start": CallbackChannel("a start")}}, ArgumentError, "column 'a start' already"),
        ({"channels": {"timestamp": None}}, ArgumentError, "rows have a column 'timestamp' already"),
        ({"channels": {"a": None}, "match": "name"}, ArgumentError, "match must be 'time' or 'id'"),
        ({"channels": {"a": None}, "id_mask": 1}, ArgumentError, "id_mask is for match='id'"),
        ({"channels": {"a": None}, "compat": True, "match": "id"}, ArgumentError, "compat=True matches by time"),
        ({"channels": {"a": None}, "timestamp_threshold": -1}, ArgumentError, "must be >= 0 s"),
        ({"channels": {"a": SimulatedChannel("a", clock="gps")}}, ArgumentError, "in a recorder it can be 'given'"),
        ({"channels": ["a"]}, ArgumentError, "channels must be a mapping"),
        ({"channels": {"a": SimulatedChannel("b")}}, ArgumentError, "give both the same name"),
    ],
)
def test_what_makes_no_recorder_is_refused(keywords, error, words):
    with pytest.raises(error, match=words):
        Recorder(**keywords)


def test_keywords_and_tables_are_channels_too():
    recorder = Recorder(
        maxlen=3,
        **{"T:img": {"shape": [4, 5]}, "r": "sim:ramp", "spot": {"source": "sim:spot", "shape": [64, 48]}},
    )
    assert [one.channel.description for one in recorder._inputs] == ["ca:T:img", "sim:ramp", "sim:spot"]
    assert recorder._inputs[0].image.shape == (4, 5)
    assert recorder.reference == "T:img"


def test_a_channel_that_cannot_be_opened_leaves_nothing_open():
    class Broken(ById):
        def open(self, deliver):
            raise ChannelError("no such device")

    first = SimulatedChannel("a", "ramp")
    recorder = Recorder({"a": first, "b": Broken("b")})
    with pytest.raises(ChannelError, match="no such device"):
        recorder.start()
    assert not recorder.is_running
    assert first._thread is None
    recorder.stop()


def test_simulated_spots_are_recorded_beside_a_scalar():
    channels = {"a": SimulatedChannel("a", "clock", rate=120), "img": SimulatedChannel("img", "spot", rate=120)}
    with Recorder(channels, maxlen=20, timestamp_threshold=0.004) as recorder:
        assert recorder.wait(60)
    row = recorder.data[-1]
    assert abs(row["a"] - row["timestamp"] % 86400) < 1e-5
    whole = spot(row["timestamp"], (64, 48))
    assert abs(row["img centre"]["x"] - np.average(np.arange(64), weights=whole.sum(1) - whole.sum(1).min())) < 3
