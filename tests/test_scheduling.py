"""The workers of a test run: what was done by one that dies is not done again, and the run ends."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import os
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range(40))
def test_it(number):
    if number == 30 and not Path("died").exists():
        Path("died").touch()
        os._exit(3)
"""


@pytest.mark.campaign
def test_a_run_ends_though_a_worker_dies(tmp_path: Path) -> None:
    pytest.importorskip("xdist", reason="xdist is missing: pip install 'openhsi_shared[test]'")
    shutil.copy(Path(__file__).parents[1] / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "test_them.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done.stderr
    assert re.search(r"worker 'gw\d' crashed while running 'test_them.py::test_it\[30\]'", done.stdout)
    assert "1 failed, 40 passed" in done.stdout, "it is tried again"
