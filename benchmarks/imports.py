"""Time to import the package, compared with importing numpy."""

import json
import subprocess
import sys
from typing import Any

from benchmarks.measuring import Plan, Row, Spread

__all__ = ["run"]

HEAVY = ("pydantic", "xarray", "netCDF4", "h5py", "matplotlib", "holoviews", "bokeh", "scipy", "PIL", "numba", "tqdm")
MEASURE = """
import json, sys, time
begun = time.perf_counter()
{statement}
seconds = time.perf_counter() - begun
print(json.dumps({{"ms": 1e3 * seconds, "modules": sorted({{name.partition(".")[0] for name in sys.modules}})}}))
"""


def run(plan: Plan) -> list[Row]:
    ours, theirs, camera = "import openhsi_shared", "import numpy", "from openhsi_shared import SharedSimulatedCamera"
    found: dict[str, list[dict[str, Any]]] = {ours: [], theirs: [], camera: []}
    for _ in range(plan.pick(15, 5, 1)):
        for statement, measured in found.items():
            measured.append(_measure(statement))
    ms = {statement: Spread([one["ms"] for one in measured]) for statement, measured in found.items()}
    loaded = sorted(set(HEAVY) & set(found[ours][0]["modules"]))
    ratio = ms[ours].median / ms[theirs].median
    return [
        Row(
            benchmark="imports",
            what=ours,
            ours=ms[ours].text("ms", 1),
            against=f"{theirs}: {ms[theirs].text('ms', 1)}; with the camera's class: {ms[camera].text('ms', 1)}",
            ratio=ratio,
            target="<= 2 x, nothing heavy loaded",
            is_reached=ratio <= 2 and not loaded,
            verified=f"heavy modules loaded: {loaded or 'none'} of {len(HEAVY)} checked",
            figures={statement: spread.values for statement, spread in ms.items()},
        )
    ]


def _measure(statement: str) -> dict[str, Any]:
    code = MEASURE.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured
