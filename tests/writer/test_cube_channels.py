"""Channels in the files of cubes, one after the other: no hole, exact counts, and never a cube that is lost."""

import time

import numpy as np
import pytest

from openhsi_shared import ProcessRawDatacube, SharedSimulatedCamera, match_channels, open_cube, recover, verify
from openhsi_shared.buffers.samples import SampleView
from openhsi_shared.buffers.times import Anchor, read_anchor
from openhsi_shared.channels.properties import Field
from openhsi_shared.channels.raw_series import raw_series
from openhsi_shared.columns import COLUMNS
from openhsi_shared.files import CubeWriter
from openhsi_shared.files.dumping import write_dump
from openhsi_shared.line_times import UNKNOWN_TIME_NS
from openhsi_shared.matching import State
from openhsi_shared.writer.cube_channels import MAX_WAIT_S, CubeChannels
from tests.support.channels import BEGIN, MS, S, deliver, every, kind_of, properties, seconds_of
from tests.support.cubes import make_cube
from tests.support.flow import COUNTING, cubes_in, processes_in, run
from tests.support.helpers import wait_for

ANCHOR = Anchor(BEGIN, 0)


@pytest.fixture
def kind():
    return _kind(properties("a"), properties("slow", [Field("value", how="previous")]))


def _kind(*channels, anchor=ANCHOR, **more):
    made = kind_of(*channels, **more)
    object.__setattr__(made.memory, "anchor", anchor)
    return made


def lines(begin_s, end_s):
    return every(2, BEGIN + round(begin_s * S), BEGIN + round(end_s * S))


def deliver_until(kind, end_s, name="a", period_ms=10, **how):
    """Deliver what is new until `end_s`."""
    done = kind.memory.view(name).counts.delivered
    times = every(period_ms, BEGIN, BEGIN + round(end_s * S))[done:]
    deliver(kind.memory, name, times, **how)


def attributes_of(found, name):
    return found.groups["channels"].groups[name].attributes


def times_in(found, name):
    return found.groups["channels"].groups[name].variables["time"].data


def save(found, times, directory):
    columns = {"time_ns": times, **found.columns}
    described = (*COLUMNS, *found.descriptions)
    cube = make_cube(
        len(times), columns=columns, column_descriptions=described, groups=found.groups, attributes=found.attributes
    )
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype) as writer:
        return writer.write(cube, [directory], picture=False).path


