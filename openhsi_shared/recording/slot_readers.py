"""What reads the slots of a recording besides its writer: analyses, and a capture."""

from openhsi_shared.analysis.live.capture_process import capture_reader
from openhsi_shared.analysis.live.dispatcher import analysis_reader
from openhsi_shared.analysis.live.hosting import HostedReaders, SlotReader
from openhsi_shared.analysis.streams.lines_of_slots import SlotSource
from openhsi_shared.buffers.slot_memory import SlotMemory
from openhsi_shared.channels.attached import AttachedChannels
from openhsi_shared.datacube.control_server import ControlServer
from openhsi_shared.datacube.shared_openhsi import SharedOpenHSI
from openhsi_shared.recording.plan import RecordingPlan

__all__ = ["host_readers"]


def host_readers(
    camera: SharedOpenHSI, control: ControlServer, plan: RecordingPlan, channels: AttachedChannels | None
) -> HostedReaders | None:
    """Start what the plan wants; None if that is nothing."""
    if not plan.analyse and plan.capture is None:
        return None
    about = control.about()

    def readers(memory: SlotMemory) -> list[SlotReader]:
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
