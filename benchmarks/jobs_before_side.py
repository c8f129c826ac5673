"""An earlier state of this library, which a job is compared with. `jobs_before` is the other side.

Run by its path, with PYTHONPATH naming the checkout of that state: it imports nothing from the one that it belongs to.
Requests are JSON lines on the standard input, answers are JSON lines on the standard output.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import openhsi_shared
from openhsi_shared import ProcessRawDatacube, open_cube
from openhsi_shared.calibration import read_calibration
from openhsi_shared.levels import LevelPlan


def plan_of(order: dict[str, Any]) -> LevelPlan:
    """The plan of a level, with kernels that are compiled."""
    settings = json.loads(Path(order["json_path"]).read_text())
    with open_cube(order["path"]) as cube:
        shape, dtype = cube.lines.shape[1:], cube.lines.dtype
    plan = LevelPlan(
        level=order["level"],
        frame_shape=shape,
        frame_dtype=dtype,
        rows=slice(*settings["row_slice"]),
        calibration=read_calibration(order["cal_path"]),
        fwhm_nm=settings["fwhm_nm"],
        exposure_ms=settings["exposure_ms"],
        luminance=settings["luminance"],
    )
    plan.warm()
    return plan


def loop(order: dict[str, Any], plan: LevelPlan) -> Path:
    """What one writes without the module of jobs: read some lines, compute them, write them; fsync at the end."""
    out = Path(order["out"])
    with open_cube(order["path"]) as cube, out.open("wb", buffering=0) as file:
        for first in range(0, len(cube.lines), 32):
            frames = cube.lines[first : first + 32]
            lines = np.empty((len(frames), *plan.line_shape), plan.line_dtype)
            for frame, line in zip(frames, lines, strict=True):
                plan.apply(frame, line)
            file.write(lines.data.cast("B"))
        os.fsync(file.fileno())
    return out


def camera(order: dict[str, Any]) -> Path:
    """The whole cube by `ProcessRawDatacube`; returns its file."""
    files = {"json_path": order["json_path"], "cal_path": order["cal_path"]}
    with ProcessRawDatacube(order["path"], order["level"], **files) as cube:
        cube.collect(progress=False)
        found: Path = cube.save(order["out"]).result().path
    return found


def measured(work: Callable[[], Path]) -> dict[str, Any]:
    """The path that `work` returns, and the seconds, and those of processors, that it took."""
    begun, cpu_s = time.perf_counter(), _cpu_s()
    path = work()
    return {"wall_s": time.perf_counter() - begun, "cpu_s": _cpu_s() - cpu_s, "path": str(path)}


def _cpu_s() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    plan: LevelPlan | None = None
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "make":
            plan = plan_of(order)
            answer = {"module": openhsi_shared.__file__}
        elif order["do"] == "camera":
            answer = measured(lambda order=order: camera(order))  # type: ignore[misc]
        elif plan is not None:
            answer = measured(lambda order=order, plan=plan: loop(order, plan))  # type: ignore[misc]
        else:
            raise SystemExit(f"{order}: send make first")
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
