"""A test that leaves something behind fails, whatever it is; what others leave at the same time does not matter."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openhsi_shared import SharedRing
from openhsi_shared.buffers.ring_file import remove_stale
from tests.support.helpers import TIMEOUT_S, environment, wait_for
from tests.support.leaks import SEES_ALL

SHM = Path("/dev/shm")
pytestmark = pytest.mark.skipif(not SHM.is_dir(), reason="shared memory has no files here")

HEAD = """
import multiprocessing, os, subprocess, sys
from pathlib import Path
import numpy as np
import pytest
import tests.conftest
from openhsi_shared import SharedRing
from openhsi_shared.buffers.memory import shared_array
from tests.support.helpers import wait_for
tests.conftest.TIMEOUT_S = 0.5
READ = [sys.executable, "-c", "input()"]
KEPT = []
"""
LEAKS = {
    "a child": ("KEPT.append(subprocess.Popen(READ, stdin=subprocess.PIPE))", "processes left behind: .*input"),
    "a grandchild without parent": (
        """code = f"import subprocess; subprocess.Popen({READ})"
    KEPT.append(subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE))
    KEPT[-1].wait()""",
        "processes left behind: .*input",
    ),
    "a ring": ('KEPT.append(SharedRing(16, "one-left-by-a-test", create=True))', r"files left behind: .*\.ring"),
    "a ring whose creator was killed": (
        """code = "import os; from openhsi_shared import SharedRing as Ring; ring = Ring(16, 'left-by-a-test', True)"
    subprocess.run([sys.executable, "-c", f"{code}; os._exit(1)"])""",
        r"files left behind: .*\.ring",
    ),
    "a file of multiprocessing": (
        'Path(f"/dev/shm/pym-{os.getpid()}-left-by-a-test").touch()',
        "files left behind: .*left-by-a-test",
    ),
    "a small array": ('KEPT.append(shared_array("B", 100, "it"))', "memory left behind: .*pym.*deleted"),
    "a large array": ('KEPT.append(multiprocessing.Array("B", 8 << 20))', "memory left behind: .*pym.*deleted"),
    "memory that only a view holds": (
        'KEPT.append(np.frombuffer(shared_array("B", 32 << 20, "it"), np.uint8)[:1])',
        "memory left behind: .*pym.*deleted",
    ),
    "a file without a name": ('KEPT.append(os.memfd_create("it"))', "memory left behind: .*memfd:it"),
}


@contextlib.contextmanager
def running(code: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Run tests with our fixture in another process."""
    (directory / "pytest.ini").touch()
    (directory / "test_it.py").write_text(HEAD + code)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "-c",
        "pytest.ini",
    ]
    with subprocess.Popen(
        [*command, "--rootdir=.", "test_it.py"],
        cwd=directory,
        env=environment(COLUMNS="500", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", **{SEES_ALL: "1"}),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What comes of one test for each kind of leak."""
    code = "".join(f"def test_{re.sub(chr(32), '_', name)}():\n    {body}\n\n" for name, (body, _) in LEAKS.items())
    with running(code, tmp_path_factory.mktemp("leaks")) as process:
        yield process.communicate(timeout=3 * TIMEOUT_S)[0]
    remove_stale()
    for path in SHM.glob(f"pym-{process.pid}-left-by-a-test"):
        path.unlink()


@pytest.mark.parametrize("name", LEAKS)
def test_what_a_test_leaves_behind_lets_it_fail(said: str, name: str) -> None:
    found = re.search(rf"^ERROR test_it\.py::test_{name.replace(' ', '_')} - AssertionError: (.*)", said, re.MULTILINE)
    assert found, said
    assert re.search(LEAKS[name][1], found[1])


def test_what_others_do_meanwhile_does_not_matter(tmp_path: Path) -> None:
    code = """
def test_alone():
    Path("began").touch()
    wait_for(Path("others").exists)
"""
    semaphore = SHM / f"sem.{tmp_path.name}"
    with running(code, tmp_path) as process:
        wait_for((tmp_path / "began").exists, TIMEOUT_S)
        with (
            SharedRing(16, create=True),
            subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE),
        ):
            semaphore.touch()
            (tmp_path / "others").touch()
            out, _ = process.communicate(timeout=TIMEOUT_S)
            semaphore.unlink()
    assert process.returncode == 0, out


def test_what_ends_by_itself_and_what_is_used_again_is_no_leak(tmp_path: Path) -> None:
    code = """
def test_short():
    subprocess.Popen([sys.executable, "-c", ""])

@pytest.fixture
def ring():
    with SharedRing(16, create=True) as made:
        yield made

def test_closed(ring):
    from tests.support.process_faults import camera  # imports much
    shared_array("B", 100, "it")
    with camera() as cube:
        cube.collect()
        cube.save("out").join()
"""
    with running(code, tmp_path) as process:
        out, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, out
