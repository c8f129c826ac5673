"""GPS receivers on a serial line, which speak NMEA 0183.

Notes:
- A fix is delivered when its sentences are complete: see `gps_epochs`. Its arrival is that of their first bytes.
- Its time is the receiver's, UTC; this computer's clock may be wrong by seconds. Hence the default `clock="fit"`.
- The receiver speaks 50 to 500 ms after its fix, and the fit takes the shortest of these delays for the offset of its
  clock: `latency_s` is what the receiver's manual says of it, or what a pulse per second has shown.
- A wrong baud rate looks like noise: there are bytes and no sentences.
- Only one program may read a port: ModemManager and gpsd do so on many systems.
"""

import errno
import os
import termios
import threading
import time
from contextlib import AbstractContextManager
from typing import Any

from openhsi_shared.channels.delivering import Deliver
from openhsi_shared.channels.gps_epochs import Fix, FixReader
from openhsi_shared.channels.gps_fields import FIELDS, describe_altitude, in_order
from openhsi_shared.channels.nmea import SentenceReader
from openhsi_shared.channels.reconnecting import ReconnectingChannel
from openhsi_shared.errors import ArgumentError
from openhsi_shared.given_numbers import is_whole
from openhsi_shared.loggers import safe_logger
from openhsi_shared.matching.states import State
from openhsi_shared.packages import needed_by

__all__ = ["FixDelivery", "GpsChannel"]

logger = safe_logger(__name__)

BAUDRATE = 9600
SILENCE_S = 0.1
"""Between two bursts of a receiver."""
NOISE_S, NOISE_BYTES = 3.0, 100
"""So much without a sentence is no NMEA."""


HINTS = {
    errno.EACCES: " (add this user to the group that owns it: dialout)",
    errno.EAGAIN: " (another program has locked it)",
}


class GpsChannel(ReconnectingChannel):
    """A receiver on a serial port such as "/dev/ttyUSB0" (extra `gps`). Fields: see `gps_fields.FIELDS`.

    A port that does not exist (yet) is `connecting`, one that was unplugged `lost`, until it is there again; a receiver
    without position is `no fix` and delivers nothing.
    """

    _broken = (OSError, termios.error)

    def __init__(
        self, name: str, port: str, baudrate: int = BAUDRATE, *, clock: str = "fit", **of_a_channel: Any
    ) -> None:
        """`of_a_channel`: see `Channel`. ArgumentError for a baud rate that is none."""
        if not is_whole(baudrate) or baudrate <= 0:
            raise ArgumentError(f"channel {name!r}: baudrate must be a whole number such as 9600, got {baudrate!r}")
        super().__init__(name, fields=FIELDS, clock=clock, **{"source": f"gps:{port}@{baudrate}", **of_a_channel})
        self.port, self.baudrate = str(port), int(baudrate)
        self._delivery: FixDelivery | None = None
        """One for all connections: altitudes stay above the same surface."""

    @classmethod
    def from_address(cls, rest: str, name: str, **keywords: Any) -> "GpsChannel":
        """Return the channel of "gps:PORT" or "gps:PORT@BAUDRATE". ArgumentError for other texts."""
        port, _, baudrate = rest.partition("@")
        if not port or (baudrate and not baudrate.isdigit()):
            raise ArgumentError(
                f"channel {name!r}: expected a port and a baud rate such as gps:/dev/ttyUSB0@115200, got gps:{rest}"
            )
        return cls(name, port, **({"baudrate": int(baudrate)} if baudrate else {}) | keywords)

    def open(self, deliver: Deliver) -> None:
        """See `Channel.open`. PackageMissing."""
        with needed_by(f"channel {self.name!r}", "gps"):
            import pynmea2  # noqa: F401 - used in the thread
            import serial  # noqa: F401
        super().open(deliver)

    def close(self) -> None:
        """See `Channel.close`."""
        super().close()
        self._delivery = None

    def _connect(self) -> AbstractContextManager[Any]:
        import serial

        try:
            opened: AbstractContextManager[Any] = serial.serial_for_url(
                self.port, self.baudrate, timeout=SILENCE_S, exclusive=True
            )
            return opened
        except OSError as error:
            hint = HINTS.get(error.errno or 0, "")
            why = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(error.errno, f"serial port {self.port} cannot be opened: {why}{hint}") from error

    def _listen(self, connection: Any, deliver: Deliver, stopping: threading.Event) -> None:
        delivery = self._delivery = self._delivery or FixDelivery(deliver)
        reader = delivery.reader
        noise = _Noise(reader.sentences)
        while not stopping.is_set():
            data = connection.read(1)
            now_ns = time.monotonic_ns()
            if not data:
                delivery.deliver(reader.silence(now_ns))
                continue
            data += connection.read(connection.in_waiting)
            delivery.deliver(reader.feed(data, now_ns, time.time_ns()))
            if noise.is_heard():
                deliver.state(
                    State.REFUSED,
                    f"what comes from {self.port} contains no NMEA sentence: check the baud rate ({self.baudrate}), "
                    "and that the receiver sends NMEA",
                )


class _Noise:
    """Bytes without a sentence, for some seconds."""

    def __init__(self, sentences: SentenceReader) -> None:
        self._sentences = sentences
        self._begin()

    def _begin(self) -> None:
        self._since = time.monotonic()
        self._n_bytes, self._n_sentences = self._sentences.n_bytes, self._sentences.n_sentences

    def is_heard(self) -> bool:
        """Whether it has lasted since the last sentence."""
        if self._sentences.n_sentences > self._n_sentences:
            self._begin()
        n_bytes = self._sentences.n_bytes - self._n_bytes
        return n_bytes > NOISE_BYTES and time.monotonic() - self._since > NOISE_S


class FixDelivery:
    """Delivers what a `FixReader` finds."""

    def __init__(self, deliver: Deliver) -> None:
        self.reader = FixReader()
        self._deliver = deliver
        self._notes: list[str] = []
        self._n_jumps = 0
        self._altitude_above: str | None = None

    def deliver(self, fixes: list[Fix]) -> None:
        """Deliver the fixes, and what the reader has to say."""
        reader, deliver = self.reader, self._deliver
        for why in reader.refused:
            deliver.refuse(why)
        reader.refused.clear()
        if reader.altitude_above not in (None, self._altitude_above):
            self._altitude_above = reader.altitude_above
            describe_altitude(deliver, reader.altitude_above)
        if reader.n_jumps > self._n_jumps:
            self._n_jumps = reader.n_jumps
            deliver.state(State.JUMPED, reader.dating.notes[-1] if reader.dating.notes else "")
        elif fixes:
            deliver.state(State.GOOD)
        for fix in fixes:
            deliver.sample(in_order(fix.values), fix.time_ns, arrival_ns=fix.arrival_ns)
        if reader.has_fix is False:
            deliver.state(State.NO_FIX, "the receiver has no position")
        if reader.dating.notes:
            for note in reader.dating.notes:
                logger.warning("%s", note)
            self._notes += reader.dating.notes
            reader.dating.notes.clear()
            deliver.describe(notes=self._notes[-10:])
