"""Sentences of GPS receivers (NMEA 0183) out of a stream of bytes.

RMC, GGA, ZDA, VTG, HDT, GSA of any talker, and $PASHR (attitude). What stands between sentences, such as binary
messages, is skipped. A sentence needs its checksum: one bit of a serial line may be another place.

Units: degrees, metres, metres per second. An empty field is NaN, never 0.
"""

import datetime
import math
import re
from typing import Any, NamedTuple

from openhsi_shared.packages import needed_by

__all__ = ["Sentence", "SentenceReader"]

MAX_LENGTH = 250
"""Of a sentence; the standard has 82, receivers send more."""
M_S_PER_KNOT = 1852 / 3600
M_S_PER_KM_H = 1 / 3.6

_END = re.compile(rb"[^\x20-\x23\x25-\x7e]")  # anything that cannot be inside a sentence: a new "$" too
_SENTENCE = re.compile(rb"\$(?:[A-Z]{2}[A-Z]{3}|P[A-Z]{3,5}),")
_TIME = re.compile(r"(\d\d)(\d\d)(\d\d)(?:\.(\d*))?")
_DEGREES = re.compile(r"(\d{1,3})(\d\d(?:\.\d*)?)")


class Sentence(NamedTuple):
    """What one sentence says."""

    kind: str
    arrival_ns: int
    """When its first bytes came, on the clock of the caller."""
    values: dict[str, float]
    """By the names of `gps_fields.FIELDS`; `geoid` is the height of the geoid above the ellipsoid."""
    time_of_day_ns: int | None = None
    """UTC; second 60, a leap second, is the first of the next minute, as in POSIX times."""
    date: datetime.date | None = None
    has_fix: bool | None = None
    """None where the sentence does not say."""


class SentenceReader:
    """Finds and reads sentences; `feed` it whatever comes, in pieces of any size."""

    def __init__(self) -> None:
        with needed_by("a reader of NMEA", "gps"):
            import pynmea2
        self._pynmea2 = pynmea2
        self._rest, self._rest_arrival_ns = b"", 0
        self.n_sentences = 0
        """With a valid checksum, of all kinds."""
        self.n_bytes = 0
        self.refused: list[str] = []
        """Why sentences could not be used; the caller empties it."""

    def feed(self, data: bytes, arrival_ns: int) -> list[Sentence]:
        """Return the sentences that `data` completes."""
        self.n_bytes += len(data)
        n_rest = len(self._rest)
        buffer, start, sentences = self._rest + data, 0, []
        while (start := buffer.find(b"$", start)) >= 0:
            end = _END.search(buffer, start + 1)
            if end is None and len(buffer) - start < MAX_LENGTH:
                break
            stop = end.start() if end else len(buffer)
            came_ns = self._rest_arrival_ns if start < n_rest else arrival_ns
            if (sentence := self._read(buffer[start:stop], came_ns)) is not None:
                sentences.append(sentence)
            start = stop
        self._rest, old = (buffer[start:] if start >= 0 else b""), start < n_rest
        self._rest_arrival_ns = self._rest_arrival_ns if old else arrival_ns
        return sentences

    def _read(self, raw: bytes, arrival_ns: int) -> Sentence | None:
        """Read one sentence; None for kinds that are not used, and for what is refused or no sentence at all."""
        if not _SENTENCE.match(raw):
            return None  # "$" in binary messages
        text = raw.decode("ascii").rstrip()
        body, _, checksum = text[1:].rpartition("*")
        if not body:
            self.refused.append(f"{text!r} has no checksum, or is cut off")
            return None
        if f"{_xor(body):02X}" != checksum.upper():
            self.refused.append(f"{text!r} has a wrong checksum")
            return None
        self.n_sentences += 1
        kind = "PASHR" if body.startswith("PASHR,") else body[2:5]
        if kind not in _READERS or (body[0] == "P" and kind != "PASHR"):
            return None
        try:
            message = self._pynmea2.parse(text, check=True)
            return _READERS[kind](_Fields(message, arrival_ns, kind))
        except (ValueError, self._pynmea2.ParseError) as error:
            self.refused.append(f"{text!r}: {error}")
            return None


def _xor(body: str) -> int:
    value = 0
    for character in body.encode("ascii"):
        value ^= character
    return value


