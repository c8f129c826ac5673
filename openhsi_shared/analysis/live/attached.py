"""An analysis of a recording that runs already: a tap, of which the recording knows nothing."""

from pathlib import Path
from typing import Self

from openhsi_shared.analysis.live.analysis import Analysis
from openhsi_shared.analysis.live.dispatcher import analysis_reader
from openhsi_shared.analysis.live.messages import EndNow, ReaderEnded, Ready
from openhsi_shared.analysis.streams.lines_of_slots import SlotSource
from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.errors import AnalysisError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.liveness import GONE
from openhsi_shared.processes.workers import how_it_ended

__all__ = ["Attached"]

logger = safe_logger(__name__)

POLL_INTERVAL_S = 0.25
END_TIMEOUT_S = 5.0


class Attached:
    """A running analysis of this process. Use it in a `with` block, which ends it. For one thread."""

    def __init__(self, analysis: Analysis, recording: Path) -> None:
        """Start it on the recording with this control socket, and wait until it is ready for lines.

        RecordingError if the recording has ended, AnalysisError if the analysis does not start.
        """
        reader = analysis_reader(analysis, SlotSource(recording, stream=analysis.stream))
        self._child = Child(reader.target, reader.args, name=f"analysis {reader.name}", logger=logger)
        self.status = AnalysisStatus(name=reader.name, mode="tap")
        """The newest one."""
        self._is_ended = False
        try:
            self._receive_until(Ready)
            self._receive_until(AnalysisStatus)  # it has the addresses
        except BaseException:
            self.close()
            raise

    def wait(self) -> None:
        """Block until it has ended, as it does with the recording. AnalysisError if it fails."""
        self._receive_until(ReaderEnded)

    def stop(self) -> None:
        """Let it process what its workers have, and finish. Does not block."""
        self._child.send(EndNow(""))

    def close(self) -> None:
        """End it. Idempotent."""
        self._child.hang_up()
        self._child.end(END_TIMEOUT_S)
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive_until(self, kind: type) -> None:
        while not self._is_ended:
            message = self._child.receive(POLL_INTERVAL_S)
            if isinstance(message, AnalysisStatus):
                self.status = message
            elif isinstance(message, ReaderEnded):
                self._is_ended, self.status = True, message.status
                if message.error is not None:
                    raise message.error
            elif message is GONE:
                self._child.join(END_TIMEOUT_S)
                raise AnalysisError(f"{self._child.name}: its process {how_it_ended(self._child.exit_code)}")
            if isinstance(message, kind):
                return
