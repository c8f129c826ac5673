"""Basler's emulated cameras, for every test of a driver."""

import os

os.environ.setdefault("PYLON_CAMEMU", "2")  # before pypylon is imported, here and in spawned children
