"""Logs that others have recorded: a channel whose samples are all there already."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from openhsi_shared.buffers.samples import Counts, Samples
from openhsi_shared.buffers.times import Anchor
from openhsi_shared.channels.channel import Channel
from openhsi_shared.channels.delivering import Deliver
from openhsi_shared.channels.log_files import Log, read_log
from openhsi_shared.errors import ArgumentError, ChannelError
from openhsi_shared.matching.states import State
from openhsi_shared.paths import given_path
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["LogChannel"]

LOOK_EVERY = 1000
CLOSE_S = 60.0


class LogChannel(Channel):
    """A log at `path`: CSV with a line of names, NetCDF, raw NMEA, or the raw series in a file of this library.

    Its fields are the columns of numbers, or `columns`: names, or a mapping of field names to names in the log. A log
    with one column is a single value. `time`: the column of times, else the first with a usual name. `group`: of a
    NetCDF file; of a file of this library the channel's name.

    It is meant for `match_channels`, after a flight. Opened, it delivers all its samples at once, and has ended.
    """

    def __init__(
        self,
        name: str,
        path: str | Path,
        *,
        time: str | None = None,
        columns: Sequence[str] | Mapping[str, str] | None = None,
        group: str | None = None,
        **of_a_channel: Any,
    ) -> None:
        """`of_a_channel`: see `Channel`. Reads the log. ChannelError if it cannot be read, ArgumentError."""
        self.path = given_path(path).absolute()
        """The log."""
        self._options: dict[str, Any] = {"time": time, "columns": columns, "group": group}
        if "fields" in of_a_channel:
            raise ArgumentError(f"channel {name!r}: the fields of a log are its columns: choose them by columns=")
        self._of_fields = {key: of_a_channel.pop(key) for key in ("unit", "how") if of_a_channel.get(key) is not None}
        kind = of_a_channel.pop("kind", None)
        self._of_fields |= {"kind": kind} if kind is not None else {}
        fields = self._with_keywords(read_log(self.path, name, **self._options)).fields
        of_kind = {"kind": kind} if kind is not None else {}
        super().__init__(name, fields=fields, **of_kind, **{"source": f"log:{self.path}", **of_a_channel})
        self._thread: GuardedThread | None = None
        self._stopping: threading.Event | None = None

    @classmethod
    def from_address(cls, rest: str, name: str, **keywords: Any) -> "LogChannel":
        """Return the channel of "log:PATH"."""
        return cls(name, rest, **keywords)

    def _with_keywords(self, log: Log) -> Log:
        """Return the log with unit, kind and how as the user has given them, rather than the log."""
        return log._replace(fields=tuple(replace(field, **self._of_fields) for field in log.fields))

    def read(self) -> Samples:
        """Read all samples, in the order of the log. ChannelError if it has changed since this channel was made.

        `arrival_ns` is the stamp, except in a file of this library.
        """
        log = self._with_keywords(read_log(self.path, self.name, **self._options))
        if [field.name for field in log.fields] != [field.name for field in self.fields]:
            raise ChannelError(f"channel {self.name!r}: log {self.path} has other columns now: make the channel again")
        n = len(log.time_ns)
        return Samples(
            time_ns=log.time_ns,
            arrival_ns=log.more.get("arrival", log.time_ns),
            id=log.more.get("id", np.full(n, -1)),
            quality=log.more.get("quality", np.zeros(n, np.int64)),
            values=log.values,
            first_index=0,
            counts=Counts(n, log.n_refused, 0),
            states=(),
            description=log.description,
            anchor=Anchor(0, 0),
        )

    def open(self, deliver: Deliver) -> None:
        """See `Channel.open`: delivers in a thread. ChannelError if the log has changed since this channel was made."""
        if self._thread is not None:
            return
        samples = self.read()
        self._stopping = threading.Event()
        self._thread = GuardedThread(
            self._deliver,
            samples,
            deliver,
            self._stopping,
            name=f"channel {self.name}",
            failure=f"channel {self.name!r} has ended",
            on_failure=lambda error: deliver.state(State.ENDED, f"{type(error).__name__}: {error}"),
        )
        self._thread.start()

    def _deliver(self, samples: Samples, deliver: Deliver, stopping: threading.Event) -> None:
        deliver.describe(**samples.description)
        if samples.counts.refused:
            deliver.refuse(f"{samples.counts.refused} rows or sentences of {self.path}", samples.counts.refused)
        columns = (samples.time_ns, samples.id, samples.quality, samples.values)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for n, (time_ns, number, quality, values) in enumerate(rows):
            if n % LOOK_EVERY == 0 and stopping.is_set():
                return
            deliver.sample(values, time_ns, number, quality)
        deliver.state(State.ENDED, f"all {len(samples)} samples of the log are delivered")

    def close(self) -> None:
        """See `Channel.close`."""
        thread, stopping, self._thread, self._stopping = self._thread, self._stopping, None, None
        if thread is not None and stopping is not None:
            stopping.set()
            thread.join(CLOSE_S)
