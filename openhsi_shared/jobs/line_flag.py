"""What became of a line of the result."""

from enum import IntEnum

__all__ = ["LineFlag"]


class LineFlag(IntEnum):
    """`line_flag` of a line of the result; the worst of the lines that it is made of."""

    GOOD = 0
    FAILED = 1
    """A stage failed."""
    DAMAGED = 2
    """Damaged in the source."""
    LOST = 3
    """Not in the source: lost before it."""
