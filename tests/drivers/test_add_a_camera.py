"""The driver that docs/add_a_camera.md shows is a true one: it passes the contract on a made-up vendor's package."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared.settings import CameraSettings
from openhsi_shared.testing import CameraContract

PAGE = Path(__file__).parents[2] / "docs" / "add_a_camera.md"


class AcmeError(Exception):
    pass


class AcmeTimeout(AcmeError):
    pass


class AcmeCamera:
    shape = (32, 64)
    exposure_us = 1000.0

    def start(self, queue, drop):
        self.number = 0

    def next(self, timeout_s):
        self.number += 1
        pixels = np.full(self.shape, self.number, np.uint16)
        return types.SimpleNamespace(pixels=pixels, number=self.number, time_ns=self.number * 1000, is_whole=True)

    def stop(self):
        pass

    def disconnect(self):
        pass


@pytest.fixture
def shown(monkeypatch):
    """The names of the page's first block of code."""
    sdk = types.ModuleType("acme_sdk")
    sdk.AcmeError, sdk.AcmeTimeout, sdk.connect = AcmeError, AcmeTimeout, lambda port: AcmeCamera()
    monkeypatch.setitem(sys.modules, "acme_sdk", sdk)
    names = {}
    exec(re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL).group(1), names)
    return names


class TestTheDriverOfThePage(CameraContract):
    @pytest.fixture
    def driver(self, shown):
        return shown["AcmeDriver"](CameraSettings(resolution=(32, 64), exposure_ms=1))
