"""The process of the channels: it hosts sources, is replaced when it dies or hangs, and ends with its parent."""

import os
import signal
import threading
import time
from contextlib import closing, suppress

import numpy as np
import psutil
import pytest

from openhsi_shared.channels import CallbackChannel, Channel, PolledChannel, SimulatedChannel, State, channels_from
from openhsi_shared.channels import supervisor as module
from openhsi_shared.channels.attached import MAX_CAPACITY, AttachedChannels
from openhsi_shared.channels.supervisor import ChannelsSupervisor
from openhsi_shared.errors import ArgumentError, ChannelError, ClosedError, OpenHSIError
from tests.support.helpers import in_child, run_python, wait_for
from tests.support.process_faults import writers_of

TIMEOUT_S = 60.0


def supervised(**channels):
    return ChannelsSupervisor(channels_from(channels))


def children():
    return writers_of()  # they are of the same kind


def test_sources_run_in_a_process_of_their_own_and_pushes_in_the_user_s():
    pushed = CallbackChannel("pushed", "deg C")
    with closing(supervised(a="sim:clock,rate=500", b=PolledChannel("b", os.getpid, 0.01), pushed=pushed)) as channels:
        channels.start()
        channels.start()
        channels.wait_until_ready(TIMEOUT_S)
        pushed.push(3.5)
        found = channels.statuses()
        assert found["b"].value == channels.process_id
        assert (found["pushed"].value, found["pushed"].unit, found["pushed"].state) == (3.5, "degC", "good")
        assert found["a"].source == "sim:clock"
        samples = channels.memory.view("a").snapshot()
    assert np.allclose(samples.values[:, 0], samples.time_ns / 1e9 % 86400, atol=1e-4)
    lags_s = (samples.arrival_ns - samples.time_ns) / 1e9
    assert -0.01 < np.median(lags_s) < 1.0
    assert channels.statuses()["a"].state == "ended"
    pushed.push(4.5)
    assert channels.statuses()["pushed"].value == 3.5
    with pytest.raises(ClosedError):
        channels.start()


def test_another_process_gets_the_same_memory():
    with closing(supervised(a="sim:sine")) as channels:
        channels.start()
        channels.wait_until_ready(TIMEOUT_S)
        statuses = in_child(AttachedChannels.statuses, channels)
        assert statuses["a"].delivered > 0


def test_a_process_that_is_killed_at_any_moment_is_replaced_and_the_gap_is_noted(caplog):
    with closing(supervised(a="sim:clock,rate=1000")) as channels:
        channels.start()
        channels.wait_until_ready(TIMEOUT_S)
        view = channels.memory.view("a")
        for n in range(1, 4):
            before = view.counts.delivered
            os.kill(channels.process_id, signal.SIGKILL)
            wait_for(lambda n=n: channels.n_restarts == n, TIMEOUT_S)
            wait_for(lambda before=before: view.counts.delivered > before + 50, TIMEOUT_S)
        samples = view.snapshot()
    states = [state for _, state in samples.states]
    assert states.count(State.LOST) == 3
    assert states[:4] == [State.CONNECTING, State.GOOD, State.LOST, State.CONNECTING]
    assert np.array_equal(samples.values[:, 0].round(4), (samples.time_ns / 1e9 % 86400).round(4))
    gaps = np.flatnonzero(np.diff(samples.arrival_ns) > 2 * 10**7)  # of samples that come each ms
    lost_at = [time_ns for time_ns, state in samples.states if state is State.LOST]
    for time_ns in lost_at:
        assert any(samples.arrival_ns[gap] <= time_ns <= samples.arrival_ns[gap + 1] for gap in gaps)
    assert caplog.text.count("the channels have a gap") == 3


def test_a_process_that_hangs_is_replaced(monkeypatch):
    monkeypatch.setattr(module, "HANG_TIMEOUT_S", 2.0)
    with closing(supervised(a="sim:sine")) as channels:
        channels.start()
        channels.wait_until_ready(TIMEOUT_S)
        hung = children()[0]
        hung.send_signal(signal.SIGSTOP)
        wait_for(lambda: channels.n_restarts, TIMEOUT_S)
        wait_for(lambda: channels.statuses()["a"].state == "good", TIMEOUT_S)
        assert children()[0].pid != hung.pid