def test_files_have_all_samples_and_each_reaches_back_before_its_first_line(kind, tmp_path):
    channels, seen = CubeChannels(kind), []
    for number, (begin_s, end_s) in enumerate([(5, 6), (6, 7.5), (9.25, 10)], 1):
        deliver_until(kind, end_s + 0.005)
        deliver_until(kind, end_s, "slow", 700)
        times = lines(begin_s, end_s)
        found = channels.of_cube(number, times, ANCHOR, 1.0)
        path = save(found, times, tmp_path)
        assert verify(path).problems == ()
        channels.note_saved(number, path)
        assert np.abs(found.columns["a"] - seconds_of(times))[:-5].max() < 1e-9
        assert (np.isnan(found.columns["a"]) == (found.columns["a_state"] == State.EDGE)).all()
        assert found.columns["slow"].tolist() == seconds_of((times - BEGIN) // (700 * MS) * 700 * MS + BEGIN).tolist()
        stamps = times_in(found, "a")
        assert (stamps[:2] < times[0]).all()
        seen.append((attributes_of(found, "a"), stamps))
    first = seen[0][0]
    assert (first["first_sample"], first["n_delivered"], first["n_delivered_total"]) == (498, 601, 601)
    every_stamp = np.unique(np.concatenate([stamps for _, stamps in seen]))
    assert (np.diff(every_stamp) == 10 * MS).all(), "also between the second cube and the third"
    assert sum(about["n_delivered"] for about, _ in seen) == seen[-1][0]["n_delivered_total"]
    assert all(about["n_overwritten"] == 0 for about, _ in seen)


def test_another_writer_continues_where_the_first_one_has_died(kind, tmp_path):
    deliver_until(kind, 6.0)
    first = CubeChannels(kind)
    times = lines(5, 6)
    path = save(first.of_cube(1, times, ANCHOR, None), times, tmp_path)
    deliver_until(kind, 7.0)
    second = CubeChannels(kind)
    second.note_saved(1, path)  # the first one died between the file and its answer
    found = second.of_cube(2, lines(6, 7), ANCHOR, None)
    assert attributes_of(found, "a")["n_delivered"] == 100
    third = CubeChannels(kind)
    again = third.of_cube(2, lines(6, 7), ANCHOR, None)
    for name, column in found.columns.items():
        assert np.array_equal(column, again.columns[name], equal_nan=True)
    assert attributes_of(again, "a") == attributes_of(found, "a")


def test_a_cube_that_is_saved_after_later_ones_takes_no_sample_from_them(kind, tmp_path):
    channels = CubeChannels(kind)
    deliver_until(kind, 7.0)
    channels.note_saved(2, save(channels.of_cube(2, lines(6, 7), ANCHOR, None), lines(6, 7), tmp_path))
    held = channels.of_cube(1, lines(5, 6), ANCHOR, None)
    assert np.abs(held.columns["a"] - seconds_of(lines(5, 6))).max() < 1e-9
    assert attributes_of(held, "a")["n_delivered"] == 0
    assert attributes_of(held, "a")["first_sample"] == 498


def test_samples_that_were_overwritten_before_they_were_saved_are_counted_and_logged(tmp_path, caplog):
    kind = _kind(properties("a"), capacity=150)
    channels, counts = CubeChannels(kind), []
    for number, end_s in enumerate((1.0, 5.0, 6.0), 1):
        deliver_until(kind, end_s)
        times = lines(end_s - 1, end_s)
        found = channels.of_cube(number, times, ANCHOR, None)
        channels.note_saved(number, save(found, times, tmp_path))
        counts.append([attributes_of(found, "a")[f"n_overwritten{which}"] for which in ("", "_total")])
    assert counts == [[0, 0], [250, 250], [0, 250]]
    assert "250 samples were overwritten before they were saved" in caplog.text


def test_a_ring_that_does_not_reach_back_to_the_first_line_says_so_in_the_first_file(caplog):
    kind = _kind(properties("a"), capacity=50)
    deliver_until(kind, 6.0)
    found = CubeChannels(kind).of_cube(1, lines(5, 6), ANCHOR, None)
    assert attributes_of(found, "a")["n_overwritten"] == 550
    is_known = lines(5, 6) >= BEGIN + 5500 * MS
    assert (np.isnan(found.columns["a"]) == ~(is_known & (lines(5, 6) <= BEGIN + 5990 * MS))).all()


def test_samples_that_were_overwritten_before_the_first_line_belong_to_no_file():
    kind = _kind(properties("a"), capacity=200)
    deliver_until(kind, 6.0)
    found = CubeChannels(kind).of_cube(1, lines(5, 6), ANCHOR, None)
    assert [attributes_of(found, "a")[name] for name in ("first_sample", "n_overwritten")] == [498, 0]


def test_refused_and_squashed_samples_are_those_since_the_file_before(kind, tmp_path):
    channels, ring = CubeChannels(kind), kind.memory.ring("a")
    for number, (n_refused, n_squashed) in enumerate([(3, 1), (2, 5)], 1):
        ring.refuse(n_refused)
        ring.squash(n_squashed)
        deliver_until(kind, number)
        times = lines(number - 1, number)
        found = channels.of_cube(number, times, ANCHOR, None)
        channels.note_saved(number, save(found, times, tmp_path))
    about = attributes_of(found, "a")
    assert [about[f"n_{what}"] for what in ("refused", "refused_total", "squashed", "squashed_total")] == [2, 5, 5, 6]


def test_a_clock_that_was_set_between_two_cubes_moves_times_of_arrival_with_it(kind):
    channel = _kind(properties("a", stamp="arrival", latency_s=0.005))
    deliver_until(channel, 7.0)
    later = Anchor(BEGIN + 3600 * S, 0)
    times = lines(5, 6)
    found = CubeChannels(channel).of_cube(1, times + 3600 * S, later, None)
    assert np.abs(found.columns["a"] - seconds_of(times)).max() < 1e-9
    states = attributes_of(found, "a")["states"]
    assert str(BEGIN - S + 3600 * S) in states


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param({"function": lambda _: np.nan}, id="NaN"),
        pytest.param({"function": lambda _: np.inf}, id="infinite"),
        pytest.param({"ahead_ns": -BEGIN - 5 * S}, id="stamps of 1970"),
        pytest.param({"ahead_ns": 2**62}, id="stamps of the year 2100"),
        pytest.param({"ahead_ns": -(2**62)}, id="stamps of 1877"),
        pytest.param({"lag_ns": -(10**15)}, id="arrival before the stamp"),
        pytest.param({"quality": -(2**62)}, id="impossible quality"),
    ],
)
def test_no_sample_costs_a_cube_or_another_channel(spoil, tmp_path):
    clocks = {f"by_{clock}": properties(f"by_{clock}", clock=clock) for clock in ("given", "fit", "good")}
    kind = _kind(*clocks.values(), properties("good"))
    for name in clocks:
        deliver_until(kind, 6.0, name, **spoil)
    deliver_until(kind, 6.1, "good")
    times = lines(5, 6)
    found = CubeChannels(kind).of_cube(1, times, ANCHOR, 1.0)
    path = save(found, times, tmp_path)
    assert verify(path).problems == ()
    with open_cube(path) as cube:
        assert np.abs(cube.column("good") - seconds_of(times)).max() < 1e-9
        assert all(len(series.variables["time"].data) for series in cube.channels.values())


