"""Events that are overwritten behind a worker, so that one that keeps a view is found at home."""

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from openhsi_shared.analysis.events import Event, StreamData
from openhsi_shared.errors import AnalysisError

__all__ = ["OverwrittenBehind"]

PATTERN = b"\xa5"


class OverwrittenBehind:
    """Calls a worker with copies of events, in memory that is overwritten when it returns."""

    def __init__(self, process: Callable[[Event, Any, bool], bytes | None]) -> None:
        self._process = process

    def __call__(self, event: Event, parameters: Any, tick: bool) -> bytes | None:
        """Process an event. AnalysisError if a view of it is kept."""
        memory: list[bytearray] = []
        copied = _copied(event, memory)
        try:
            result = self._process(copied, parameters, tick)
        finally:
            del copied
            is_kept = sum(map(_overwritten, memory)) > 0
        if is_kept:
            raise AnalysisError(
                f"the worker keeps a view of event {event.event_number}, whose memory is used again when process_event "
                "returns: keep a copy",
                event_number=event.event_number,
            )
        return result


def _copied(event: Event, memory: list[bytearray]) -> Event:
    def copy(data: Any) -> memoryview:
        memory.append(bytearray(data))
        return memoryview(memory[-1]).toreadonly()

    streams = {
        name: StreamData(data.typ, [copy(frame) if isinstance(frame, memoryview) else frame for frame in data.frames])
        for name, data in event.streams.items()
    }
    line = event.line
    if line is not None:
        view = np.frombuffer(copy(np.ascontiguousarray(line.data)), line.data.dtype).reshape(line.data.shape)
        line = replace(line, data=view)
    return Event(event.event_number, streams, line, event.about)


def _overwritten(memory: bytearray) -> bool:
    """Overwrite it; return whether someone still has a view of it."""
    memory[:] = PATTERN * len(memory)
    for attempt in range(2):
        try:
            memory.clear()
        except BufferError:
            if attempt == 0:
                gc.collect()  # views in circles of references
        else:
            return False
    return True
