"""openhsi in a process with its own Python: requests and answers."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Self

from benchmarks.frames import Checked, CountedFrames, check_openhsi_cube
from benchmarks.measuring import Plan

__all__ = ["OpenHSIProcess", "check_files_of_loop"]

ROOT = Path(__file__).parent.parent


class OpenHSIProcess:
    """One process of openhsi, which gets requests one after the other."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        if plan.openhsi_python is None:
            raise ValueError("this plan has no openhsi: give --openhsi-python")
        self._directory, self._frame_shape = directory, plan.frame_shape
        self._process = subprocess.Popen(
            [plan.openhsi_python, "-m", "benchmarks.openhsi_side"],
            cwd=ROOT,
            env={**os.environ, "MPLBACKEND": "agg"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Send a request and block until it is done. RuntimeError if openhsi's process dies."""
        order |= {"do": do, "directory": str(self._directory), "frame_shape": self._frame_shape}
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("openhsi's process has no pipes")
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"openhsi's process ended with {self._process.wait()} at {do!r}: send the request to "
                f"`python -m benchmarks.openhsi_side` by hand: {json.dumps(order)}"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.communicate(timeout=60)


def check_files_of_loop(plan: Plan, directory: Path, cubes: list[list[int]]) -> tuple[list[Checked], int]:
    """Check all files of its loop, delete them, and count those that contain exactly the lines of one cube."""
    source, files, n_right = CountedFrames(plan.frame_shape), [], 0
    collected = {tuple(ids) for ids in cubes}
    for path in sorted(directory.glob("*/*.nc")):
        file = check_openhsi_cube(path, source)
        n_right += file.ids in collected and not file.n_wrong
        files.append(file)
        path.unlink()
    return files, n_right
