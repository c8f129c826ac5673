"""Time and memory for the picture of a cube, compared with openhsi's, of the same lines, all bands, in grey.

This library makes it in a process of its own, from a slot in shared memory, in one thread. openhsi makes its picture at
the end of a save, after the file: its cost is the time and memory from there on, less those of a save without it.
"""

import json
import subprocess
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frames import frames_of_scene
from benchmarks.measuring import MB, Plan, Row, Spread
from benchmarks.saving import PeakMemory
from openhsi_shared import SharedDataCube
from openhsi_shared.buffers.slot_memory import SlotMemory
from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.processes.spawning import SPAWN, spawn

__all__ = ["run"]

ROOT = Path(__file__).parent.parent
N_FRAMES = 64
"""Number of different frames, which are repeated in a cube."""


def run(plan: Plan) -> list[Row]:
    n_lines, n_rounds = plan.pick((1024, 5), (1024, 2), (16, 1))
    frames = frames_of_scene(plan.frame_shape, min(N_FRAMES, n_lines))
    with plan.folder("preview") as folder:
        theirs = _openhsi(plan, folder, frames, n_lines, n_rounds)
        ours = _ours(plan, folder, frames, n_lines, n_rounds)
    return [_time(n_lines, ours, theirs), _memory(n_lines, ours, theirs)]


# ---- this library ----


def _ours(plan: Plan, folder: Path, frames: NDArray[Any], n_lines: int, n_rounds: int) -> list[dict[str, float]]:
    with SharedDataCube(n_lines, resolution=plan.frame_shape, pixel_format="Mono12") as cube:
        for number in range(n_lines):
            cube.put(frames[number % len(frames)])
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=_make, args=(cube._engine.slots.memory, str(folder / "picture.png"), theirs))
        spawn(process)
        theirs.close()
        ours.recv()
        with PeakMemory(process.pid or 0) as memory:
            time.sleep(0.1)
            before, found = memory.peak_bytes, []
            for _ in range(n_rounds):
                ours.send("again")
                found.append({"s": ours.recv(), "bytes": memory.peak_bytes - before})
        ours.close()
        process.join()
        _check(folder / "picture.png", cube.lines)
        cube.save(folder / "cube", savefig=False).join()
    return found


def _make(memory: SlotMemory, path: str, connection: Connection) -> None:
    from openhsi_shared.files.preview import write_preview
    from openhsi_shared.rgb import mean_of_bands, picture, preview_bands

    lines = SlotView.of(memory).lines(0)
    write_preview(np.zeros((9, 9), np.uint8), path)  # a writer has done these imports before
    connection.send("ready")
    try:
        while connection.recv():
            begun = time.perf_counter()
            means = mean_of_bands(lines, preview_bands(None, lines.shape[2]))
            write_preview(picture(means), path)
            connection.send(time.perf_counter() - begun)
    except EOFError:
        return


def _check(path: Path, lines: NDArray[Any]) -> None:
    """Compare every pixel with an independent computation in integers."""
    from PIL import Image

    sums = np.stack([line.sum(axis=-1, dtype=np.int64) for line in lines], axis=1)
    expected = 255 * (sums - sums.min()) / (sums.max() - sums.min())
    wrong = np.abs(np.asarray(Image.open(path)) - expected)
    if wrong.max() > 0.51:
        raise AssertionError(f"{path}: a pixel is wrong by {wrong.max()}")


# ---- openhsi ----


def _openhsi(
    plan: Plan, folder: Path, frames: NDArray[Any], n_lines: int, n_rounds: int
) -> list[dict[str, float]] | None:
    if plan.openhsi_python is None:
        return None
    np.save(folder / "frames.npy", frames)
    rows, columns = plan.frame_shape
    settings = {"row_slice": [0, rows], "resolution": [rows, columns], "fwhm_nm": 4, "exposure_ms": 1}
    settings |= {"luminance": 10000, "binxy": [1, 1], "win_offset": [0, 0], "win_resolution": [0, 0]}
    (folder / "settings.json").write_text(json.dumps(settings | {"pixel_format": "Mono12"}))
    order = {
        "n_lines": n_lines,
        "n_rounds": n_rounds,
        "frames": str(folder / "frames.npy"),
        "json_path": str(folder / "settings.json"),
        "directory": str(folder),
    }
    command = [plan.openhsi_python, "-m", "benchmarks.preview_openhsi", json.dumps(order)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openhsi's side ended with {done.returncode}: {done.stderr[-2000:]}")
    saves = [json.loads(line) for line in done.stdout.splitlines()]
    without, with_picture = ([save for save in saves if save["picture"] is wanted] for wanted in (False, True))
    return [
        {"s": more["s"] - less["s"], "bytes": more["peak_bytes"] - less["peak_bytes"]}
        for less, more in zip(without, with_picture, strict=True)
    ]


# ---- output ----


def _time(n_lines: int, ours: Sequence[dict[str, float]], theirs: Sequence[dict[str, float]] | None) -> Row:
    own = Spread([one["s"] for one in ours])
    other = Spread([one["s"] for one in theirs or []])
    ratio = own.median / other.median if theirs else None
    return Row(
        benchmark="preview",
        what=f"picture of {n_lines} lines, of all bands",
        ours=own.text("s", 2),
        against=f"openhsi, savefig=True: {other.text('s', 2)}" if theirs else "openhsi is not installed",
        ratio=ratio,
        target="faster",
        is_reached=None if ratio is None else ratio < 1,
        verified="every pixel, by an independent computation" + ("; openhsi's exists" if theirs else ""),
        figures={"ours_s": list(own.values), "openhsi_s": list(other.values)},
    )


def _memory(n_lines: int, ours: Sequence[dict[str, float]], theirs: Sequence[dict[str, float]] | None) -> Row:
    own = Spread([one["bytes"] / MB for one in ours])
    other = Spread([one["bytes"] / MB for one in theirs or []])
    return Row(
        benchmark="preview",
        what=f"peak private memory for the picture of {n_lines} lines, without the cube itself",
        ours=own.text("MB"),
        against=f"openhsi: {other.text('MB')} more than without" if theirs else "openhsi is not installed",
        ratio=None,
        target="<= 100 MB",
        is_reached=own.highest <= 100,
        verified="the same pictures",
        figures={"ours_mb": list(own.values), "openhsi_mb": list(other.values)},
    )
