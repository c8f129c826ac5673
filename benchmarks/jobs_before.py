"""An earlier state of this library in a process of its own, and the rows of a job compared with it."""

import sys
from pathlib import Path
from typing import Any

from benchmarks.measuring import Plan, Row
from benchmarks.side_process import SideProcess
from benchmarks.sides import Sides

__all__ = ["Before", "row_of"]

SIDE = Path(__file__).parent / "jobs_before_side.py"


class Before(SideProcess):
    """The library of `plan.before`, with the same cube, settings and calibration."""

    def __init__(self, plan: Plan, path: Path, level: int, files: dict[str, Path]) -> None:
        """Blocks until it has compiled its kernels. ValueError if another state than that of `plan.before` is found."""
        if plan.before is None:
            raise ValueError("this plan has no earlier state: give --before")
        root = plan.before.resolve()
        self._order = {name: str(value) for name, value in files.items()} | {"path": str(path), "level": level}
        # -P: the folder of the script has modules with the names of others
        super().__init__(f"the state in {root}", [sys.executable, "-P", SIDE], PYTHONPATH=str(root))
        try:
            module = Path(self.ask("make", **self._order)["module"]).resolve()
            if not module.is_relative_to(root):
                raise ValueError(f"the earlier state was imported from {module}, expected from {root}")
        except BaseException:
            self.__exit__()
            raise

    def measure(self, sides: Sides, name: str, do: str, out: Path) -> Path:
        """Measure "camera" or "loop" once, by its own clocks. Returns the file that it made."""
        answer: dict[str, Any] = self.ask(do, out=str(out), **self._order)
        sides.add(name, answer["wall_s"], answer["cpu_s"])
        return Path(answer["path"])


def row_of(sides: Sides, what: str) -> Row:
    """The job compared with "loop before" and "camera before"."""
    to_loop, cpu = sides.ratio("loop before", "job"), sides.ratio("job", "loop before", cpu=True)
    to_camera = sides.ratio("camera before", "job")
    return Row(
        benchmark="jobs",
        what=f"{what}, compared with the state before",
        ours=f"{sides.text('job')}; {to_loop:.2f} x as fast as the loop at {cpu:.2f} of its CPU, {to_camera:.1f} x as "
        f"fast as ProcessRawDatacube",
        against=f"plain loop before: {sides.text('loop before')}; ProcessRawDatacube before: "
        f"{sides.text('camera before')}",
        ratio=1 / to_loop,
        target=">= 1.5 x the loop at <= 0.7 of its CPU, >= 3 x ProcessRawDatacube",
        is_reached=to_loop >= 1.5 and cpu <= 0.7 and to_camera >= 3,
        verified="every line of each result equals ours",
        figures={"wall_s": sides.wall, "cpu_s": sides.cpu},
    )
