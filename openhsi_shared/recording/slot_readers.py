"""What reads the slots of a recording besides its writer: analyses, and a capture."""

from dataclasses import replace
from typing import TYPE_CHECKING

from openhsi_shared.buffers.slot_memory import SlotMemory
from openhsi_shared.channels.attached import AttachedChannels
from openhsi_shared.datacube.control_server import ControlServer
from openhsi_shared.datacube.shared_openhsi import SharedOpenHSI
from openhsi_shared.recording.plan import RecordingPlan
from openhsi_shared.recording.reporting import picklable

if TYPE_CHECKING:
    from openhsi_shared.analysis.live.hosting import HostedReaders, SlotReader
    from openhsi_shared.analysis.live.messages import ReaderEnded

__all__ = ["ended_analyses", "host_readers"]


def ended_analyses(readers: "HostedReaders | None") -> "dict[str, ReaderEnded]":
    """How each analysis has ended, for another process."""
    ended = {} if readers is None else readers.ended()
    return {name: replace(one, error=one.error and picklable(one.error)) for name, one in ended.items()}


def host_readers(
    camera: SharedOpenHSI, control: ControlServer, plan: RecordingPlan, channels: AttachedChannels | None
) -> "HostedReaders | None":
    """Start what the plan wants; None if that is nothing."""
    if not plan.analyse and plan.capture is None:
        return None
    # not above: a recording without them starts sooner
    from openhsi_shared.analysis.live.capture_process import capture_reader
    from openhsi_shared.analysis.live.dispatcher import analysis_reader
    from openhsi_shared.analysis.streams.lines_of_slots import SlotSource

    about = control.about()

    def readers(memory: SlotMemory) -> "list[SlotReader]":
        found = [
            analysis_reader(
                analysis, SlotSource(memory, about, mode=analysis.mode, stream=analysis.stream, channels=channels)
            )
            for analysis in plan.analyse
        ]
        if plan.capture is not None:
            found.append(
                capture_reader(SlotSource(memory, about, mode="best_effort"), plan.capture, plan.capture_every)
            )
        return found

    return camera.host_readers(readers)
