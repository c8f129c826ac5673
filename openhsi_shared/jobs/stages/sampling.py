"""Which lines of a cube a survey looks at."""

__all__ = ["evenly_spread"]


def evenly_spread(n_lines: int, n: int) -> range:
    """At most `n` of the lines, at least half as many, with the same distance from each other, over the whole cube.

    >>> evenly_spread(10, 20), evenly_spread(100, 3)
    (range(0, 10), range(15, 100, 34))
    """
    step = -(-n_lines // n)
    return range((n_lines - 1) % step // 2, n_lines, step)
