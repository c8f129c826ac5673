"""Whether worker processes do each batch once, whatever happens to them."""

import os
import signal

import pytest

from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.events import Event, StreamData
from openhsi_shared.analysis.parameters import Parameters
from openhsi_shared.analysis.streams.capture_writing import CaptureWriter
from openhsi_shared.analysis.streams.captures import CaptureSource
from openhsi_shared.analysis.work.batches import Batches
from openhsi_shared.analysis.work.workers import Crew
from tests.analysis.pairs_for_replay import Reducer, Worker

N = 41


def test_each_batch_arrives_once_whichever_is_killed_and_the_first_event_before_all_others(tmp_path):
    path = tmp_path / "a.cbors"
    with CaptureWriter(path) as writer:
        for k in range(N):
            writer.write(Event(k, {"s": StreamData("raw", [bytes([k, 1])])}))
    pair, source = Pair.of(Worker, Reducer), CaptureSource(path)
    batches, found, killed = Batches(source.ranges(), size=4), [], set()
    crew = Crew(pair, source, 2, {}, Parameters(pair.described))
    try:
        crew.wait_ready()
        while not batches.is_ended or crew.n_waiting:
            while not batches.is_ended and crew.n_free:
                crew.submit(batches.next(lambda _number: 0))
            new = crew.wait(60)
            assert new, "nothing is done"
            found += new
            if len(killed) < 4 and not killed & set(crew.workers.values()):  # whatever they are doing
                for pid in crew.workers.values():
                    os.kill(pid, signal.SIGKILL)
                killed |= set(crew.workers.values())
        assert sorted(one.number for one in found) == list(range(batches.n_batches))
        assert found[0].number == 0
        assert [n for one in sorted(found, key=lambda one: one.number) for n, _ in one.results] == [
            n for n in range(N) if n % 5 != 3
        ]
        assert not any(one.failures for one in found)
        assert len(killed) in (2, 4)
    finally:
        crew.close()


class Unpicklable:
    """Cannot be sent to another process."""

    def __reduce__(self):
        raise ZeroDivisionError("of the test")


@pytest.mark.parametrize("is_large", [False, True])
def test_what_cannot_be_sent_to_a_worker_is_raised_at_once_and_its_process_is_not_taken_for_hung(tmp_path, is_large):
    path = tmp_path / "a.cbors"
    with CaptureWriter(path) as writer:
        writer.write(Event(0, {"s": StreamData("raw", [b"x"])}))
    pair = Pair.of(Worker, Reducer)
    crew = Crew(pair, CaptureSource(path), 1, {}, Parameters(pair.described))
    try:
        crew.wait_ready()
        with pytest.raises(ZeroDivisionError, match="of the test"):
            crew._send(crew._workers[0], Unpicklable(), is_large=is_large)
        assert crew.n_replaced == 0
    finally:
        crew.close()
