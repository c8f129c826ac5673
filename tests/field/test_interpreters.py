"""Programs that multiprocessing cannot start again as a child: frozen ones, embedded interpreters, patched threads."""

import sys

import pytest

from tests.support.flow import CAMERA, processes_in, run
from tests.support.helpers import wait_for
from tests.support.products import some

FROZEN = f"""
import sys
sys.frozen = True
{CAMERA}
with camera() as cam:
    cam.collect()
    cam.save("out")
print("a camera was made")
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--multiprocessing-fork", "tracker_fd=5", "pipe_handle=7"],
        ["-B", "-c", "from multiprocessing.resource_tracker import main;main(5)"],
    ],
    ids=["child", "resource tracker"],
)
def test_a_child_of_a_frozen_program_without_freeze_support_makes_no_camera(tmp_path, arguments):
    """A program of PyInstaller started copies of itself without end."""
    _, output, errors = run(FROZEN.replace("import sys", f"import sys; sys.argv[1:] = {arguments}"), tmp_path)
    assert "must call multiprocessing.freeze_support() before anything else" in errors
    assert "a camera was made" not in output


def test_a_frozen_program_starts_no_copies_without_end(tmp_path):
    """Its executable is a script that runs the program, whatever its arguments are."""
    (tmp_path / "frozen").write_text(f'#!/bin/sh\nexec "{sys.executable}" program.py "$@"\n')
    (tmp_path / "frozen").chmod(0o755)
    code = "open('starts', 'a').write('x')\nimport multiprocessing, os\n"
    code += f"multiprocessing.set_executable(os.path.abspath('frozen'))\n{FROZEN}"
    status, _, errors = run(code, tmp_path)
    assert status == 1
    assert "the writer did not start: exit code 1" in errors
    assert errors.count("must call multiprocessing.freeze_support()") >= 1
    wait_for(lambda: not processes_in(tmp_path))
    assert len((tmp_path / "starts").read_text()) <= 5


@pytest.mark.parametrize(
    ("executable", "words"),
    [("/bin/false", "it was started by '/bin/false' (sys.executable), which is no Python"), ("", "sys.executable is ")],
)
def test_an_error_names_an_executable_that_is_no_python(tmp_path, executable, words):
    """In QGIS and Blender, `sys.executable` is the application."""
    code = f"import multiprocessing\nmultiprocessing.set_executable({executable!r})\n{CAMERA}"
    status, _, errors = run(code + "with camera() as cam: pass\n", tmp_path)
    assert (status, words in errors, "multiprocessing.set_executable()" in errors) == (1, True, True), errors


@pytest.mark.parametrize("library", some("gevent", all_of=("gevent", "eventlet")))
def test_a_library_that_replaces_threads_is_named(tmp_path, library):
    code = "import threading\nget_ident = threading.get_ident\ndef own(): return get_ident()\n"
    code += f"own.__module__ = '{library}.thread'\nthreading.get_ident = own\n{CAMERA}with camera() as cam: pass\n"
    status, _, errors = run(code, tmp_path)
    assert status == 0
    assert f"{library} has replaced Python's threads" in errors
