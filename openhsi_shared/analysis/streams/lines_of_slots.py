"""Lines of a running recording as events, read from its slots while they are there.

The process that distributes events follows the control words of the slots (`SlotRanges`), the workers read the lines
(`SlotReader`). With mode "lossless" a slot is lent until its lines are processed, and a line is a view of it. With
"best_effort" (a lease that the recording may take back) and "tap" (none) a line is copied, and counts only if its slot
still holds it afterwards.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from openhsi_shared.analysis import events
from openhsi_shared.analysis.events import Line
from openhsi_shared.analysis.streams.line_events import LineStream
from openhsi_shared.analysis.streams.slot_ranges import LinesInSlot, SlotRanges
from openhsi_shared.analysis.streams.source import Overwritten, Range, Read, Reader, Source
from openhsi_shared.buffers.slot_memory import SlotMemory
from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.buffers.tap import Tap
from openhsi_shared.control.analysis_status import Mode
from openhsi_shared.control.control_socket import request
from openhsi_shared.control.messages import About, AskSlots
from openhsi_shared.errors import ArgumentError, RecordingError

if TYPE_CHECKING:
    from openhsi_shared.channels.attached import AttachedChannels

__all__ = ["SlotReader", "SlotSource"]


class SlotSource(Source):
    """The lines of a recording, for children that are born with its slots, or for other programs.

    Event numbers are those of a replay of the saved cubes.
    """

    is_live = True

    def __init__(
        self,
        slots: SlotMemory | Path,
        about: About | None = None,
        *,
        mode: Mode = "tap",
        stream: str = "lines",
        channels: "AttachedChannels | None" = None,
    ) -> None:
        """The memory of the slots, with `ControlServer.about()`, or the path of a control socket, which is a tap.

        ArgumentError for another mode; RecordingError if no process answers at the path.
        """
        if mode not in get_args(Mode) or (mode != "tap" and isinstance(slots, Path)):
            raise ArgumentError(f"mode {mode!r} of {slots} must be one of {get_args(Mode)}; only a tap is attached")
        self.slots, self.mode, self.stream, self.channels = slots, mode, stream, channels
        self.about = about if about is not None else _ask(slots)[1]

    def open(self) -> tuple[SlotView, Callable[[], None]]:
        """The slots as this process sees them, and what releases them. RecordingError if the recording has ended."""
        if isinstance(self.slots, SlotMemory):
            view = SlotView.of(self.slots)
            return view, view.release
        tap, _ = _ask(self.slots)
        return tap.view, tap.close

    def ranges(self) -> SlotRanges:
        """Follow the slots, from their first cube on; if it is attached, from the newest line on."""
        view, release = self.open()
        return SlotRanges(view, release, self.about, self.mode, self.slots if isinstance(self.slots, Path) else None)

    def reader(self) -> "SlotReader":
        """Open it in a process that reads."""
        return SlotReader(self)


def _ask(slots: Any) -> tuple[Tap, About]:
    """Map the slots of the recording whose control socket has this path."""
    if not isinstance(slots, Path):
        raise ArgumentError(f"the memory of slots needs what is known about their camera, got {slots!r} alone")
    try:
        answer, descriptors = request(slots, AskSlots())
    except OSError as error:
        raise RecordingError(f"no recording answers at {slots}: {error}; has it ended?") from error
    return Tap(answer.export, descriptors), answer.about


class SlotReader(Reader):
    """Reads lines of slots."""

    def __init__(self, source: SlotSource) -> None:
        self._stream, self._is_view = LineStream(source.stream), source.mode == "lossless"
        about = source.about
        self._about = events.About(
            wavelengths_nm=None if about.wavelengths_nm is None else np.array(about.wavelengths_nm),
            level=about.level,
            settings=json.loads(about.settings),
            exposure_ms=about.exposure_ms,
            full_scale=about.full_scale,
        )
        channels = source.channels
        self._channels = {} if channels is None else channels.memory.views()
        self._properties = {} if channels is None else channels.properties
        self._slots, self._release = source.open()
        layout = self._slots.layout
        self._memory = np.empty(layout.line_shape, layout.dtype)
        self._copy = self._memory.view()
        self._copy.flags.writeable = False

    def events(self, part: Range) -> Iterator[Read]:
        """Read the events of a range. A line that was overwritten meanwhile gives an `Overwritten`."""
        numbers = part.numbers.tolist()
        if isinstance(part.where, str):
            yield self._stream.header(part.where, self._about)
        elif part.where is None:
            yield self._stream.end(numbers[0], self._about)
        else:
            where: LinesInSlot = part.where
            frame_ids = where.frame_ids.tolist()
            for number, frame_id, line in zip(numbers, frame_ids, self._lines(where, frame_ids), strict=True):
                yield Overwritten(number, frame_id) if line is None else self._stream.line(number, line, self._about)

    def _lines(self, where: LinesInSlot, frame_ids: list[int]) -> Iterator[Line | None]:
        """The lines; None for one that is not there any more."""
        slots, (slot, cube, first, *_) = self._slots, where
        stop = first + len(frame_ids)
        times = slots.column_of_lines(slot, first, stop, "time_ns").view("datetime64[ns]")
        temperatures = slots.column_of_lines(slot, first, stop, "temperature").tolist()
        lost_before = slots.lost_before(slot, first, stop)
        channels = self._channels_now()
        for index, frame_id in enumerate(frame_ids):
            data = slots.lines(slot)[(first + index) % slots.layout.n_lines]
            if not self._is_view:
                np.copyto(self._memory, data)
                data = self._copy
            if not slots.has_line(slot, cube, first + index):  # after the copy, and after all columns
                yield None
                continue
            yield Line(
                data=data,
                cube=cube,
                y=first + index,
                frame_id=frame_id,
                time=times[index],
                temperature=temperatures[index],
                channels=channels,
                lost_before=lost_before[index],
            )

    def _channels_now(self) -> dict[str, float]:
        """The newest value of each channel, by the names of the columns of the file."""
        found: dict[str, float] = {}
        for name, view in self._channels.items():
            if (sample := view.newest()) is not None:
                found |= zip(self._properties[name].variables, sample.values, strict=False)
        return found

    def close(self) -> None:
        """Release the memory. Idempotent."""
        self._release()