def test_what_cannot_be_matched_is_said_in_the_file_and_in_the_log(kind, tmp_path, caplog, monkeypatch):
    impossible = Field("value", kind="flags")
    object.__setattr__(impossible, "how", "linear")
    reserved = properties("b", ["b"])
    object.__setattr__(reserved, "name", "string5")
    bad = _kind(properties("a", [impossible]), reserved, *map(properties, "cd"))
    for name in ("a", "string5", "c", "d"):
        deliver_until(bad, 6.0, name)
    times = lines(5, 6)
    found = CubeChannels(bad).of_cube(1, times, ANCHOR, None, taken=("c_age",))
    path = save(found, times, tmp_path)
    assert verify(path).problems == ()
    with open_cube(path) as cube:
        assert "how='linear' is impossible for kind='flags'" in cube.attributes["channels_failed"]
        assert "this camera has a column 'c_age' already" in cube.attributes["channels_failed"]
        assert "'string5' is reserved for the length of texts" in cube.attributes["channels_failed"]
        assert {"d", "d_age", "d_state"} <= set(cube.dataset.variables)
        assert {"a", "c"}.isdisjoint(cube.dataset.variables)
        assert {"a", "c", "d"} == set(cube.channels), "raw series can be matched in another way"
    assert "cube 1: channel 'a' is not, or not completely, in the file" in caplog.text

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(SampleView, "snapshot", fail)
    found = CubeChannels(kind).of_cube(1, times, ANCHOR, None)
    assert (found.columns, found.groups) == ({}, {})
    assert found.attributes["channels_failed"] == {"a": "MemoryError: ", "slow": "MemoryError: "}


def test_lines_without_time_have_no_values(kind):
    deliver_until(kind, 6.0)
    times = lines(5, 6)
    times[::2] = UNKNOWN_TIME_NS
    found = CubeChannels(kind).of_cube(1, times, ANCHOR, None)
    assert np.isnan(found.columns["a"][::2]).all()
    assert np.isfinite(found.columns["a"][1:-10:2]).all()


# ---- waiting for samples that are late -------------------------------------------------------


@pytest.fixture
def now():
    """A channel of this moment, 10 Hz and 200 ms late, and the time of its last sample."""
    anchor = read_anchor()
    kind = _kind(properties("a"), anchor=anchor)
    times = anchor.wall_ns + np.arange(-20, 1) * 100 * MS
    deliver(kind.memory, "a", times, lag_ns=200 * MS)
    return kind, anchor, int(times[-1])


def test_a_sample_that_is_late_is_waited_for(now):
    kind, anchor, newest = now
    passed = []

    def come(_=None):
        passed.append(1)
        if len(passed) == 3:
            deliver(kind.memory, "a", [newest + 100 * MS], lag_ns=200 * MS)

    CubeChannels(kind).wait_for_late(np.array([newest + 50 * MS]), anchor, lambda: True, come)
    assert len(passed) == 3


@pytest.mark.parametrize(
    ("may_wait", "line_ms", "state"),
    [
        pytest.param(False, 50, State.GOOD, id="no room"),
        pytest.param(True, -50, State.GOOD, id="all is there"),
        pytest.param(True, 50, State.LOST, id="the source is gone"),
        pytest.param(True, 50, State.ENDED, id="the source has ended"),
    ],
)
def test_nothing_is_waited_for_in_vain(now, may_wait, line_ms, state):
    kind, anchor, newest = now
    if state != State.GOOD:
        kind.memory.ring("a").note_state(newest, state)
    CubeChannels(kind).wait_for_late(np.array([newest + line_ms * MS]), anchor, lambda: may_wait, pytest.fail)


def test_waiting_ends_when_the_room_does(now):
    kind, anchor, newest = now
    passed = []
    channels = CubeChannels(kind)
    channels.wait_for_late(np.array([newest + 50 * MS]), anchor, lambda: len(passed) < 2, lambda: passed.append(1))
    assert len(passed) == 2


def test_waiting_has_an_end(now):
    kind, anchor, newest = now
    asked = []

    def may_wait():
        asked.append(time.monotonic())
        return len(asked) < 100

    CubeChannels(kind).wait_for_late(np.array([newest + 50 * MS]), anchor, may_wait, lambda: None)
    assert len(asked) < 100, f"its period and its lag have passed, and {MAX_WAIT_S} s have not"


# ---- real cameras and writers ----------------------------------------------------------------


def seconds_of_day(times_ns):
    return (np.asarray(times_ns) % (86400 * S)) / S


