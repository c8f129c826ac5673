"""Fixes out of sentences: what belongs together, which day it is, and what is refused."""

import math
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("pynmea2", reason="pynmea2 is missing: pip install 'openhsi_shared[gps]'")

from openhsi_shared.channels.gps_epochs import Fix, FixReader
from tests.channels.receivers import epoch, latitude_at, nmea

DATA = Path(__file__).parents[1] / "data"
S = 10**9
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC).timestamp()


def ns(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * S


class Live:
    """A receiver that speaks to a host whose clock is right, unless `ahead_s`, the host's error, says otherwise."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.reader, self.ahead_s, self.fixes = FixReader(), ahead_s, []

    def hear(self, stamp_s: float, data: bytes, then_silent: bool = True) -> list[Fix]:
        arrival_ns = round((stamp_s - NOW + 100) * S)
        fixes = self.reader.feed(data, arrival_ns, round((stamp_s + self.ahead_s) * S))
        fixes += self.reader.silence(arrival_ns + S // 10) if then_silent else []
        self.fixes += fixes
        return fixes

    @property
    def stamps(self) -> list[float]:
        return [fix.time_ns / S for fix in self.fixes]


def test_one_epoch_is_one_fix_with_the_arrival_of_its_first_sentence() -> None:
    reader = FixReader()
    fixes = []
    for at, piece in enumerate(epoch(NOW).splitlines(keepends=True)):
        fixes += reader.feed(piece, at, round(NOW * S))
    [fix] = fixes + reader.silence(10)
    assert (fix.time_ns, fix.arrival_ns) == (round(NOW * S), 0)
    assert fix.values["latitude"] == pytest.approx(latitude_at(NOW), abs=1e-8)
    assert fix.values["altitude"] == pytest.approx(70.5)
    assert reader.altitude_above == "ellipsoid"
    assert not reader.silence(20)


def test_without_silence_an_epoch_ends_with_the_next_one() -> None:
    live = Live()
    for k in range(10):
        live.hear(NOW + k / 10, epoch(NOW + k / 10), then_silent=False)
    assert live.stamps == pytest.approx([NOW + k / 10 for k in range(9)])


def test_what_comes_late_completes_the_epoch_and_the_last_of_equals_is_whole() -> None:
    live = Live()
    rmc, gga = epoch(NOW, kinds="RMC"), epoch(NOW, kinds="GGA")
    live.hear(NOW, rmc)
    live.hear(NOW + 0.3, gga)
    assert live.stamps == [NOW, NOW]
    assert "altitude" not in live.fixes[0].values
    assert live.fixes[1].values["altitude"] == pytest.approx(70.5)


def test_a_heading_after_a_silence_belongs_to_the_next_fix() -> None:
    live = Live()
    live.hear(NOW, epoch(NOW, kinds="RMC GGA") + nmea("HEHDT,10.0,T"))
    live.hear(NOW + 1, nmea("HEHDT,20.0,T") + epoch(NOW + 1, kinds="RMC GGA"))
    assert [fix.values["heading"] for fix in live.fixes] == [10.0, 20.0]


def test_attitudes_between_positions_are_not_taken_for_fixes() -> None:
    live = Live()
    for tenth in range(30):
        stamp = NOW + tenth / 10
        attitude = nmea(f"PASHR,{datetime.fromtimestamp(stamp, UTC):%H%M%S}.{tenth % 10}0,{tenth},T,1,2,0,,,,1,1")
        whole = attitude + (epoch(stamp) if tenth % 10 == 0 else b"")
        live.hear(stamp, whole, then_silent=False)
    live.reader.end()
    assert live.stamps == [NOW, NOW + 1]
    assert [fix.values["heading"] for fix in live.fixes] == [0.0, 10.0]
    assert any("between the times of positions" in note for note in live.reader.dating.notes)


def test_attitudes_alone_are_fixes_once_a_date_is_known() -> None:
    live = Live()
    for k in range(3):
        clock = f"{datetime.fromtimestamp(NOW + k, UTC):%H%M%S}.00"
        date = epoch(NOW + k, kinds="ZDA")
        live.hear(NOW + k, nmea(f"PASHR,{clock},{k},T,1,2,0,,,,1,1") + date)
    assert live.stamps == [NOW, NOW + 1, NOW + 2]


def test_midnight_has_no_step_even_where_gga_comes_before_the_new_date() -> None:
    live = Live()
    midnight = ns("2026-05-02") / S
    for k in range(-3, 3):
        live.hear(midnight + k, epoch(midnight + k, kinds="GGA RMC" if k % 2 else "GGA"))
    assert live.stamps == [midnight + k for k in range(-3, 3)]


def test_a_position_before_any_date_waits_for_it() -> None:
    live = Live(ahead_s=-40 * 3600.0)  # the host's day is wrong: it must not be taken
    assert live.hear(NOW, epoch(NOW, kinds="GGA")) == []
    live.hear(NOW + 1, epoch(NOW + 1, kinds="GGA RMC ZDA"))
    assert live.stamps == [NOW, NOW + 1]


def test_without_any_date_the_day_of_the_host_is_taken_after_two_seconds_and_said() -> None:
    live = Live(ahead_s=3600.0)
    for k in range(5):
        live.hear(NOW + k, epoch(NOW + k, kinds="GGA"))
        assert len(live.fixes) == (0 if k < 2 else k + 1)
    assert live.stamps == [NOW + k for k in range(5)]
    assert len(live.reader.dating.notes) == 1
    assert "the day of this computer's clock is taken" in live.reader.dating.notes[0]


def test_a_week_roll_over_is_repaired_and_said() -> None:
    live = Live()
    old = NOW - 1024 * 7 * 86400
    for k in range(3):
        live.hear(NOW + k, epoch(old + k))
    assert live.stamps == [NOW, NOW + 1, NOW + 2]
    assert len(live.reader.dating.notes) == 1
    assert "1024 weeks old: repaired" in live.reader.dating.notes[0]


def test_a_date_far_from_the_hosts_needs_a_second_one_that_agrees() -> None:
    live = Live(ahead_s=-400 * 86400.0)
    assert live.hear(NOW, epoch(NOW, kinds="GGA RMC")) == []
    live.hear(NOW + 1, epoch(NOW + 1, kinds="GGA RMC"))
    assert live.stamps == [NOW, NOW + 1]
    assert any("+400.0 days" in note for note in live.reader.dating.notes)


def test_dates_that_disagree_are_refused_until_two_agree() -> None:
    live = Live()
    for k, wrong_days in enumerate((-3000, -1000, 500, 0, 0)):
        live.hear(NOW + k, epoch(NOW + k + wrong_days * 86400, kinds="GGA RMC"))
    assert live.stamps[-1] == NOW + 4
    assert all(abs(stamp - NOW) < 10 for stamp in live.stamps)
    assert sum("confirmed by no second one" in why for why in live.reader.refused) >= 2


def test_without_a_fix_nothing_is_delivered_and_no_date_is_believed() -> None:
    live = Live()
    live.hear(NOW, epoch(NOW - 5 * 86400, has_fix=False))
    assert live.reader.has_fix is False
    live.hear(NOW + 1, epoch(NOW + 1, kinds="GGA"))
    assert live.fixes == []  # it waits for a date
    live.hear(NOW + 2, epoch(NOW + 2))
    assert live.reader.has_fix is True
    assert live.stamps == [NOW + 1, NOW + 2]


def test_a_date_alone_dates_nothing_without_a_fix() -> None:
    live = Live()
    live.hear(NOW, epoch(NOW, has_fix=False, kinds="RMC GGA"))
    live.hear(NOW + 0.5, epoch(NOW + 0.5 - 86_000, kinds="ZDA"))  # of a clock on a battery, within a day
    live.hear(NOW + 1, epoch(NOW + 1, kinds="GGA"))
    assert live.fixes == []
    live.hear(NOW + 2, epoch(NOW + 2, kinds="GGA RMC"))
    assert live.stamps == [NOW + 1, NOW + 2]


def test_pieces_cut_out_of_a_stream_never_make_a_fix_that_was_not_there() -> None:
    stream = b"".join(epoch(NOW + k) for k in range(40))
    whole = {fix.time_ns: fix.values for fix in _fixes(stream)}
    for seed in range(30):
        chance, cut = random.Random(seed), stream
        for _ in range(10):
            at = chance.randrange(len(cut))
            cut = cut[:at] + chance.randbytes(chance.randrange(20)) + cut[at + chance.randrange(200) :]
        for fix in _fixes(cut):
            expected = whole[fix.time_ns]
            position = {name: fix.values[name] for name in ("latitude", "longitude") if name in fix.values}
            assert position.items() <= expected.items()


def _fixes(stream: bytes) -> list[Fix]:
    reader = FixReader()
    return [*reader.feed(stream, 0, None), *reader.end()]


def test_one_step_back_is_refused_and_a_clock_that_was_set_back_is_believed_in_the_end() -> None:
    live = Live()
    for k in (0, 1, 2, 1.5, 3):
        live.hear(NOW + k, epoch(NOW + k))
    assert live.stamps == [NOW, NOW + 1, NOW + 2, NOW + 3]
    assert live.reader.n_jumps == 0
    for k in range(4, 12):
        live.hear(NOW + k, epoch(NOW + k - 18))
    assert live.reader.n_jumps == 1
    assert live.stamps[4:] == [NOW + k - 18 for k in range(8, 12)]
    assert sum("steps back" in why for why in live.reader.refused) == 5
    assert any("was set back by 17.000 s" in note or "set back by" in note for note in live.reader.dating.notes)


def test_altitudes_are_above_one_surface_throughout() -> None:
    live = Live()
    live.hear(NOW, epoch(NOW))
    without = nmea(f"GPGGA,{datetime.fromtimestamp(NOW + 1, UTC):%H%M%S}.00,3800.0,N,12200.0,W,1,08,0.9,100.0,M,,M,,")
    live.hear(NOW + 1, without)
    assert live.fixes[0].values["altitude"] == pytest.approx(70.5)
    assert math.isnan(live.fixes[1].values["altitude"])
    other = Live()
    other.hear(NOW + 1, without + epoch(NOW + 1, kinds="ZDA"))
    other.hear(NOW + 2, epoch(NOW + 2))
    assert [fix.values["altitude"] for fix in other.fixes] == [100.0, 100.0]
    assert other.reader.altitude_above == "geoid"


def test_a_leap_second_is_the_first_of_the_next_day() -> None:
    reader = FixReader()
    place = "3800.0,N,12200.0,W"
    fixes = []
    for clock, day in (
        ("235959.00", "311216"),
        ("235960.00", "311216"),
        ("000000.00", "010117"),
        ("000001.00", "010117"),
    ):
        fixes += reader.feed(nmea(f"GPRMC,{clock},A,{place},,,{day},,,A"), 0, None)
    fixes += reader.end()
    midnight = ns("2017-01-01")
    assert [fix.time_ns - midnight for fix in fixes] == [-S, 0, 0, S]


@pytest.mark.parametrize(
    ("name", "n_fixes", "first", "position"),
    [
        ("ublox_m9n.nmea", 10, "2020-07-11T22:37:45", (38.110494, -122.626897)),
        ("mt3329_cold.nmea", 8, "2011-11-11T07:17:36", (44.06886, -121.314075)),
        ("zed_f9p_binary.bin", 4, "2019-04-12T01:19:03", (-45.877592, 170.500126)),
    ],
)
def test_recorded_receivers(name: str, n_fixes: int, first: str, position: tuple[float, float]) -> None:
    reader = FixReader()
    fixes = [*reader.feed((DATA / name).read_bytes(), 0, None), *reader.end()]
    assert len(fixes) == n_fixes
    assert fixes[0].time_ns == ns(first)
    assert (fixes[0].values["latitude"], fixes[0].values["longitude"]) == pytest.approx(position, abs=1e-6)
    assert not reader.refused
