"""PVs of a real IOC of EPICS base and of a caproto IOC, on loopback: killed, frozen, restarted."""

import threading
import time
from collections.abc import Iterator

import cloudpickle
import numpy as np
import pytest

pytest.importorskip("epics", reason="epics is missing: pip install 'openhsi_shared[epics]'")

from openhsi_shared.channels.addresses import channel_from_text
from openhsi_shared.channels.epics import EpicsChannel
from openhsi_shared.channels.pva import PvaChannel
from openhsi_shared.errors import ArgumentError
from openhsi_shared.line_times import UNKNOWN_TIME_NS
from openhsi_shared.matching.states import State
from openhsi_shared.testing import ChannelContract
from tests.channels.heard import Collected, heard
from tests.channels.servers import Server, caproto_ioc, running, softioc
from tests.support.helpers import is_installed, run_python, wait_for

if not (is_installed("softioc") and is_installed("caproto")):  # never imported here: an IOC cannot be ended
    pytest.skip("softioc or caproto is missing: pip install softioc caproto", allow_module_level=True)


@pytest.fixture(scope="module")
def ioc() -> Iterator[Server]:
    with running(softioc("T", rate=20.0)) as server:
        yield server


@pytest.fixture(scope="module")
def caproto_server() -> Iterator[Server]:
    with running(caproto_ioc("C", rate=20.0)) as server:
        yield server


class TestContract(ChannelContract):
    @pytest.fixture
    def channel(self, ioc: Server) -> EpicsChannel:
        return EpicsChannel("position", "T:a")


def test_values_have_the_iocs_own_stamp_and_the_pvs_unit(ioc: Server) -> None:
    with heard(EpicsChannel("position", "T:a")) as found:
        assert found.states[0] is State.CONNECTING
        samples = found.wait_for_samples(5)
        assert samples.values[:, 0] == pytest.approx(samples.time_ns / 1e9 % 86400, abs=2e-6)
        assert (samples.arrival_ns > samples.time_ns).all()
        assert (samples.quality == 0).all()
        wait_for(lambda: found.description.get("unit") == "s")
        assert found.states == [State.CONNECTING, State.GOOD]


def test_an_enum_has_its_texts(ioc: Server, caproto_server: Server) -> None:
    for address, flags, value in (("T:lamp", ["off", "on", "warming up"], 1), ("C:shutter", ["closed", "open"], 0)):
        with heard(EpicsChannel("lamp", address)) as found:
            wait_for(lambda found=found: "flags" in found.description and len(found.samples))
            assert found.description["flags"] == flags
            assert found.samples.values.tolist() == [[value]]


def test_a_text_pv_is_refused_by_name(ioc: Server) -> None:
    with heard(EpicsChannel("words", "T:text")) as found:
        found.wait_for_state(State.REFUSED)
        wait_for(lambda: found.samples.counts.refused)
        assert "'T:text' is text" in found.description["why"]
        assert len(found.samples) == 0


def test_invalid_values_have_their_severity_as_quality(ioc: Server) -> None:
    with heard(EpicsChannel("broken", "T:invalid")) as found:
        assert (found.wait_for_samples(3).quality == 3).all()


def test_a_stamp_of_1990_is_none(ioc: Server) -> None:
    with heard(EpicsChannel("never", "T:never")) as found:
        samples = found.wait_for_samples(1) if not len(found.samples) else found.samples
        assert samples.time_ns.tolist() == [UNKNOWN_TIME_NS]
        assert found.description["has_no_stamp"] is True


def test_several_elements_need_fields(ioc: Server) -> None:
    with heard(EpicsChannel("xyz", "T:three", fields=["a", "b", "c"])) as found:
        wait_for(lambda: len(found.samples))
        assert found.samples.values.tolist() == [[1.0, 2.0, 3.0]]
    with heard(EpicsChannel("xyz", "T:three")) as found:
        wait_for(lambda: found.samples.counts.refused)
        assert len(found.samples) == 0


