"""What a server of an analysis needs to know of it."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np

from openhsi_shared.analysis.parameters import Parameter, Parameters
from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.errors import AnalysisError

__all__ = ["Published", "ReadPublish", "held"]

TIMEOUT_S = 10.0


class ReadPublish(Protocol):
    """What a reducer publishes; a ReduceRunner is one."""

    @property
    def publish(self) -> Mapping[Any, Any]:
        """The dict itself."""
        ...

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Held by who changes it, and by who reads it."""
        ...


class Published(ReadPublish, Protocol):
    """An analysis, as it is served. All is called in threads of the server."""

    @property
    def described(self) -> Mapping[str, Parameter]:
        """Its parameters."""
        ...

    @property
    def parameters(self) -> Parameters:
        """Their newest values."""
        ...

    def status(self) -> AnalysisStatus:
        """Status now. Does not block."""
        ...

    def set_parameter(self, name: str, data: bytes | str) -> tuple[int, np.datetime64, str]:
        """Let a value, or its text, hold from the returned event number on; also its time (UTC), and the new hash.

        ParameterError if it does not fit.
        """
        ...


@contextmanager
def held(lock: AbstractContextManager[Any]) -> Iterator[None]:
    """Hold a lock, of this library or of a user. AnalysisError if the reducer does not release it within 10 s."""
    acquire = getattr(lock, "acquire", None)
    if acquire is None:
        with lock:
            yield
        return
    if not acquire(timeout=TIMEOUT_S):
        raise AnalysisError(
            f"what is published cannot be read: the reducer has been at one result for {TIMEOUT_S:.0f} s"
        )
    try:
        yield
    finally:
        lock.release()  # type: ignore[attr-defined] # who has acquire has release
