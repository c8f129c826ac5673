"""Where pulses of seconds come from: a device of the kernel, which has stamped them, or a pin.

The device is that of Linux' LinuxPPS (`linux/pps.h`, RFC 2783): `struct pps_fdata` has the count and the time of the
latest assert and clear events, then a timeout. `PPS_FETCH` waits for the next event, of either edge, and gives both.
The kernel stamps with the wall clock (CLOCK_REALTIME), which may be set at any time: both clocks are read before and
after, and a pulse between which they differ is refused. The numbers of the calls contain the size of a pointer, as
the header declares them.
"""

import errno
import fcntl
import os
import queue
import struct
import time
from typing import NamedTuple

from openhsi_shared.buffers.times import read_anchor
from openhsi_shared.channels.gpio import pin_errors

__all__ = ["KernelPulses", "PinPulses", "Pulse", "Refused"]

POINTER = struct.calcsize("P")


def _call(direction: int, number: int) -> int:
    return direction << 30 | POINTER << 16 | ord("p") << 8 | number


PPS_GETPARAMS, PPS_SETPARAMS = _call(2, 0xA1), _call(1, 0xA2)
PPS_GETCAP, PPS_FETCH = _call(2, 0xA3), _call(3, 0xA4)
PPS_CAPTUREASSERT = 0x01
PARAMS = struct.Struct("@iiqiIqiI")
FDATA = struct.Struct("@IIqiIqiIi0qqiI")
"""Counts of assert and clear events; time of each: s, ns, flags; mode; timeout: s, ns, flags."""
WAIT_NS = 500_000_000
MAX_STEP_NS = 50_000
"""Two readings of the clocks differ by less."""
MAX_AGE_NS = 1_500_000_000
HINTS = {
    errno.ENOENT: " (is the receiver's pulse wired, and the overlay pps-gpio or ldattach active?)",
    errno.EACCES: ' (a rule for udev gives access: KERNEL=="pps[0-9]*", GROUP="dialout", MODE="0660")',
}


class Pulse(NamedTuple):
    """One pulse."""

    monotonic_ns: int
    """Its edge, by `time.monotonic_ns()`."""
    number: int
    """By its source; -1: it does not count."""


class Refused(NamedTuple):
    """A pulse whose time is not known."""

    why: str


class KernelPulses:
    """Assert events of a device such as "/dev/pps0"."""

    least_uncertainty_s = 1e-5
    """Latency of an interrupt, on a busy machine."""

    def __init__(self, path: str) -> None:
        """OSError, with a text for the user, for what is no such device, or has no assert events."""
        self._path, self._count = path, -1
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise self._failed("cannot be opened", error) from error
        os.set_blocking(self._fd, True)  # a serial port that is given instead would block while it is opened
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    def _check(self) -> None:
        mode = bytearray(struct.calcsize("i"))
        params = bytearray(PARAMS.size)
        try:
            fcntl.ioctl(self._fd, PPS_GETCAP, mode)
            fcntl.ioctl(self._fd, PPS_GETPARAMS, params)
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EINVAL):
                raise OSError(error.errno, f"{self._path} is no device of pulses, such as /dev/pps0") from error
            raise self._failed("does not answer", error) from error
        if not struct.unpack("i", mode)[0] & PPS_CAPTUREASSERT:
            raise OSError(errno.EOPNOTSUPP, f"{self._path} cannot see the rising edge of a pulse (assert events)")
        version, active, *offsets = PARAMS.unpack(params)
        if active & PPS_CAPTUREASSERT:
            return
        try:
            fcntl.ioctl(self._fd, PPS_SETPARAMS, PARAMS.pack(version, active | PPS_CAPTUREASSERT, *offsets))
        except OSError as error:
            raise self._failed("does not see rising edges (assert events) unless root lets it", error) from error

    def next(self) -> Pulse | Refused | None:
        """Wait for the next pulse; None if there is none for half a second. OSError if the device is unplugged."""
        fdata = bytearray(FDATA.pack(*[0] * 9, 0, WAIT_NS, 0))
        before = read_anchor()
        try:
            fcntl.ioctl(self._fd, PPS_FETCH, fdata)
        except OSError as error:
            if error.errno in (errno.ETIMEDOUT, errno.EINTR):
                return None
            raise self._failed("cannot be read any more", error) from error
        now = read_anchor()
        count, _, seconds, ns, *_ = FDATA.unpack(fdata)
        if count == self._count:  # the other edge
            return None
        self._count = count
        if abs(now.since(before).total_ns) > MAX_STEP_NS:
            return Refused("this computer's clock was set at the time of a pulse")
        age_ns = now.wall_ns - (seconds * 10**9 + ns)
        if not -MAX_STEP_NS <= age_ns <= MAX_AGE_NS:
            return Refused(f"a pulse is {age_ns / 1e9:.3f} s old by this computer's clock")
        return Pulse(now.monotonic_ns - age_ns, count)

    def _failed(self, what: str, error: OSError) -> OSError:
        return OSError(error.errno, f"{self._path} {what}: {error.strerror}{HINTS.get(error.errno or 0, '')}")

    def close(self) -> None:
        """Close the device."""
        os.close(self._fd)


class PinPulses:
    """Rising edges of a pin, by gpiozero."""

    least_uncertainty_s = 1e-4
    """Of a constant delay, which cannot be measured; jitter is."""

    def __init__(self, pin: int | str) -> None:
        """PackageMissing; OSError for a pin that there is not."""
        self._found: queue.SimpleQueue[Pulse | Refused] = queue.SimpleQueue()
        with pin_errors(f"pin {pin}"):
            from gpiozero import DigitalInputDevice

            self._input = DigitalInputDevice(pin, pull_up=False)
            self._input.when_activated = self._note

    def _note(self) -> None:
        now_ns = time.monotonic_ns()
        since_s = self._input.active_time  # by the time of the edge, where the library of the pins has it
        if since_s is None:
            self._found.put(Refused("a pulse was over before its edge was read"))
        else:
            self._found.put(Pulse(now_ns - round(since_s * 1e9), -1))

    def next(self) -> Pulse | Refused | None:
        """Wait for the next pulse; None if there is none for half a second."""
        try:
            return self._found.get(timeout=WAIT_NS / 1e9)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Give the pin back."""
        self._input.close()
