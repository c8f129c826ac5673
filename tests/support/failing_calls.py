"""Repeats a task, each time with a fault at another system call: a program for `faults/test_io_calls.py`.

`python failing_calls.py DIRECTORY TASK WHAT HOW STEP`, with the environment of `faulty_calls`. WHAT is an errno, or
KILL, HALF, STOP; HOW is "once" or "from then on"; the fault hits every STEP-th call, until the task runs without it.
Prints the result of each run as a line of JSON. The task runs in a child that is forked from a warm process without
threads, because starting Python takes longer than all the calls of a save.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from openhsi_shared import open_cube, recover, verify
from openhsi_shared.dataset import Cube
from openhsi_shared.files.dumping import read_dump, write_dump
from openhsi_shared.files.published import uuid_of
from openhsi_shared.files.writing import CubeWriter
from openhsi_shared.save_options import SaveOptions
from tests.support.cubes import make_cube
from tests.support.faulty_calls import ALWAYS, KINDS, Control

LARGE, SMALL = (64, 512), (5, 7)
ONLY_REPORTED = -1
"""Stands for the errno of a failure that `recover` reports without raising."""
DAY = "2023_11_14"
NAME = "2023_11_14-22_13_20_123456"
UUID = "00000000-0000-5000-8000-000000000001"


@dataclass(frozen=True)
class Task:
    """An operation on a cube in a directory, and what exists there before."""

    shape: tuple[int, int] = LARGE
    options: dict[str, Any] = field(default_factory=dict)
    old_style: bool = True
    finds: str = ""
    """"foreign": a file of another program has its name. "part": a complete leftover."""
    without: str = ""
    """Kinds of calls that this file system does not support."""
    what: str = "save"
    spares: str = ""
    """Kinds of calls that do not fail."""

    @property
    def cube(self) -> Cube:
        return make_cube(6, *self.shape, uuid=UUID, attributes={"recovered": 0})

    def prepare(self, directory: Path) -> None:
        (directory / DAY).mkdir(parents=True)
        if self.finds == "foreign":
            (directory / DAY / f"{NAME}.nc").write_text("foreign")
        elif self.finds == "part":
            path = self.save(directory)
            path.rename(path.with_name(f".{path.name}.1.part"))
        elif not self.finds:
            (directory / DAY).rmdir()

    def run(self, directory: Path) -> Path | None:
        if self.what == "recover":
            found = recover(directory)
            if found.damaged:
                raise OSError(ONLY_REPORTED, str(found.damaged))
            return found.published[0] if found.published else None
        if self.what == "dump":
            return write_dump(self.cube, [directory])
        if self.what == "fallback":
            return self.save(directory, directory.with_name("fallback"))
        return self.save(directory)

    def save(self, *directories: Path) -> Path:
        with CubeWriter(6, self.shape, np.uint16, SaveOptions(**self.options)) as writer:
            return writer.write(self.cube, directories, old_style=self.old_style).path


TASKS = {
    "past the cache": Task(),
    "by the cache": Task(SMALL),
    "deflate": Task(options={"compression": "deflate"}),
    "zstd": Task(SMALL, options={"compression": "zstd"}),
    "bands first": Task(old_style=False),
    "rename": Task(options={"durability": "rename"}),
    "taken name": Task(finds="foreign"),
    "hard link": Task(SMALL, without="renameat2"),
    "neither": Task(SMALL, without="renameat2 link"),
    "dump": Task(what="dump"),
    "fallback": Task(what="fallback"),
    # netCDF's C library, with which `verify` reads a file like other readers, crashes if close fails
    "recover": Task(finds="part", what="recover", spares="close"),
}


def run_in_child(function: Callable[[], Path | None]) -> dict[str, Any]:
    """Outcome of a call of `function` in a child."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a path would open more
        try:
            outcome: dict[str, Any] = {"end": "done", "path": str(function())}
        except OSError as error:
            outcome = {"end": "failed", "errno": error.errno, "words": str(error)}
        except BaseException as error:  # noqa: BLE001 - not swallowed: the test reads it
            outcome = {"end": "strange", "words": repr(error)}
        outcome["leaked"] = len(os.listdir("/proc/self/fd")) - before  # noqa: PTH208
        os.write(write_end, json.dumps(outcome).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        text = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return json.loads(text) if text else {"end": "killed" if code == -9 else f"ended with {code}", "leaked": 0}


def files_of_cube(directory: Path, task: Task) -> list[str]:
    """For each published file: "ok", or what is wrong with it."""
    found = []
    expected = task.cube.memory
    for path in sorted(directory.rglob("*")):
        if path.name.endswith(".raw.json"):
            found.append("ok" if np.array_equal(read_dump(path).cube.memory, expected) else "other lines")
        elif path.suffix == ".nc" and not path.name.startswith("."):
            if path.name == f"{NAME}.nc" and task.finds == "foreign":
                if path.read_bytes() != b"foreign":
                    found.append("the foreign file was changed")
                continue
            report = verify(path)
            if not report.ok:
                found.append(report.problems[0])
                continue
            with open_cube(path) as cube:
                same = np.array_equal(cube.lines[:], expected)
                found.append("ok" if same and uuid_of(path) == UUID else "other lines")
    return found


def leftovers_of(directory: Path) -> list[str]:
    return [path.name for path in directory.rglob("*") if path.suffix in (".part", ".raw")]


def repair(directory: Path, task: Task, recover_first: bool) -> dict[str, Any]:
    """Result after the fault: `recover` runs, and the cube is saved again; in either order."""
    result: dict[str, Any] = {}
    for step in ("recover", "again") if recover_first else ("again", "recover"):
        if step == "recover":
            found = recover(directory)
            result["damaged"] = list(found.damaged.values())
            result["live"] = len(found.live)
        elif task.what != "recover":
            (replace(task, what="save") if task.what == "dump" else task).run(directory)
    return result


def main() -> None:
    directory, name, what, how, step = sys.argv[1:]
    control, task = Control(Path(os.environ["IOFAULT_CONTROL"])), TASKS[name]
    warm = Path(directory) / "warm"
    warm.mkdir()
    run_in_child(lambda: task.save(warm))
    kinds = " ".join(kind for kind in KINDS if kind not in task.spares.split())
    k = 1
    while True:
        place = Path(directory) / str(k) / "bad_disk"
        place.mkdir(parents=True)
        place.with_name("fallback").mkdir()
        task.prepare(place)
        control.inject(int(what), kinds, k, k if how == "once" else ALWAYS, without=task.without)
        result = run_in_child(lambda: task.run(place))  # noqa: B023 - it runs at once
        control.stop()
        calls = control.calls
        result |= {"k": k, "call": calls[k - 1] if len(calls) >= k else "none"}
        result |= {"files": files_of_cube(place, task), "elsewhere": files_of_cube(place.with_name("fallback"), task)}
        result |= {"left": leftovers_of(place)}
        result |= repair(place, task, recover_first=bool(k % 2))
        result |= {"files at last": files_of_cube(place, task), "left at last": leftovers_of(place)}
        sys.stdout.write(json.dumps(result) + "\n")
        shutil.rmtree(place.parent)
        if result["call"] == "none":
            break
        k += int(step)


if __name__ == "__main__":
    main()
