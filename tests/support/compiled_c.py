"""Libraries in C that programs preload, compiled once for all tests of a process."""

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["compiled", "has_compiler"]


@functools.cache
def _compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


def has_compiler() -> bool:
    """Whether libraries can be compiled and preloaded here."""
    return sys.platform == "linux" and _compiler() is not None


@functools.cache
def compiled(source: Path) -> Path:
    """Return the shared library of a file in C, where `has_compiler`."""
    directory = tempfile.mkdtemp(prefix="openhsi_shared-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    library = Path(directory, source.with_suffix(".so").name)
    command = [str(_compiler()), "-shared", "-fPIC", "-O1", "-Wall", "-o", str(library), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library
