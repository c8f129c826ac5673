"""The right of a reader to read a slot."""

import dataclasses
import time

__all__ = ["Lease"]


@dataclasses.dataclass(frozen=True, eq=False)
class Lease:
    """The right of a reader to read a slot, whose cube does not change until the lease is released."""

    reader: str
    """Name of the process, such as "writer 4711"."""
    slot: int
    cube: int
    since: float
    """When it was lent, by `time.monotonic()`."""

    def __str__(self) -> str:
        """Reader, slot, cube, and age of the lease."""
        return f"{self.reader} holds slot {self.slot} (cube {self.cube}) for {time.monotonic() - self.since:.0f} s"
