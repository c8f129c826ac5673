"""A client of a scheduler of Dask."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from openhsi_shared.errors import OpenHSIError
from openhsi_shared.packages import needed_by

__all__ = ["DEATHS", "client_of"]

CONNECT_TIMEOUT_S = 10.0
DEATHS = ("KilledWorker", "CancelledError", "FutureCancelledError", "FuturesCancelledError")
"""Names of what is raised for a task whose worker died again and again, or that was cancelled."""


@contextmanager
def client_of(address: str, error_type: type[OpenHSIError]) -> Iterator[Any]:
    """A client of the scheduler at an address. `error_type` if it does not answer; PackageMissing."""
    with needed_by("scheduler", "distributed"):
        from distributed import Client
    client: Any = Client.__new__(Client)
    try:
        client.__init__(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # no answer; no address; TLS without certificates
        client.status = "closed"  # else its `__del__` waits for twice the timeout, and prints that
        raise error_type(
            f"the scheduler {address!r} does not answer within {CONNECT_TIMEOUT_S:.0f} s ({error}): is it running, "
            f"and is the address that of a scheduler, such as tcp://host:8786?"
        ) from error
    with client:
        yield client
