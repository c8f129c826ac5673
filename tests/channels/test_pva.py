"""PVs of a real PVAccess server on loopback: nothing squashed, killed, restarted."""

import time
from collections.abc import Iterator

import cloudpickle
import numpy as np
import pytest

pytest.importorskip("p4p", reason="p4p is missing: pip install 'openhsi_shared[pva]'")

from openhsi_shared.channels.addresses import channel_from_text
from openhsi_shared.channels.pva import PvaChannel
from openhsi_shared.errors import ArgumentError
from openhsi_shared.line_times import UNKNOWN_TIME_NS
from openhsi_shared.matching.states import State
from openhsi_shared.testing import ChannelContract
from tests.channels.heard import Collected, heard
from tests.channels.servers import Server, p4p_server, running
from tests.support.helpers import wait_for

RATE = 500.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(p4p_server("P", rate=RATE, image_rate=30.0)) as one:
        yield one


class TestContract(ChannelContract):
    @pytest.fixture
    def channel(self, server: Server) -> PvaChannel:
        return PvaChannel("position", "P:a")


def test_values_have_the_servers_own_stamp_the_pvs_unit_and_their_tag_as_id(server: Server) -> None:
    with heard(PvaChannel("second", "P:a")) as found:
        samples = found.wait_for_samples(20)
        assert samples.values[1:, 0] == pytest.approx(samples.time_ns[1:] / 1e9 % 86400, abs=2e-6)
        assert found.description["unit"] == "s"
        assert (samples.id[1:] > 0).all()
        assert found.states == [State.CONNECTING, State.GOOD]


def test_with_a_queue_of_one_second_nothing_is_squashed(server: Server) -> None:
    with heard(PvaChannel("count", "P:c", rate=1000.0)) as found:
        counts = found.wait_for_samples(int(RATE)).values[1:, 0]
        assert (np.diff(counts) == 1).all()


@pytest.mark.parametrize(
    ("keywords", "size"),
    [
        ({}, 1000),
        ({"rate": 120.0}, 120),
        ({"rate": 0.5}, 4),
        ({"kind": "image"}, 20),
        ({"kind": "image", "rate": 120.0}, 120),
    ],
)
def test_the_queue_holds_one_second(keywords: dict[str, object], size: int) -> None:
    assert PvaChannel("one", "P:a", **keywords).queue_size == size


def test_an_enum_has_its_texts_and_no_stamp_means_none(server: Server) -> None:
    with heard(PvaChannel("lamp", "P:lamp")) as found:
        wait_for(lambda: len(found.samples))
        assert found.description["flags"] == ["off", "on"]
        assert found.samples.values.tolist() == [[1.0]]
        assert found.samples.time_ns.tolist() == [UNKNOWN_TIME_NS]
        assert found.description["has_no_stamp"] is True


def test_a_text_pv_is_refused_by_name(server: Server) -> None:
    with heard(PvaChannel("words", "P:text")) as found:
        found.wait_for_state(State.REFUSED)
        assert "'P:text' is text" in found.description["why"]


def test_several_elements_need_fields(server: Server) -> None:
    with heard(PvaChannel("xyz", "P:three", fields=["a", "b", "c"])) as found:
        wait_for(lambda: len(found.samples))
        assert found.samples.values.tolist() == [[1.0, 2.0, 3.0]]
    with heard(PvaChannel("xyz", "P:three")) as found:
        wait_for(lambda: found.samples.counts.refused)


def test_images_keep_shape_and_type_and_gaps_of_their_ids_are_counted(server: Server) -> None:
    channel, found = PvaChannel("image", "P:img", kind="image"), Collected()
    channel.open(found)
    wait_for(lambda: len(found.samples) >= 4)
    server.freeze()
    server.resume()
    channel.close()
    values, time_ns, number, _ = found.samples[-1]
    assert (values.shape, values.dtype) == ((48, 64), np.uint16)
    assert (values[0, 1], values[5, 5]) == (7, number)  # row 0, column 1
    assert abs(time_ns / 1e9 - time.time()) < 60
    missing = np.diff([number for _, _, number, _ in found.samples]) - 1
    assert missing[missing > 0].sum() == found.n_squashed


def test_images_that_are_squashed_are_counted_by_their_ids() -> None:
    with running(p4p_server("S", rate=1.0, image_rate=400.0, number=1)):
        channel, found = PvaChannel("image", "S:img", kind="image", rate=1.0), Collected(delay_s=0.05)
        channel.open(found)
        wait_for(lambda: len(found.samples) >= 12)
        channel.close()
    numbers = [number for _, _, number, _ in found.samples]
    assert found.n_squashed == numbers[-1] - numbers[0] - (len(numbers) - 1) > 0


def test_a_closed_channel_delivers_nothing_and_can_be_opened_again(server: Server) -> None:
    channel = PvaChannel("count", "P:c")
    with heard(channel) as found:
        found.wait_for_samples(2)
    n = found.samples.counts.delivered
    assert State.LOST not in found.states  # closing our own end is no death
    with heard(cloudpickle.loads(cloudpickle.dumps(channel))) as again:
        again.wait_for_samples(5)
    assert found.samples.counts.delivered == n


def test_an_unknown_pv_stays_connecting_and_is_named(server: Server) -> None:
    with heard(PvaChannel("nothing", "P:nowhere")) as found, heard(PvaChannel("count", "P:c")) as other:
        other.wait_for_samples(3)
        assert found.states == [State.CONNECTING]
        assert "'P:nowhere'" in found.description["why"]


def test_a_server_that_is_frozen_is_stalled_by_its_rate_and_lost_when_killed_and_found_again() -> None:
    with running(p4p_server("D", number=1)) as server, heard(PvaChannel("count", "D:c", rate=20.0)) as found:
        found.wait_for_samples(2)
        server.freeze()
        wait_for(lambda: found.deliver.watch() or found.view.state() is State.STALLED)
        server.resume()
        found.wait_for_state(State.GOOD)
        server.kill()
        found.wait_for_state(State.LOST)
        server.start()
        found.wait_for_state(State.GOOD, 60)
        found.wait_for_samples(3)
        assert found.states == [State.CONNECTING, State.GOOD, State.STALLED, State.GOOD, State.LOST, State.GOOD]


def test_addresses_of_pvs() -> None:
    assert channel_from_text("pva:HSI:temp", "temp").description == "pva:HSI:temp"
    with pytest.raises(ArgumentError, match="the name of a PV"):
        PvaChannel("temp", "two words")
