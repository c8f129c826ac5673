"""`python -m benchmarks.soak --lines N`: record N lines nonstop, and compare every bit of each.

Small frames, as fast as possible; files are checked and deleted while the next ones are recorded.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import Plan, machine
from openhsi_shared import SharedSimulatedCamera, record
from tests.support.account import Account
from tests.support.commit_log import COUNTING_KEYWORDS

__all__ = ["soak"]

RESULTS = Path(__file__).parent / "results" / "soak.json"
N_LINES = 500


def soak(folder: Path, n_lines: int, shape: tuple[int, int]) -> dict[str, Any]:
    """Record, check, delete. `n_lines` in total, rounded up to whole cubes."""
    account, begun, n_printed = Account(), time.monotonic(), 0
    n_cubes = -(-n_lines // N_LINES)
    keywords = {**COUNTING_KEYWORDS, "resolution": shape, "n_lines": N_LINES, "n_buffers": 6, "when_full": "block"}
    with record(SharedSimulatedCamera, folder, n_cubes=n_cubes, progress=False, **keywords) as run:
        while run.is_running:
            _take_in(account, folder, keep=2)
            if len(account.saved) - n_printed >= 100_000:
                n_printed = len(account.saved)
                print(f"{n_printed:,} lines after {time.monotonic() - begun:.0f} s", flush=True)
            time.sleep(0.01)
        summary = run.wait()
    _take_in(account, folder, keep=0)
    verdict = account.verdict(n_cubes * N_LINES)
    return {
        "lines": verdict.offered,
        "saved": verdict.saved,
        "declared_lost": verdict.declared_lost,
        **{name: len(getattr(verdict, name)) for name in ("wrong", "doubled", "unaccounted", "strange")},
        "told_by_summary": [summary.lines, summary.lines_lost],
        "cubes": account.n_cubes,
        "seconds": round(time.monotonic() - begun, 1),
        "lines_per_s": round(summary.rate),
        "complaints": list(verdict.wrong[:20]),
    }


def _take_in(account: Account, folder: Path, keep: int) -> None:
    cubes = sorted(folder.rglob("*.nc"))
    for path in cubes[: len(cubes) - keep]:
        account.read(path)
        path.unlink()
        path.with_suffix(".png").unlink(missing_ok=True)


def main() -> int:
    """Return 1 unless every line is saved once, with the right pixels, and reported so."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000, help="how many, rounded up to whole cubes")
    parser.add_argument("--shape", type=int, nargs=2, default=(16, 32), help="cross-track, wavelength")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file for the report")
    parser.add_argument("--directory", type=Path, help="folder for cubes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory, prefix="openhsi_shared-soak-") as name:
        about = machine(Plan(directory=Path(name)))
        report = soak(Path(name), arguments.lines, tuple(arguments.shape))
    print(json.dumps(report, indent=1))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"machine": about, "report": report}, indent=1, default=str))
    bad = [report[name] for name in ("declared_lost", "wrong", "doubled", "unaccounted", "strange")]
    return int(any(bad) or report["saved"] != report["lines"] or report["told_by_summary"] != [report["lines"], 0])


if __name__ == "__main__":
    raise SystemExit(main())
