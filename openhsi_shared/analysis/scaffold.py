"""A folder to begin an analysis with: worker, reducer, parameters, a small capture, and a test that passes."""

import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

from openhsi_shared.analysis.events import Event
from openhsi_shared.analysis.pairs.lines import pixels_of
from openhsi_shared.analysis.streams.capture_writing import CaptureWriter
from openhsi_shared.analysis.streams.sources import open_source
from openhsi_shared.errors import AnalysisError, CaptureError

__all__ = ["make_analysis"]

N_LINES = 16
CAPTURE = "lines.cbors"
TEMPLATE = ("src/worker.py", "src/reducer.py", "test_analysis.py", "params.json", "README.md", ".gitignore")
"""Files to make; what is in them is in `template`, as text, since it is no part of the package."""


def make_analysis(directory: Path, source: Path) -> int:
    """Make `directory`, with a capture of the first 16 lines of `source`: a capture, a cube, a folder. Return how many.

    Under git, if git is there and the directory is in no repository yet. AnalysisError if it exists and is not empty;
    CaptureError or FileError if the source cannot be read; then nothing is left of it.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise AnalysisError(f"{directory} exists and is not empty: give the name of a new folder")
    is_new = not directory.exists()
    (directory / "data").mkdir(parents=True)
    try:
        n_lines = _cut(source, directory / "data" / CAPTURE)
        (directory / "src").mkdir()
        for name in TEMPLATE:
            found = files("openhsi_shared.analysis") / "template" / f"{name.split('/')[-1].lstrip('.')}.txt"
            text = found.read_text(encoding="utf-8").replace("CAPTURE", CAPTURE)
            text = text.replace("# NAME", f"# {directory.absolute().name}").replace(
                "N_LINES = 0", f"N_LINES = {n_lines}"
            )
            (directory / name).write_text(text, encoding="utf-8")
    except BaseException:
        for path in [directory] if is_new else list(directory.iterdir()):
            shutil.rmtree(path, ignore_errors=True)
        raise
    _put_under_git(directory)
    return n_lines


def _cut(source: Path, target: Path) -> int:
    """Copy events until there are enough lines; the end of a stream is left out."""
    opened = open_source([source])
    ranges, reader, writer = opened.ranges(), opened.reader(), CaptureWriter(target)
    n_lines = 0
    try:
        while n_lines < N_LINES and not ranges.is_ended:
            part = ranges.next(N_LINES - n_lines)
            for event in reader.events(part) if part is not None else ():
                if isinstance(event, Event):
                    writer.write(event)
                    n_lines += pixels_of(event) is not None
            if part is not None:
                ranges.release(part)
        if n_lines == 0:
            raise CaptureError(f"{source} has no lines, expected images in a STINS stream, or a cube")
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    finally:
        reader.close()
        ranges.close()
    return n_lines


def _put_under_git(directory: Path) -> None:
    git = shutil.which("git")
    if git is None:
        return

    def run(*arguments: str) -> bool:
        command = [git, "-C", str(directory), *arguments]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    if not run("rev-parse", "--is-inside-work-tree") and run("init", "--quiet"):
        run("add", "--all")