def test_if_the_thread_that_watches_fails_the_process_is_ended_and_its_channels_are_lost(monkeypatch, caplog):
    pushed = CallbackChannel("pushed")
    with closing(ChannelsSupervisor({**channels_from({"a": "sim:clock,rate=100"}), "pushed": pushed})) as channels:
        channels.start()
        channels.wait_until_opened()
        wait_for(lambda: channels.statuses()["a"].state == "good", TIMEOUT_S)
        child = psutil.Process(channels.process_id)
        monkeypatch.setattr(channels._starts, "note", lambda **_: 1 / 0)
        monkeypatch.setattr(channels._child, "receive", lambda _: module.GONE if channels._starts.note() else None)
        wait_for(lambda: channels.statuses()["a"].state == "lost", TIMEOUT_S)
        assert not child.is_running()
        with pytest.raises(ChannelError, match=module.FAILED) as caught:
            channels.wait_until_opened()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        n_delivered = channels.memory.view("a").counts.delivered
        pushed.push(1.0)
        assert channels.statuses()["pushed"].state == "good"
        assert channels.memory.view("a").counts.delivered == n_delivered
        wait_for(lambda: f"{module.FAILED}: ZeroDivisionError" in caplog.text)


class BrokenChannel(Channel):
    """Opens, fails or dies as it is told."""

    def __init__(self, name, how, **more):
        super().__init__(name, **more)
        self.how = how

    def open(self, deliver):
        match self.how:
            case "raise":
                raise ChannelError("not plugged in")
            case "die":
                os._exit(3)
            case "once":
                self.how = "work"
                raise OSError("not yet")
            case "work":
                deliver.sample(1.0)
            case "hang in close":
                threading.Thread(target=threading.Event().wait, args=(60,)).start()

    def close(self):
        if self.how == "hang in close":
            threading.Event().wait(60)


def test_a_required_source_that_cannot_be_opened_is_one_clear_error():
    with closing(supervised(a="sim:sine", bad=BrokenChannel("bad", "raise"))) as channels:
        channels.start()
        with pytest.raises(ChannelError, match=r"'bad' \(BrokenChannel\): not plugged in; with required=False"):
            channels.wait_until_ready(TIMEOUT_S)


def test_another_one_is_lost_and_tried_again():
    bad = BrokenChannel("bad", "raise", required=False)
    with closing(supervised(bad=bad, late=BrokenChannel("late", "once", required=False))) as channels:
        channels.start()
        channels.wait_until_ready(TIMEOUT_S)
        assert channels.statuses()["bad"].state == "lost"
        assert "not plugged in" in channels.statuses()["bad"].why
        wait_for(lambda: channels.statuses()["late"].state == "good", TIMEOUT_S)


def test_a_source_that_ends_its_process_whenever_it_is_opened_is_one_clear_error():
    with closing(supervised(bad=BrokenChannel("bad", "die"))) as channels:
        channels.start()
        with pytest.raises(ChannelError, match=r"exit code 3, 3 times before its sources were opened"):
            channels.wait_until_ready(TIMEOUT_S)


def test_a_source_that_does_not_close_and_its_threads_do_not_keep_the_process(caplog):
    with closing(supervised(a=BrokenChannel("a", "hang in close", required=False))) as channels:
        channels.start()
        channels.wait_until_ready(TIMEOUT_S)
    assert children() == []
    assert "is killed" not in caplog.text


def test_a_required_channel_that_is_silent_is_named_and_a_stop_ends_the_wait():
    def text():
        return "text"

    silent = SimulatedChannel("silent", script={0: "silence"})
    with closing(supervised(a="sim:sine", silent=silent, text=PolledChannel("text", text, 0.01))) as channels:
        channels.start()
        with pytest.raises(ChannelError) as raised:
            channels.wait_until_ready(2.0)
        told = str(raised.value)
        assert "'silent' (sim:sine, connecting)" in told
        assert "'text' (function:text, connecting, " in told
        assert "samples were refused: 'text' with time None: expected a number" in told
        assert "'a'" not in told
        channels.wait_for_first_samples(TIMEOUT_S, is_stopped=lambda: True)


