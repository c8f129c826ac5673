"""What needs a package that is not installed raises an error that names it; `.ci/wheel` has a small installation."""

import subprocess
import sys
from pathlib import Path

import pytest

from openhsi_shared.errors import OpenHSIError, PackageMissing
from openhsi_shared.packages import require
from tests.support.helpers import environment

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("bokeh", "tornado", "numba", "scipy", "h5netcdf", "pytest"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""
LEVELS = """
from openhsi_shared import SharedSimulatedCamera

for keywords in ({"processing_lvl": 5}, {"processing_lvl": 4, "compat": "openhsi"}):
    try:
        SharedSimulatedCamera(n_lines=4, **keywords)
    except ImportError as error:
        print(error)
"""
HALF_FLOATS = """
import h5py, numpy
from openhsi_shared import open_cube

with h5py.File("half.nc", "w") as file:
    lines = file["datacube"] = numpy.ones((5, 3, 4), numpy.float16)
    for axis, name in enumerate(("wavelength", "x", "y")):
        file[name] = numpy.arange(lines.shape[axis], dtype=float)
        file[name].make_scale(name)
        file["datacube"].dims[axis].attach_scale(file[name])
try:
    open_cube("half.nc").dataset
except ImportError as error:
    print(error)
"""


def test_the_error_names_what_needs_which_packages_and_how_to_install_them() -> None:
    with pytest.raises(PackageMissing, match=r"^a page needs no_a and no_b, not installed: pip install no_a no_b$"):
        require("a page", "no_a", "json", "no_b")
    assert issubclass(PackageMissing, (OpenHSIError, ImportError))


def test_what_is_installed_is_not_imported() -> None:
    code = "from openhsi_shared.packages import require, sys; require('x', 'xarray'); print('xarray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_levels_and_pages_are_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    without = environment(PYTHONPATH=f"{tmp_path}:{environment()['PYTHONPATH']}")
    levels = subprocess.run([sys.executable, "-c", LEVELS], env=without, capture_output=True, text=True, check=True)
    assert levels.stdout.splitlines() == [
        "processing_lvl=5 needs numba and scipy, not installed: pip install numba scipy",
        "the curve sfit of a calibration needs scipy, not installed: pip install scipy",
    ]
    command = [
        sys.executable,
        "-m",
        "openhsi_shared",
        "record",
        "--view",
        "--cubes",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    page = subprocess.run(command, env=without, capture_output=True, text=True, check=False)
    assert page.returncode == 1
    assert page.stderr == "Error: --view needs bokeh and tornado, not installed: pip install bokeh tornado\n"
    assert not (tmp_path / "out").exists()


def test_files_that_only_h5netcdf_reads_for_xarray_name_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    without = environment(PYTHONPATH=f"{tmp_path}:{environment()['PYTHONPATH']}")
    command = [sys.executable, "-c", HALF_FLOATS]
    done = subprocess.run(command, env=without, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "OpenCube.dataset of this file needs h5netcdf, not installed: pip install h5netcdf\n"


def test_the_contract_of_drivers_names_its_extra(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    without = environment(PYTHONPATH=f"{tmp_path}:{environment()['PYTHONPATH']}")
    command = [sys.executable, "-c", "import openhsi_shared.testing"]
    done = subprocess.run(command, env=without, capture_output=True, text=True, check=False)
    assert done.stderr.endswith("needs the package pytest: pip install 'openhsi_shared[contract]'\n")
