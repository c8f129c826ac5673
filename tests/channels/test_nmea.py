"""Sentences out of streams of bytes, whole, broken, and between binary messages."""

import datetime
import math
from pathlib import Path

import pytest

pytest.importorskip("pynmea2", reason="pynmea2 is missing: pip install 'openhsi_shared[gps]'")

from openhsi_shared.channels.nmea import SentenceReader
from tests.channels.receivers import nmea

DATA = Path(__file__).parents[1] / "data"
GGA = nmea("GPGGA,101912.25,3351.0000,S,15112.0000,E,4,08,0.9,54.4,M,46.9,M,,")


def read(*pieces: bytes) -> tuple[list, SentenceReader]:
    reader = SentenceReader()
    return [one for at, piece in enumerate(pieces) for one in reader.feed(piece, at)], reader


def test_a_position_is_in_degrees_and_metres() -> None:
    [gga], _ = read(GGA)
    assert gga.kind == "GGA"
    assert gga.has_fix
    assert gga.date is None
    assert gga.time_of_day_ns == ((10 * 60 + 19) * 60 + 12) * 10**9 + 250_000_000
    expected = {"latitude": -33.85, "longitude": 151.2, "altitude": 54.4, "geoid": 46.9, "fix": 4.0}
    assert {name: gga.values[name] for name in expected} == pytest.approx(expected)


def test_a_sentence_may_come_in_any_pieces_and_has_the_arrival_of_its_first_byte() -> None:
    stream = b"\x00\xb5$" + GGA + b"$GPGG"
    for size in (1, 2, 7, 1000):
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        [gga], reader = read(*pieces)
        assert gga.arrival_ns == 3 // size
        assert not reader.refused


def test_a_sentence_with_a_wrong_or_without_a_checksum_is_refused_and_named() -> None:
    sentences, reader = read(GGA.replace(b"3351", b"3352"), GGA[:-5] + b"\r\n", GGA)
    assert len(sentences) == 1
    assert "wrong checksum" in reader.refused[0]
    assert "no checksum" in reader.refused[1]
    assert "3352" in reader.refused[0]


def test_half_a_sentence_does_not_take_the_next_one_with_it() -> None:
    sentences, reader = read(GGA[:30] + GGA)
    assert len(sentences) == 1
    assert "cut off" in reader.refused[0]


def test_a_long_line_without_end_is_not_kept_for_ever() -> None:
    sentences, reader = read(b"$GPGGA,", *[b"1" * 100] * 100, GGA)
    assert len(sentences) == 1
    _, reader = read(b"$GPGGA,", *[b"1" * 100] * 100)
    assert len(reader._rest) < 1000


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("GPGGA,101912,8960.0000,N,00000.0000,E,1,,,137.0,M,13.0,M,,", "8960.0000,N is no latitude"),
        ("GPGGA,101912,9100.0000,N,00000.0000,E,1,,,137.0,M,13.0,M,,", "no latitude"),
        ("GPGGA,101912,4500.0000,N,18100.0000,E,1,,,137.0,M,13.0,M,,", "no longitude"),
        ("GPGGA,101912,4500.0000,,00000.0000,E,1,,,137.0,M,13.0,M,,", "no latitude"),
        ("GPGGA,251912,4500.0000,N,00000.0000,E,1,,,137.0,M,13.0,M,,", "no time of day"),
        ("GPGGA,101961,4500.0000,N,00000.0000,E,1,,,137.0,M,13.0,M,,", "no time of day"),
        ("GPGGA,101912,4500.0000,N,00000.0000,E,1,,,high,M,13.0,M,,", "high"),
        ("GPHDT,nan,T", "heading is nan"),
    ],
)
def test_what_is_impossible_is_refused(body: str, why: str) -> None:
    sentences, reader = read(nmea(body))
    assert not sentences
    assert why in reader.refused[0]


def test_an_empty_position_is_nan_and_never_zero() -> None:
    [gga], _ = read(nmea("GPGGA,101912,,,,,1,,,,M,,M,,"))
    assert all(math.isnan(gga.values[name]) for name in ("latitude", "longitude", "altitude", "hdop"))


def test_without_fix_there_is_no_position_whatever_stands_there() -> None:
    sentences, reader = read(
        nmea("GPRMC,071732.929,V,8960.0000,N,00000.0000,E,0.00,0.00,111111,,,N"),
        nmea("GPGGA,071733.929,8960.0000,N,00000.0000,E,0,0,,137.0,M,13.0,M,,"),
    )
    assert [one.has_fix for one in sentences] == [False, False]
    assert not any("latitude" in one.values for one in sentences)
    assert not reader.refused


@pytest.mark.parametrize(("date", "expected"), [("110720", (2020, 7, 11)), ("220899", (1999, 8, 22))])
def test_dates_have_their_century(date: str, expected: tuple[int, int, int]) -> None:
    [rmc], _ = read(nmea(f"GPRMC,000231.42,A,4829.0005,N,00022.0016,E,0.16,212.28,{date},,,A"))
    assert rmc.date == datetime.date(*expected)


@pytest.mark.parametrize("date", ["2208-1", "000000", "320120", ""])
def test_a_broken_date_leaves_the_position(date: str) -> None:
    [rmc], _ = read(nmea(f"GPRMC,000231.099,A,4829.0005,N,00022.0015,E,0.15,212.28,{date},,,A"))
    assert rmc.date is None
    assert rmc.values["latitude"] == pytest.approx(48.4833417)


def test_second_60_is_a_time() -> None:
    [zda], _ = read(nmea("GPZDA,235960.00,31,12,2016,00,00"))
    assert zda.time_of_day_ns == 86_400 * 10**9


def test_attitude_heading_and_speed_are_read() -> None:
    sentences, reader = read(
        nmea("PASHR,123816.80,312.95,T,-0.83,-0.42,-0.01,0.234,0.224,0.298,2,1"),
        nmea("HEHDT,4.0,T"),
        nmea("GPVTG,3.0,T,,,,,36.0,K,D"),
        nmea("PASHR,POS,0,8"),
        nmea("PUBX,00,1"),
    )
    assert not reader.refused
    assert reader.n_sentences == 5
    attitude, heading, speed = (one.values for one in sentences)
    assert attitude == {"heading": 312.95, "roll": -0.83, "pitch": -0.42}
    assert heading == {"heading": 4.0}
    assert speed == {"course": 3.0, "speed": pytest.approx(10.0)}


def test_binary_messages_between_sentences_are_skipped() -> None:
    stream = (DATA / "zed_f9p_binary.bin").read_bytes()
    assert b"\xb5b" in stream
    sentences, reader = read(*(stream[at : at + 100] for at in range(0, len(stream), 100)))
    assert [one.kind for one in sentences] == ["RMC", "VTG", "GGA"] * 4
    assert not reader.refused


@pytest.mark.parametrize("at", [2, 3, 4])
def test_a_date_of_very_many_digits_is_none(at: int) -> None:
    fields = ["GPZDA", "101912.25", "01", "05", "2026", "00", "00"]
    fields[at] = "9" * 30
    [zda], reader = read(nmea(",".join(fields)))
    assert (zda.date, reader.refused) == (None, [])