def test_images_and_clashes_are_refused_before_anything_starts():
    with pytest.raises(ArgumentError, match="Recorder"):
        supervised(a="sim:spot")
    with pytest.raises(ArgumentError, match="'a_b'"):
        supervised(a=Channel("a", fields=["b"]), a_b="sim:sine")
    with pytest.raises(OpenHSIError, match="cannot be sent to another process"):
        supervised(a=PolledChannel("a", threading.Lock().acquire))


def test_100_000_samples_per_second_are_counted_exactly(monkeypatch):
    monkeypatch.setattr("openhsi_shared.channels.attached.MAX_CAPACITY", 1 << 12)
    pushed = CallbackChannel("pushed")
    with closing(supervised(pushed=pushed)) as channels:
        channels.start()
        for k in range(100_000):
            pushed.push(k, 10**18 + k)
        samples = channels.memory.view("pushed").snapshot()
        assert (samples.counts.delivered, len(samples), samples.first_index) == (100_000, 4096, 100_000 - 4096)
        assert np.array_equal(samples.values[:, 0], np.arange(100_000 - 4096, 100_000))
        assert channels.statuses()["pushed"].delivered == 100_000


def test_memory_is_for_the_time_of_all_slots_and_has_a_limit():
    channels = channels_from({"a": "sim:sine,rate=10", "b": "sim:sine,rate=1e6", "c": Channel("c")})
    memory = ChannelsSupervisor(channels, seconds=100.0).memory
    assert [layout.capacity for layout in memory.layouts] == [1200, MAX_CAPACITY, 120_000]


PROGRAM = """
import sys, time
from openhsi_shared.channels import channels_from
from openhsi_shared.channels.supervisor import ChannelsSupervisor
channels = ChannelsSupervisor(channels_from({"a": "sim:sine"}))
channels.start()
channels.wait_until_ready(60)
print(channels._child.pid, flush=True)
%s
"""


@pytest.mark.parametrize("end", ["os._exit(0)", "", "os.kill(os.getpid(), 9)"])
def test_it_ends_with_its_parent_however_that_ends(end):
    ended = run_python("-c", PROGRAM % f"import os; {end}")
    process_id = int(ended.stdout)

    def is_gone():
        with suppress(psutil.Error):
            return psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE
        return True

    wait_for(is_gone, TIMEOUT_S)


def test_ctrl_c_stays_with_the_program():
    with closing(supervised(a="sim:sine")) as channels:
        channels.start()
        channels.wait_until_ready(TIMEOUT_S)
        children()[0].send_signal(signal.SIGINT)
        before = channels.memory.view("a").counts.delivered
        wait_for(lambda: channels.memory.view("a").counts.delivered > before + 10, TIMEOUT_S)
        assert channels.n_restarts == 0


def test_what_a_source_logs_is_logged_here(caplog):
    def fails():
        raise OSError("no sensor")

    with closing(supervised(a=PolledChannel("a", fails, 0.01, required=False))) as channels:
        channels.start()
        wait_for(lambda: "'a' is lost: OSError: no sensor" in caplog.text, TIMEOUT_S)


def test_the_status_of_a_channel():
    pushed = CallbackChannel("pushed", fields=["x", "y"])
    with closing(supervised(pushed=pushed)) as channels:
        channels.start()
        before = channels.statuses()["pushed"]
        assert (before.delivered, before.state, np.isnan(before.age_s), before.rate) == (0, "connecting", True, 0.0)
        begun_s = time.time()
        for k in range(11):
            pushed.push([k, 2.0 * k], time.time() - 3.0)
        status = channels.statuses()["pushed"]
        assert status.value == {"x": 10.0, "y": 20.0}
        took_s = time.time() - begun_s
        assert 3.0 - 0.1 < status.lag_s < 3.0 + took_s + 0.1
        assert -3.0 - took_s - 0.1 < status.offset_s < -3.0 + 0.1
        assert status.rate > 10
        assert "10, 20, good" in str(status)