def test_images_of_more_than_65536_elements_arrive_flat(ioc: Server) -> None:
    channel, found = EpicsChannel("image", "T:img", kind="image"), Collected()
    channel.open(found)
    wait_for(lambda: len(found.samples) >= 2)
    channel.close()
    values, time_ns = found.samples[-1][:2]
    assert values.shape == (256 * 300,)
    assert (values == values[0]).all()
    assert abs(time_ns / 1e9 - time.time()) < 60


def test_two_channels_of_one_pv_are_closed_one_by_one(ioc: Server) -> None:
    first, second = EpicsChannel("first", "T:c"), EpicsChannel("second", "T:c")
    with heard(second) as stays:
        with heard(first) as goes:
            goes.wait_for_samples(1)
        n = goes.samples.counts.delivered
        stays.wait_for_samples(5)
        assert goes.samples.counts.delivered == n
        assert State.LOST not in goes.states  # closing our own end is no death
        with heard(cloudpickle.loads(cloudpickle.dumps(first))) as again:
            again.wait_for_samples(3)


def test_channels_may_be_opened_and_closed_in_other_threads(ioc: Server) -> None:
    channel, found = EpicsChannel("count", "T:c"), Collected()
    for call in (lambda: channel.open(found), lambda: wait_for(lambda: len(found.samples) > 2), channel.close):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join(60)
    assert len(found.samples) > 2


def test_an_unknown_pv_stays_connecting_and_is_named(ioc: Server) -> None:
    with heard(EpicsChannel("nothing", "T:nowhere")) as found, heard(EpicsChannel("count", "T:c")) as other:
        other.wait_for_samples(3)
        assert found.states == [State.CONNECTING]
        assert "'T:nowhere'" in found.description["why"]


def test_nothing_is_printed_about_a_repeater_that_is_not_there() -> None:
    code = (
        "from openhsi_shared.channels.epics import EpicsChannel; from openhsi_shared.testing.channel_contract import "
        "Delivered; channel = EpicsChannel('nothing', 'T:nowhere'); channel.open(Delivered()); channel.close()"
    )
    done = run_python("-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_caproto_ioc_with_a_dot_in_a_name(caproto_server: Server) -> None:
    with heard(channel_from_text("ca:C:stage.x,unit=mm", "stage")) as found:
        samples = found.wait_for_samples(3)
        assert samples.values[1:, 0] == pytest.approx(samples.time_ns[1:] / 1e9 % 86400, abs=1e-5)


def test_an_ioc_that_is_frozen_is_stalled_by_its_rate_and_lost_when_killed_and_found_again() -> None:
    with running(softioc("D", rate=20.0, number=1)) as server, heard(EpicsChannel("count", "D:c", rate=20.0)) as found:
        found.wait_for_samples(2)
        server.freeze()
        wait_for(lambda: found.deliver.watch() or found.view.state() is State.STALLED)
        server.resume()
        found.wait_for_state(State.GOOD)
        server.kill()
        found.wait_for_state(State.LOST)
        n = found.samples.counts.delivered
        server.start()
        found.wait_for_state(State.GOOD, 60)
        after = found.wait_for_samples(3).values[n:, 0]
        assert (np.diff(after) >= 1).all()
        assert found.states == [State.CONNECTING, State.GOOD, State.STALLED, State.GOOD, State.LOST, State.GOOD]


@pytest.mark.skipif(not is_installed("p4p"), reason="p4p is missing: pip install 'openhsi_shared[pva]'")
def test_the_same_ioc_through_pvaccess_where_updates_have_only_what_has_changed(ioc: Server) -> None:
    with heard(PvaChannel("position", "T:a")) as found, heard(PvaChannel("broken", "T:invalid")) as broken:
        samples = found.wait_for_samples(5)
        assert samples.values[:, 0] == pytest.approx(samples.time_ns / 1e9 % 86400, abs=2e-6)
        assert found.description["unit"] == "s"
        assert (broken.wait_for_samples(5).quality == 3).all()


def test_addresses_of_pvs() -> None:
    assert EpicsChannel("HSI_temp").address == "HSI_temp"
    assert channel_from_text("ca:HSI:temp", "temp").description == "ca:HSI:temp"
    for address in ("", "two words", 3):
        with pytest.raises(ArgumentError, match="the name of a PV"):
            EpicsChannel("temp", address)
