"""`python -m benchmarks`: run benchmarks, print the figures, and write them to JSON files.

Exit code 1 if a check of what was saved fails, or if a target is missed in a full run.
"""

import argparse
import importlib
import tempfile
import time
from pathlib import Path

from benchmarks import BENCHMARKS, PROGRAMS
from benchmarks.measuring import Plan, Row, machine, print_table, write_json

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Return 1 if a check failed, or a target was missed in a full run."""
    arguments = _arguments()
    names = arguments.names or list(BENCHMARKS)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=arguments.directory, prefix="openhsi_shared-benchmarks-") as directory:
        plan = Plan(
            size=arguments.size,
            directory=Path(directory),
            openhsi_python=arguments.openhsi_python,
            dranspose_python=arguments.dranspose_python,
            before=arguments.before,
            cases=tuple(arguments.case),
        )
        about = machine(plan)
        print(" ".join(f"{key}={value}" for key, value in about.items()), flush=True)
        for name in names:
            begun = time.perf_counter()
            found: list[Row] = importlib.import_module(f"benchmarks.{name}").run(plan)
            rows += found
            print_table(found)
            print(f"    took     {time.perf_counter() - begun:.0f} s", flush=True)
            if arguments.out is None:
                write_json(RESULTS / f"{name}.json", about, found)
            else:
                write_json(arguments.out, about, rows)
    is_missed = plan.size == "full" and any(row.is_reached is False for row in rows)
    return int(is_missed or not all(row.is_right for row in rows))


def _arguments() -> argparse.Namespace:
    programs = ", ".join(f"python -m benchmarks.{name}" for name in PROGRAMS)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog=f"Programs of their own, each with --help: {programs}."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which; all if none is given: {', '.join(BENCHMARKS)}"
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", dest="size", action="store_const", const="quick", help="smaller sizes")
    sizes.add_argument("--tiny", dest="size", action="store_const", const="tiny", help="only check that they work")
    parser.add_argument("--out", type=Path, help="one JSON file for all; else one for each in benchmarks/results/")
    parser.add_argument("--directory", type=Path, help="folder for cubes, on the disk to be measured")
    parser.add_argument("--openhsi-python", type=Path, help="the Python of an environment that has openhsi")
    parser.add_argument("--dranspose-python", type=Path, help="the Python of an environment with dranspose, cbor2 < 6")
    parser.add_argument("--before", type=Path, metavar="DIR", help="a checkout of an earlier state, compared in `jobs`")
    parser.add_argument("--case", action="append", default=[], help="only this case of `stalls`; may be repeated")
    parser.set_defaults(size="full")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown:
        parser.error(
            f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}, and {programs}"
        )
    if arguments.before is not None and not (arguments.before / "openhsi_shared" / "__init__.py").is_file():
        parser.error(f"--before {arguments.before}: expected the root of a checkout of this repository")
    if arguments.case and "stalls" not in (arguments.names or BENCHMARKS):
        parser.error("--case selects cases of the benchmark `stalls`, which is not among those to run")
    for python in (arguments.openhsi_python, arguments.dranspose_python):
        if python is not None and not python.is_file():
            parser.error(f"{python} is no file: give the interpreter itself, such as .venv-openhsi/bin/python")
    if arguments.case:
        from benchmarks.stalls import CASES

        if strange := set(arguments.case) - set(CASES):
            parser.error(f"there is no case {', '.join(sorted(strange))}; there are {', '.join(CASES)}")
    return arguments


if __name__ == "__main__":
    raise SystemExit(main())
