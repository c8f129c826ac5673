"""Paths of the default files of the simulated camera, made by `assets/make_assets.py`."""

from pathlib import Path

__all__ = ["CALIBRATION_PATH", "SCENE_PATH", "SETTINGS_PATH"]

SCENE_PATH = Path(__file__).parent / "scene.png"
"""A coast, scanned from left to right; its right end matches its left end."""
SETTINGS_PATH = Path(__file__).parent / "cam_settings_simulated.json"
"""Settings of the simulated camera, with every key of openhsi."""
CALIBRATION_PATH = Path(__file__).parent / "cam_calibration_simulated.nc"
"""Calibration of the simulated camera in openhsi's layout, with the values of all levels."""
