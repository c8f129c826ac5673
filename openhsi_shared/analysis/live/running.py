"""The handle of an analysis that runs beside a recording, or has run."""

import pickle
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from openhsi_shared.analysis.live.analysis import Analysis
from openhsi_shared.analysis.live.messages import ReaderEnded
from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.control.control_socket import Reply, request
from openhsi_shared.control.messages import A, AskAnalysis, AskPublished, Request, SetParameter
from openhsi_shared.control.snapshot import Snapshot
from openhsi_shared.errors import AnalysisError, ParameterError, RecordingError

__all__ = ["RunningAnalysis"]


class RunningAnalysis:
    """An analysis of a recording. All of it can be read after its end as well."""

    def __init__(
        self,
        analysis: Analysis,
        status: Callable[[], AnalysisStatus],
        ended: Callable[[], ReaderEnded | None],
        stop: Callable[[], None],
        make_cell: Callable[[Callable[[], AnalysisStatus]], Any],
    ) -> None:
        self.name = str(analysis.name)
        self._analysis = analysis
        self._status, self._ended, self._stop = status, ended, stop
        self._make_cell = make_cell

    @property
    def status(self) -> AnalysisStatus:
        """Current status; after the end the last one. Blocks for milliseconds, and raises as `Recording.status`."""
        ended = self._ended()
        return self._status() if ended is None else ended.status

    @property
    def published(self) -> Mapping[str, Any]:
        """A copy of what the reducer publishes now; after the end of what it published last. Blocks for milliseconds.

        AnalysisError if it does not answer.
        """
        ended = self._ended()
        if ended is not None:
            published: Mapping[str, Any] = pickle.loads(ended.published) if ended.published else {}
            return published
        descriptors = self._ask(AskPublished()).descriptors
        return Snapshot.from_memory(*descriptors).as_dict()

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The newest values by name. AnalysisError if it does not answer."""
        ended = self._ended()
        if ended is not None:
            return ended.parameters
        described = self._analysis.unpacked()[0].described
        now = self._ask(AskAnalysis(with_parameters=True)).answer.parameters
        return {name: described[name].value_of(b64decode(data)) for name, data in now.items()}

    def set_parameter(self, name: str, value: Any) -> tuple[int, np.datetime64]:
        """Let a value hold from an event on, the same for all workers; returns that event's number and the time.

        ParameterError if it does not fit, AnalysisError if the analysis has ended or does not answer.
        """
        if self._ended() is not None:
            raise AnalysisError(f"analysis {self.name} has ended: parameter {name!r} cannot be set any more")
        pair, parameters = self._analysis.unpacked()
        data = parameters.changed(pair.described, name, value)[name].data
        try:
            answer = self._ask(SetParameter(name, data.decode("latin-1"))).answer
        except RecordingError as refused:
            raise ParameterError(str(refused)) from None
        return answer.event_number, np.datetime64(answer.time_ns, "ns")

    def live(self) -> Any:
        """Show what it publishes in a notebook's cell, up to date until it ends. Returns the cell at once.

        PackageMissing without ipywidgets (the extra `notebook`).
        """
        return self._make_cell(lambda: self.status)

    def stop(self) -> None:
        """Let it process what its workers have, and finish; the recording continues. Does not block. Idempotent."""
        self._stop()

    def _ask(self, message: Request[A]) -> Reply[A]:
        path = self.status.socket
        if not path:
            raise AnalysisError(f"analysis {self.name} has no control socket")
        try:
            return request(Path(path), message)
        except OSError as error:
            raise AnalysisError(f"analysis {self.name} does not answer: {error}") from error

    def __repr__(self) -> str:
        ended = self._ended()
        return f"<analysis {self.name}, {'running' if ended is None else ended.status}>"
