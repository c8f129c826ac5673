"""EPICS process variables (PVs) through Channel Access, by pyepics.

Notes:
- Times are the IOC's own stamps (`posixseconds` and `nanoseconds`). A stamp of 1990, the beginning of EPICS' time, is
  none: the record has none, or its IOC has no clock. Then arrival is taken, and `has_no_stamp` says so.
- A PV is sent when it changes: silence is `unchanged`. An IOC that is frozen is `lost` after 35 s only; give `rate=` to
  notice it before. What it had to say is merged into one value when it continues.
- Values with the alarm severity INVALID (3) are kept with this quality, and are not matched to lines.
- CA has no unsigned 16 bits: such images arrive as int32, always flat.
- pyepics sends arrays of more than 65536 elements only with `auto_monitor=True`.
- libca reads its environment (`EPICS_CA_ADDR_LIST`, ...) once in a process, when the first channel is opened.
"""

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from openhsi_shared.channels.delivering import Deliver
from openhsi_shared.channels.pv import PvChannel, stamp_ns
from openhsi_shared.loggers import safe_logger
from openhsi_shared.matching.states import State
from openhsi_shared.packages import needed_by
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["EpicsChannel"]

logger = safe_logger(__name__)

METADATA_S = 5.0
REPEATER_PORT = 5065
_setting_up = threading.Lock()
_is_set_up = False


class EpicsChannel(PvChannel):
    """A PV by its name, such as "HSI:temp"; `address=None`: the name of the channel. Needs the extra `epics`.

    Unit, or the texts of an enum (kind="flags"), are those of the PV unless given here. A PV with several elements
    needs `fields`, or kind="image". A text PV is refused.
    """

    KIND = "ca"

    def open(self, deliver: Deliver) -> None:
        """See `Channel.open`. PackageMissing."""
        if self._subscription is not None:
            return
        with needed_by(f"channel {self.name!r}", "epics"):
            import epics
        _set_up(epics)
        deliver.state(State.CONNECTING, f"no IOC has answered for PV {self.address!r} yet")
        self._subscription = _Subscription(epics, self.address, self.properties.kind == "image", deliver)


def _set_up(epics: Any) -> None:
    """Use libca in this thread; its messages go to the log, not to stderr."""
    global _is_set_up  # noqa: PLW0603 - libca exists once in a process
    with _setting_up:
        if not _is_set_up:
            epics.ca.initialize_libca()
            epics.ca.replace_printf_handler(_log)
            _is_set_up = True
    epics.ca.use_initial_context()


@contextmanager
def _quiet_about_repeater() -> Iterator[None]:
    """Let libca not look for a caRepeater, which pyepics lacks, and not print that it has found none.

    It looks for one, when a process makes its first PV, unless the port of the repeater is taken.
    """
    if shutil.which("caRepeater") is not None:
        yield
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        with suppress(OSError, ValueError, OverflowError):  # a repeater of another program runs
            port.bind(("", int(os.environ.get("EPICS_CA_REPEATER_PORT") or REPEATER_PORT)))
        yield


def _log(*parts: Any) -> None:
    text = " ".join(part.decode(errors="replace") if isinstance(part, bytes) else str(part) for part in parts)
    if text.strip():
        logger.debug("Channel Access: %s", text.strip())


class _Subscription:
    """A PV that is followed; its callbacks come in a thread of libca."""

    def __init__(self, epics: Any, address: str, is_image: bool, deliver: Deliver) -> None:
        self._epics, self._address, self._is_image, self._deliver = epics, address, is_image, deliver
        self._delivering = threading.RLock()
        self._is_closed = self._is_refused = self._has_no_stamp = False
        with _quiet_about_repeater():
            self._pv = epics.PV(
                address,
                form="time",
                auto_monitor=True,
                callback=self._on_value,
                connection_callback=self._on_connection,
            )

    def close(self) -> None:
        with self._delivering:
            self._is_closed = True
        self._epics.ca.use_initial_context()
        self._pv.connection_callbacks.clear()
        self._pv.clear_callbacks()
        self._pv.disconnect()

    def _on_connection(self, conn: bool = False, pv: Any = None, **_more: Any) -> None:
        if not conn:
            with self._delivering:
                if not self._is_closed:
                    self._deliver.state(State.LOST, f"the IOC of PV {self._address!r} does not answer any more")
            return
        GuardedThread(
            self._describe, pv, name=f"PV {self._address}", failure=f"PV {self._address!r} cannot be described"
        ).start()

    def _describe(self, pv: Any) -> None:
        """Ask for unit and texts; not in a callback, which must not wait for libca."""
        self._epics.ca.use_initial_context()
        facts = pv.get_ctrlvars(timeout=METADATA_S) or {}
        try:
            more: dict[str, Any] = {"type": str(pv.type), "n_elements": int(pv.nelm or 0), "host": str(pv.host)}
        except KeyError:  # closed or lost meanwhile: pyepics has forgotten it, and the next connection describes it
            return
        if facts.get("units"):
            more["unit"] = _text(facts["units"])
        if facts.get("enum_strs"):
            more["flags"] = [_text(one) for one in facts["enum_strs"]]
        with self._delivering:
            if not self._is_closed:
                self._deliver.describe(**more)

    def _on_value(self, value: Any = None, **more: Any) -> None:
        with self._delivering:
            if self._is_closed:
                return
            if isinstance(value, str | bytes) or "string" in str(more.get("type", "")):
                self._refuse_text()
                return
            time_ns = stamp_ns(more.get("posixseconds"), more.get("nanoseconds"))
            if (time_ns is None) != self._has_no_stamp:
                self._has_no_stamp = time_ns is None
                self._deliver.describe(has_no_stamp=self._has_no_stamp)
            if not self._is_image and getattr(value, "ndim", 0) == 1:
                value = value.tolist()
            self._deliver.sample(value, time_ns, quality=int(more.get("severity") or 0))

    def _refuse_text(self) -> None:
        if not self._is_refused:
            self._is_refused = True
            self._deliver.state(State.REFUSED, f"PV {self._address!r} is text: channels are numbers")
        self._deliver.refuse(f"PV {self._address!r} is text: channels are numbers")


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