def check_flight(directory, n_cubes):
    """Every value of every file, and that each sample of the channel is in a file."""
    paths = sorted(directory.rglob("*.nc"))
    indices, totals = [], []
    for path in paths:
        assert verify(path).problems == ()
        with open_cube(path) as cube:
            assert "channels_failed" not in cube.attributes
            known = cube.column("tick_state") == State.GOOD
            assert known.any()
            assert np.abs(cube.column("tick") - seconds_of_day(cube.times_ns))[known].max() < 1e-5
            about = cube.channels["tick"].attributes
            first = about["first_sample"]
            indices += range(first, first + len(cube.channels["tick"].variables["time"].data))
            totals.append((about["n_delivered"], about["n_delivered_total"]))
            assert cube.attributes["host_clock"] in ("synchronised", "not synchronised", "unknown")
    assert len(paths) == n_cubes
    assert sorted(set(indices)) == list(range(min(indices), max(indices) + 1)), "no sample is missing between files"
    assert sum(n for n, _ in totals) == max(total for _, total in totals), "each sample is counted once"


@pytest.mark.parametrize("point", ["written", "published"])
def test_a_writer_that_is_killed_loses_no_sample_and_counts_none_twice(point, tmp_path, monkeypatch):
    (tmp_path / "marks").mkdir()
    monkeypatch.setenv("OPENHSI_SHARED_FAULT", f"{point}:kill:1")
    monkeypatch.setenv("OPENHSI_SHARED_FAULT_MARKS", str(tmp_path / "marks"))
    with SharedSimulatedCamera(**COUNTING, n_lines=40, rate=400, channels={"tick": TICK}, n_buffers=4) as camera:
        for _ in range(3):
            camera.collect()
            handle = camera.save(tmp_path / "out", savefig=False)
        handle.result()
    assert len(list((tmp_path / "marks").iterdir())) == 1
    check_flight(tmp_path / "out", 3)


def test_cubes_that_are_rescued_after_the_death_of_the_program_have_their_samples(tmp_path):
    code, output, _ = run(DYING, tmp_path)
    assert (code, output) == (-9, "")
    wait_for(lambda: not processes_in(tmp_path))
    check_flight(tmp_path / "out", 3)
    assert [cube.attributes["recovered"] for cube in cubes_in(tmp_path / "out")] == [0, 0, 1]


TICK = "sim:clock,rate=500,how=linear"
DYING = f"""
from tests.support.flow import COUNTING
from openhsi_shared import SharedSimulatedCamera
import os, signal, time
def die(n, n_lines):
    if n == 30:
        os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    with SharedSimulatedCamera(**COUNTING, n_lines=40, rate=400, channels={{"tick": {TICK!r}}}) as camera:
        for _ in range(2):
            camera.collect()
            camera.save("out", savefig=False).result()
        camera.collect(die)
"""


def test_a_dump_has_the_channels_and_the_file_that_is_recovered_from_it(kind, tmp_path):
    deliver_until(kind, 6.1)
    times = lines(5, 6)
    found = CubeChannels(kind).of_cube(1, times, ANCHOR, None)
    described = (*COLUMNS, *found.descriptions)
    cube = make_cube(
        len(times), columns={"time_ns": times, **found.columns}, column_descriptions=described, groups=found.groups
    )
    write_dump(cube, [tmp_path])
    (path,) = recover(tmp_path).published
    assert verify(path).problems == ()
    with open_cube(path) as again:
        assert np.abs(again.column("a") - seconds_of(times)).max() < 1e-9
        assert again.dataset.a_state.attrs["flag_values"].dtype == np.int8
        series = raw_series("a", again.channels["a"], ANCHOR)
        assert series.properties == kind.properties["a"]
        assert (series.samples.time_ns == times_in(found, "a")).all()


def test_a_processed_cube_has_the_channels_of_its_source(kind, tmp_path):
    deliver_until(kind, 6.1)
    times = lines(5, 6)
    path = save(CubeChannels(kind).of_cube(1, times, ANCHOR, None), times, tmp_path)
    with ProcessRawDatacube(path, resolution=(5, 7), row_slice=(0, 5)) as camera:
        camera.collect()
        processed = camera.save(tmp_path / "processed", savefig=False).result().path
    assert verify(processed).problems == ()
    with open_cube(path) as source, open_cube(processed) as result:
        assert (source.column("a") == result.column("a")).all()
        before, after = source.dataset, result.dataset
        for name in ("a", "a_age", "a_state", "slow"):
            assert {key: str(value) for key, value in before[name].attrs.items()} == {
                key: str(value) for key, value in after[name].attrs.items()
            }
        assert list(result.channels) == ["a", "slow"]
        assert result.channels["a"].attributes == source.channels["a"].attributes
    assert np.allclose(match_channels(processed).a, match_channels(path).a)
