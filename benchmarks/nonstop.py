"""Whether the documented loop loses a line, compared with openhsi's with the same camera."""

from pathlib import Path
from typing import Any

from benchmarks.loop import QUEUE, run_loop
from benchmarks.measuring import Plan, Row
from benchmarks.openhsi_process import OpenHSIProcess, check_files_of_loop

__all__ = ["run"]


def run(plan: Plan) -> list[Row]:
    n_lines, n_cubes, rates = plan.pick((128, 100, (500.0, 1000.0)), (128, 10, (500.0, 1000.0)), (8, 4, (500.0,)))
    return [_compare(plan, n_lines, n_cubes, rate) for rate in rates]


def _compare(plan: Plan, n_lines: int, n_cubes: int, rate: float) -> Row:
    with plan.folder("nonstop") as folder:
        loop = run_loop(plan, folder, n_lines=n_lines, n_cubes=n_cubes, rate=rate)
    theirs = [_openhsi(plan, n_lines, n_cubes, rate, join) for join in (True, False)] if plan.openhsi_python else []
    return Row(
        benchmark="nonstop",
        what=f"{n_cubes} cubes of {n_lines} lines at {rate:.0f} lines/s, queue of {QUEUE}",
        ours=str(loop),
        against="; ".join(
            f"openhsi {'with' if one['join'] else 'without'} join: {one['n_lost']} of {one['n_offered']} lost, "
            f"{one['n_right']} of {n_cubes} files right"
            for one in theirs
        )
        or "openhsi is not installed",
        target="0 lost, a file per cube",
        is_reached=loop.n_lost == 0,
        is_right=loop.is_right,
        verified=loop.verified + "".join(f"; every line of {one['n_files']} files of openhsi" for one in theirs),
        figures={"lost": loop.n_lost, "saves_ms": loop.saves_ms, "gaps_ms": loop.gaps_ms, "openhsi": theirs},
    )


def _openhsi(plan: Plan, n_lines: int, n_cubes: int, rate: float, join: bool) -> dict[str, Any]:
    with plan.folder("nonstop-openhsi") as folder:
        with OpenHSIProcess(plan, folder) as openhsi:
            answer = openhsi.ask("loop", n_lines=n_lines, n_cubes=n_cubes, rate=rate, queue=QUEUE, join=join)
        n_files, n_right = _count(plan, folder, answer["cubes"])
    n_offered = answer["cubes"][-1][-1] + 1
    return {
        "join": join,
        "n_offered": n_offered,
        "n_lost": n_offered - n_lines * n_cubes,
        "n_files": n_files,
        "n_right": n_right,
        "saves_ms": answer["saves_ms"],
        "gaps_ms": answer["gaps_ms"],
    }


def _count(plan: Plan, folder: Path, cubes: list[list[int]]) -> tuple[int, int]:
    files, n_right = check_files_of_loop(plan, folder, cubes)
    return len(files), n_right
