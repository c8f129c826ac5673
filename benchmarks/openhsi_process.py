"""openhsi in a process with its own Python: requests and answers."""

from pathlib import Path
from typing import Any

from benchmarks.frames import Checked, CountedFrames, check_openhsi_cube
from benchmarks.measuring import Plan
from benchmarks.side_process import SideProcess

__all__ = ["OpenHSIProcess", "check_files_of_loop"]


class OpenHSIProcess(SideProcess):
    """One process of openhsi, which gets requests one after the other."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        if plan.openhsi_python is None:
            raise ValueError("this plan has no openhsi: give --openhsi-python")
        self._directory, self._frame_shape = directory, plan.frame_shape
        super().__init__("openhsi", [plan.openhsi_python, "-m", "benchmarks.openhsi_side"])

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Send a request and block until it is done. RuntimeError if openhsi's process dies."""
        return super().ask(do, **order, directory=str(self._directory), frame_shape=self._frame_shape)


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
