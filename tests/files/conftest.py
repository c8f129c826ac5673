"""Fixtures of cubes with the layout of slots."""

from collections.abc import Callable

import pytest

from openhsi_shared.dataset import Cube
from tests.support.cubes import make_cube


@pytest.fixture
def cube_of() -> Callable[..., Cube]:
    """Make a cube of a size and kind."""
    return make_cube
