"""A replay as it is served: the run that is going on, or the last one."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from openhsi_shared.analysis.parameters import Parameter, Parameters
from openhsi_shared.analysis.work.run import Run
from openhsi_shared.control.analysis_status import AnalysisStatus

__all__ = ["ServedReplay"]


class ServedReplay:
    """What `publishing.server.serve` needs of a replay (`Published`). For any thread."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.is_ended = False

    @property
    def publish(self) -> Mapping[Any, Any]:
        """What the reducer publishes."""
        return self.run.reducer.publish

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Held by who changes it, and by who reads it."""
        return self.run.reducer.lock

    @property
    def described(self) -> Mapping[str, Parameter]:
        """Parameters of worker and reducer."""
        return self.run.pair.described

    @property
    def parameters(self) -> Parameters:
        """Their newest values."""
        return self.run.log.newest

    def status(self) -> AnalysisStatus:
        """Status now."""
        run = self.run
        return AnalysisStatus(
            name=run.pair.worker_name,
            mode="lossless",
            state="ended" if self.is_ended else "running",
            events=run.n_events,
            results=run.reducer.n_results,
            failed=run.failures.n_failed,
        )

    def set_parameter(self, name: str, data: bytes | str) -> tuple[int, np.datetime64, str]:
        """Let a value hold from the next event on that no worker has yet. ParameterError if it does not fit."""
        number, when, parameters = self.run.set_parameter(name, data)
        return number, when, parameters.hash
