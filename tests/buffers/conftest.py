"""A ring, and a name for one."""

import os

import pytest

from openhsi_shared import SharedRing


@pytest.fixture
def ring():
    with SharedRing(16, create=True) as made:
        yield made


@pytest.fixture
def name():
    return f"test-{os.getpid()}"
