"""A driver in a package of its own, installed as users install it: what docs/add_a_camera.md promises."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import openhsi_shared

PAGE = Path(__file__).parents[2] / "docs" / "add_a_camera.md"

ACME_SDK = '''
"""The made-up package of a made-up vendor."""

import types

import numpy as np


class AcmeError(Exception):
    pass


class AcmeTimeout(AcmeError):
    pass


class Camera:
    shape, exposure_us, number = (6, 10), 1000.0, 0

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


def connect(port):
    return Camera()
'''
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "acme_openhsi"
version = "1.0"

[tool.hatch.build.targets.wheel]
include = ["acme_openhsi.py", "acme_sdk.py"]

"""
SCRIPT = """
import sys
from openhsi_shared.cameras import camera_class
with camera_class("acme")(n_lines=5, resolution=(6, 10), exposure_ms=2) as cam:
    cam.collect(progress=False)
    path = cam.save(sys.argv[1]).result().path
import netCDF4
with netCDF4.Dataset(path) as file:
    print(type(cam).__name__, file["datacube"][0, :, 0].tolist(), file["frame_id"][:].tolist())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder like site-packages, with the plug-in in it; gives the environment that sees it."""
    pytest.importorskip("pip", reason="needs pip")
    pytest.importorskip("hatchling", reason="needs hatchling, which builds packages without the network")
    folder = tmp_path_factory.mktemp("acme")
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    driver = next(text for kind, text in blocks if kind == "python" and "class AcmeDriver" in text)
    entry_point = next(text for kind, text in blocks if kind == "toml" and "openhsi_shared.drivers" in text)
    source = folder / "source"
    source.mkdir()
    (source / "acme_openhsi.py").write_text(driver)
    (source / "acme_sdk.py").write_text(ACME_SDK)
    (source / "pyproject.toml").write_text(PROJECT + entry_point)
    site = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", str(site), str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    paths = [str(site), str(Path(openhsi_shared.__file__).parents[1]), sysconfig.get_path("purelib")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def run(environment, *arguments):
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_lists_it(installed):
    listed = [" ".join(line.split()) for line in run(installed, "-m", "openhsi_shared", "cameras").splitlines()]
    assert "acme ready 6 x 10 pixels, uint16" in listed


def test_a_script_records_with_it(installed, tmp_path):
    script = tmp_path / "flight.py"
    script.write_text(SCRIPT)
    said = run(installed, str(script), str(tmp_path))
    assert said.strip() == "SharedAcmeCamera [1, 2, 3, 4, 5] [1, 2, 3, 4, 5]"


def test_the_command_line_records_with_it(installed, tmp_path):
    options = ["--camera", "acme", "--lines", "4", "--cubes", "2", "--out", str(tmp_path)]
    run(installed, "-m", "openhsi_shared", "record", *options)
    assert len(list(tmp_path.rglob("*.nc"))) == 2


def test_its_author_runs_the_contract(installed, tmp_path):
    """The test file that the page shows, run in a pytest of its own."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    shown = next(text for text in blocks if "CameraContract" in text)
    (tmp_path / "test_acme.py").write_text(shown)
    said = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_acme.py"))
    assert " passed" in said
    assert "failed" not in said