class _Fields:
    """Fields of a sentence as they were sent, by pynmea2's names: its own conversion makes 0.0 of an empty position."""

    def __init__(self, message: Any, arrival_ns: int, kind: str) -> None:
        self._data, self._index = message.data, {field[1]: n for n, field in enumerate(message.fields)}
        self.arrival_ns, self.kind = arrival_ns, kind

    def text(self, name: str) -> str:
        number = self._index.get(name, len(self._data))
        return str(self._data[number]).strip() if number < len(self._data) else ""

    def number(self, name: str, factor: float = 1.0) -> float:
        """Return a number; NaN for an empty field. ValueError."""
        text = self.text(name)
        value = float(text) * factor if text else math.nan
        if text and not math.isfinite(value):
            raise ValueError(f"{name} is {text}")
        return value

    def time_of_day_ns(self) -> int | None:
        text = self.text("timestamp")
        if not text:
            return None
        match = _TIME.fullmatch(text)
        hour, minute, second = (int(part) for part in match.groups()[:3]) if match else (99, 0, 0)
        if match is None or hour > 23 or minute > 59 or second > 60:
            raise ValueError(f"{text} is no time of day")
        fraction = int((match[4] or "0").ljust(9, "0")[:9])
        return ((hour * 60 + minute) * 60 + second) * 10**9 + fraction

    def position(self) -> dict[str, float]:
        """Return latitude and longitude, NaN where they are empty. ValueError for impossible ones (8960.0000,N)."""
        return {
            "latitude": self._degrees("lat", "lat_dir", 90, "NS"),
            "longitude": self._degrees("lon", "lon_dir", 180, "EW"),
        }

    def _degrees(self, name: str, direction: str, most: int, signs: str) -> float:
        text, sign = self.text(name), self.text(direction)
        if not text:
            return math.nan
        match = _DEGREES.fullmatch(text)
        value = int(match[1]) + float(match[2]) / 60 if match else math.inf
        if match is None or float(match[2]) >= 60 or value > most or sign not in tuple(signs):
            raise ValueError(f"{text},{sign} is no {'latitude' if most == 90 else 'longitude'}")
        return value if sign == signs[0] else -value


def _rmc(fields: _Fields) -> Sentence:
    has_fix = fields.text("status") == "A"
    values = fields.position() if has_fix else {}
    if has_fix:
        values |= {
            "speed": fields.number("spd_over_grnd", M_S_PER_KNOT),
            "course": fields.number("true_course"),
        }
    text = fields.text("datestamp")
    day = None
    if re.fullmatch(r"\d{6}", text):
        year = int(text[4:])
        day = _date(year + (1900 if year >= 80 else 2000), int(text[2:4]), int(text[:2]))
    return Sentence(fields.kind, fields.arrival_ns, values, fields.time_of_day_ns(), day, has_fix)


def _gga(fields: _Fields) -> Sentence:
    quality = fields.text("gps_qual")
    has_fix = quality not in ("", "0")
    values = {"fix": fields.number("gps_qual")}
    if has_fix:
        values |= fields.position() | {
            "altitude": fields.number("altitude"),
            "geoid": fields.number("geo_sep"),
            "satellites": fields.number("num_sats"),
            "hdop": fields.number("horizontal_dil"),
        }
    return Sentence(fields.kind, fields.arrival_ns, values, fields.time_of_day_ns(), None, has_fix)


def _zda(fields: _Fields) -> Sentence:
    parts = [fields.text(name) for name in ("year", "month", "day")]
    day = _date(*(int(part) for part in parts)) if all(part.isdigit() for part in parts) else None
    return Sentence(fields.kind, fields.arrival_ns, {}, fields.time_of_day_ns(), day)


def _date(year: int, month: int, day: int) -> datetime.date | None:
    try:
        return datetime.date(year, month, day)
    except (ValueError, OverflowError):
        return None


def _vtg(fields: _Fields) -> Sentence:
    knots, km_h = fields.number("spd_over_grnd_kts", M_S_PER_KNOT), fields.number("spd_over_grnd_kmph", M_S_PER_KM_H)
    values = {"course": fields.number("true_track"), "speed": km_h if math.isnan(knots) else knots}
    return Sentence(fields.kind, fields.arrival_ns, values)


def _hdt(fields: _Fields) -> Sentence:
    return Sentence(fields.kind, fields.arrival_ns, {"heading": fields.number("heading")})


def _gsa(fields: _Fields) -> Sentence:
    return Sentence(fields.kind, fields.arrival_ns, {"mode": fields.number("mode_fix_type")})


def _pashr(fields: _Fields) -> Sentence | None:
    if not _TIME.fullmatch(fields.text("timestamp")):
        return None  # another kind of $PASHR, not of attitude
    names = {"heading": "true_heading", "roll": "roll", "pitch": "pitch"}
    values = {name: fields.number(theirs) for name, theirs in names.items()}
    status = fields.text("aiding_status")
    return Sentence(fields.kind, fields.arrival_ns, values, fields.time_of_day_ns(), None, status not in ("", "0"))


_READERS = {"RMC": _rmc, "GGA": _gga, "ZDA": _zda, "VTG": _vtg, "HDT": _hdt, "GSA": _gsa, "PASHR": _pashr}
