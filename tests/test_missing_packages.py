"""With the core dependencies and pytest alone, every test is found, and those that cannot run skip with the reason."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.helpers import environment

ROOT = Path(__file__).parents[1]
OPTIONAL = (
    *("pypylon", "harvesters", "genicam", "cv2", "pyfive", "compliance_checker", "gi", "hatchling", "pip"),
    *("ipywidgets", "ipykernel", "IPython", "jupyter_client", "playwright", "tkinter", "_tkinter"),
    *("xdist", "pytest_timeout", "zarr", "serial", "epics", "p4p", "spectral", "distributed", "pynmea2"),
    *("softioc", "caproto"),
)
BLOCKER = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def test_what_lacks_a_package_skips_and_names_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-rs", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=environment(PYTHONPATH=path, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", COLUMNS="200"),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    skipped = re.findall(r"^SKIPPED \[\d+\] (\S+?):\d+: (.*)", done.stdout, re.MULTILINE)
    assert {Path(file).name for file, reason in skipped if "is missing: pip install" in reason} >= {
        *("test_basler.py", "test_genicam.py", "test_web.py", "test_notebook.py"),
    }
    assert "tests/files/test_writing.py: " in done.stdout
