"""Basler's emulated cameras, for every test of a driver."""

import os

import pytest

os.environ.setdefault("PYLON_CAMEMU", "2")  # before pypylon is imported, here and in spawned children
pytest.register_assert_rewrite("openhsi_shared.testing")
