"""Parameters of which only some combinations are tested in every run."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest

__all__ = ["each_value_once"]


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
