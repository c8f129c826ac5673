"""The registry of drivers: built-in ones, and those of other packages."""

import subprocess
import sys

import pytest

from openhsi_shared.drivers import driver_class, driver_names
from openhsi_shared.drivers.simulated import SimulatedDriver
from openhsi_shared.errors import CameraError, DriverMissing

FOREIGN = """
[openhsi_shared.drivers]
lamp = lamp_driver:LampDriver
broken = lamp_driver_that_misses:LampDriver
"""


@pytest.fixture
def foreign_package(tmp_path, monkeypatch):
    """An installed package that brings two drivers; one lacks its vendor's package."""
    info = tmp_path / "lamp_driver-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lamp_driver\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(FOREIGN)
    (tmp_path / "lamp_driver.py").write_text("class LampDriver:\n    pass\n")
    (tmp_path / "lamp_driver_that_misses.py").write_text("import vendor_of_lamps\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_our_own_drivers_are_known_by_name():
    assert {"simulated", "replay", "basler"} <= set(driver_names())
    assert driver_class("simulated") is SimulatedDriver


def test_a_driver_of_another_package_is_found_by_its_entry_point(foreign_package):
    assert {"lamp", "broken"} <= set(driver_names())
    assert driver_class("lamp").__module__ == "lamp_driver"


def test_an_unknown_name_is_refused_with_the_nearest_and_all_names():
    with pytest.raises(
        DriverMissing, match=r"no driver called 'bassler' \(did you mean basler\?\); there are \[.*'replay'"
    ):
        driver_class("bassler")


def test_a_missing_package_of_a_vendor_is_named(foreign_package):
    with pytest.raises(DriverMissing, match="camera 'broken' needs the package 'vendor_of_lamps'") as caught:
        driver_class("broken")
    assert isinstance(caught.value, CameraError | ImportError)


def test_a_driver_is_imported_only_when_asked_for():
    code = """
import sys
from openhsi_shared.drivers import driver_names
driver_names()
print(sorted({name.partition(".")[0] for name in sys.modules} & {"pypylon", "h5py", "xarray", "PIL", "matplotlib"}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
