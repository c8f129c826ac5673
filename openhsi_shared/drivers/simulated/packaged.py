"""Where the files lie that the simulated camera needs by default; `assets/make_assets.py` makes them."""

from pathlib import Path

__all__ = ["CALIBRATION_PATH", "SCENE_PATH", "SETTINGS_PATH"]

SCENE_PATH = Path(__file__).parent / "scene.png"
"""A stretch of coast, flown from left to right; its right end joins its left."""
SETTINGS_PATH = Path(__file__).parent / "cam_settings_simulated.json"
"""Settings of the simulated camera, every key of openhsi's."""
CALIBRATION_PATH = Path(__file__).parent / "cam_calibration_simulated.nc"
"""Calibration of the simulated camera in openhsi's layout, with everything that any level needs."""
