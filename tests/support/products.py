"""Parameters of which only some combinations are tested in every run."""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import pytest

__all__ = ["each_value_once", "some"]


def each_value_once(*axes: Sequence[Any]) -> list[Any]:
    """All combinations of the values of each axis; those that bring no new value are in the campaign only.

    For tests in which each value has an effect of its own, and combinations are a precaution.
    """
    length = max(map(len, axes))
    diagonal = {tuple(step % len(axis) for axis in axes) for step in range(length)}
    return [
        pytest.param(
            *(axis[place] for axis, place in zip(axes, places, strict=True)),
            marks=() if places in diagonal else pytest.mark.campaign,
        )
        for places in product(*(range(len(axis)) for axis in axes))
    ]


def some(*values: Any, all_of: Iterable[Any]) -> list[Any]:
    """All values, or tuples of them; all but some are in the campaign only: they take the way of one of these."""
    every = list(all_of)
    assert set(values) <= set(every), values
    marks = [() if value in values else pytest.mark.campaign for value in every]
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=mark)
        for value, mark in zip(every, marks, strict=True)
    ]
