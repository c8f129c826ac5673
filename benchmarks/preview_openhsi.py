"""openhsi's picture of a cube; run by a Python that has openhsi. `preview` is the other side.

    python -m benchmarks.preview_openhsi ORDER

ORDER is JSON. The cube is saved without and with its picture, in turn; for each save, one JSON line contains the time
of its process after the NetCDF was written, and its peak private memory.
"""

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from openhsi.shared import SharedDataCube  # type: ignore[import-not-found,unused-ignore]

from benchmarks.measuring import private_bytes

WRITTEN = "written"
"""File in which the saving process writes the time when the NetCDF was finished; it is forked, so the patch applies."""


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    order = json.loads(sys.argv[1])
    cube: Any = SharedDataCube(n_lines=order["n_lines"], processing_lvl=-1, json_path=order["json_path"])
    frames = np.load(order["frames"])
    for number in range(order["n_rounds"]):
        for picture in (False, True):
            for index in range(order["n_lines"]):  # `save` swaps the buffers
                cube.put(frames[(number + index) % len(frames)])
            answers.write(json.dumps(_save(cube, order["directory"], picture)) + "\n")
            answers.flush()


def _save(cube: Any, directory: str, picture: bool) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(dir=directory))
    _note_when_written(folder / WRITTEN)
    process = cube.save(str(folder), savefig=picture)
    peak = [0]
    watch = threading.Thread(target=_watch, args=(process, peak))
    watch.start()
    process.join()
    seconds = time.monotonic() - float((folder / WRITTEN).read_text())
    watch.join()
    pictures = [path.stat().st_size for path in folder.rglob("*.png")]
    shutil.rmtree(folder)
    if bool(pictures) is not picture or process.exitcode:
        raise SystemExit(f"savefig={picture} ended with {process.exitcode}, and left pictures of {pictures} bytes")
    return {"picture": picture, "s": seconds, "peak_bytes": peak[0]}


def _note_when_written(path: Path, to_netcdf: Any = xr.Dataset.to_netcdf) -> None:
    def noted(*arguments: Any, **keywords: Any) -> Any:
        answer = to_netcdf(*arguments, **keywords)
        path.write_text(repr(time.monotonic()))
        return answer

    xr.Dataset.to_netcdf = noted  # type: ignore[method-assign]


def _watch(process: Any, peak: list[int]) -> None:
    while process.is_alive():
        try:
            peak[0] = max(peak[0], private_bytes(process.pid))
        except (OSError, ValueError):
            return
        time.sleep(0.005)


if __name__ == "__main__":
    main()
