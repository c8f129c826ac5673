"""EPICS process variables (PVs) through PVAccess, by p4p: numbers, enums, arrays and images (NTNDArray).

Notes:
- A server keeps updates for a client in a queue, and merges them silently when it is full. With the default length (4)
  22 % of 1000 Hz were lost; here it holds one second.
- A stamp before 1991 is none: see `epics`.
- `id` is the unique id of an image (gaps in it are counted as squashed), else the user tag of the stamp (a pulse id).
- A server that is frozen is `lost` after 40 s only; give `rate=` to notice it before.
"""

import math
import threading
from typing import Any

import numpy as np

from openhsi_shared.channels.delivering import Deliver
from openhsi_shared.channels.pv import PvChannel, stamp_ns
from openhsi_shared.matching.states import State
from openhsi_shared.packages import needed_by

__all__ = ["PvaChannel"]

QUEUE = {"image": 20}
DEFAULT_QUEUE = 1000


class PvaChannel(PvChannel):
    """A PV by its name; `address=None`: the name of the channel. Needs the extra `pva`.

    Of an NTScalar, NTEnum (kind="flags"), NTScalarArray (with `fields`) or NTNDArray (kind="image", with its shape).
    Unit and texts are those of the PV unless given here. `rate` is also the length of its queue, for one second;
    without it that is 1000, of images 20.
    """

    KIND = "pva"

    @property
    def queue_size(self) -> int:
        """Updates that the server keeps for this channel: those of one second."""
        least = QUEUE.get(self.properties.kind, DEFAULT_QUEUE)
        return max(4, least if self.properties.rate is None else math.ceil(self.properties.rate))

    def open(self, deliver: Deliver) -> None:
        """See `Channel.open`. PackageMissing."""
        if self._subscription is not None:
            return
        with needed_by(f"channel {self.name!r}", "pva"):
            from p4p.client import thread
        deliver.state(State.CONNECTING, f"no server has answered for PV {self.address!r} yet")
        request = f"record[queueSize={self.queue_size}]field()"
        self._subscription = _Subscription(thread, self.address, request, self.properties.kind == "image", deliver)


class _Subscription:
    """A PV that is followed; its callbacks come in threads of p4p, one at a time and in order."""

    def __init__(self, thread: Any, address: str, request: str, is_image: bool, deliver: Deliver) -> None:
        self._disconnected: type[Exception] = thread.Disconnected
        self._address, self._is_image, self._deliver = address, is_image, deliver
        self._is_closed, self._delivering = False, threading.RLock()
        self._was_connected = self._has_no_stamp = False
        self._said: dict[str, Any] = {}
        self._latest_id: int | None = None
        self._context = thread.Context("pva", nt=False)
        self._monitor = self._context.monitor(address, self._on_value, request=request, notify_disconnect=True)

    def close(self) -> None:
        with self._delivering:
            self._is_closed = True  # closing our own context is no death of the server
        self._monitor.close()
        self._context.close()

    def _on_value(self, value: Any) -> None:
        with self._delivering:
            if not self._is_closed:
                self._on_news(value)

    def _on_news(self, value: Any) -> None:
        if isinstance(value, self._disconnected):
            self._latest_id = None
            if self._was_connected:
                self._deliver.state(State.LOST, f"the server of PV {self._address!r} does not answer any more")
        elif isinstance(value, Exception):
            self._deliver.state(State.REFUSED, f"PV {self._address!r}: {value or type(value).__name__}")
        else:
            self._was_connected = True
            self._take(value)

    def _take(self, value: Any) -> None:
        kind = str(value.getID())
        try:
            number, flags = _content(value, kind, self._is_image)
        except (KeyError, TypeError, ValueError) as error:
            self._deliver.refuse(f"a value of PV {self._address!r} ({kind}) cannot be read: {error}")
            return
        if number is None:
            what = "text" if isinstance(value.get("value"), str) else f"of the type {kind}"
            self._deliver.state(State.REFUSED, f"PV {self._address!r} is {what}: channels are numbers")
            self._deliver.refuse(f"PV {self._address!r} is {what}: channels are numbers")
            return
        self._say(type=kind, unit=_get(value, "display.units") or None, flags=flags)
        time_ns = stamp_ns(_get(value, "timeStamp.secondsPastEpoch"), _get(value, "timeStamp.nanoseconds"))
        if (time_ns is None) != self._has_no_stamp:
            self._has_no_stamp = time_ns is None
            self._deliver.describe(has_no_stamp=self._has_no_stamp)
        severity = int(_get(value, "alarm.severity") or 0)
        self._deliver.sample(number, time_ns, self._id(value), severity)

    def _id(self, value: Any) -> int:
        if "uniqueId" not in value:
            return int(_get(value, "timeStamp.userTag") or -1)
        number = int(value["uniqueId"])
        if self._latest_id is not None and number > self._latest_id + 1:
            self._deliver.squash(number - self._latest_id - 1)
        self._latest_id = number
        return number

    def _say(self, **more: Any) -> None:
        new = {name: one for name, one in more.items() if one is not None and self._said.get(name) != one}
        if new:
            self._said |= new
            self._deliver.describe(**new)


def _content(value: Any, kind: str, is_image: bool) -> tuple[Any, list[str] | None]:
    """Return the number, or numbers, of a value, and the texts of an enum; None for what is neither."""
    content = value.get("value")
    if kind.startswith("epics:nt/NTEnum"):
        return int(content["index"]), [str(text) for text in content["choices"]]
    if kind.startswith("epics:nt/NTNDArray"):
        codec = _get(value, "codec.name")
        if codec:
            raise ValueError(f"it is compressed ({codec}): switch that off in its source")
        if content is None:
            raise ValueError("it has no pixels")
        sizes = [int(one["size"]) for one in value["dimension"]]
        return np.asarray(content).reshape(sizes[::-1]), None  # the fastest dimension comes first
    if isinstance(content, np.ndarray):
        return (content if is_image else content.tolist()), None
    if isinstance(content, int | float | bool):
        return content, None
    return None, None


def _get(value: Any, path: str) -> Any:
    """Return a part of a structure; None where it does not have it."""
    try:
        return value[path]
    except KeyError:
        return None
