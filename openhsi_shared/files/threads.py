"""Several threads for the lines of a file; none while the interpreter shuts down, when no thread can be started."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(n_threads: int, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Results of `function` in the order of `items`; raises the first exception."""
    try:
        with ThreadPoolExecutor(n_threads) as pool:
            return list(pool.map(function, items))
    except RuntimeError as error:
        if "interpreter shutdown" not in str(error):
            raise
    return [function(item) for item in items]
