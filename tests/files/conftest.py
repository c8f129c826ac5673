"""Cubes as slots have them."""

from collections.abc import Callable

import pytest
from cubes import make_cube

from openhsi_shared.dataset import Cube


@pytest.fixture
def cube_of() -> Callable[..., Cube]:
    """Make a cube of a size and kind."""
    return make_cube
