"""Exports of a cube to ENVI and to bands-first NetCDF, compared with Spectral Python, h5py, and GDAL on other files.

All begin with the saved file, in the page cache: the other sides load it by xarray into memory, which neither Spectral
Python nor h5py can do without.
Memory: of a process that has exported a small cube before, so that the imports are there.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.frames import frames_of_scene
from benchmarks.measuring import MB, Plan, Row, Spread
from openhsi_shared import SharedDataCube
from openhsi_shared.files.exporting.envi import INTERLEAVES
from openhsi_shared.files.exporting.exporting import export_cube

__all__ = ["run"]

Lines = NDArray[Any]
TARGETS = {"bip": 4.0, "bil": 3.0, "bsq": 3.0}
MAX_MB = {"envi": 150, "netcdf": 300}


def run(plan: Plan) -> list[Row]:
    n_lines, n_rounds = plan.pick((1024, 3), (240, 2), (16, 1))
    lines = frames_of_scene(plan.frame_shape, n_lines)
    with plan.folder("exports") as folder:
        path = _save(plan, lines, folder)
        small = _save(plan, lines[:4], folder)
        rows = [_envi(folder, path, small, lines, interleave, n_rounds) for interleave in INTERLEAVES]
        return [*rows, _bands_first(folder, path, small, lines, n_rounds), _one_band(plan, folder, path, lines)]


def _save(plan: Plan, lines: Lines, folder: Path, old_style: bool = True) -> Path:
    with SharedDataCube(len(lines), resolution=plan.frame_shape, pixel_format="Mono12") as cube:
        for line in lines:
            cube.put(line)
        path = cube.save(folder, suffix=f"_{len(lines)}_{old_style}", old_style=old_style).result().path
    if path is None:
        raise AssertionError("there is no file")
    return path


def _timed(folder: Path, write: Callable[[Path], Path], check: Callable[[Path], None]) -> float:
    """Seconds of `write`, with fsync of all that it writes; what it wrote is checked, and removed."""
    out = folder / "out"
    out.mkdir()
    begun = time.perf_counter()
    path = write(out)
    for file in out.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    seconds = time.perf_counter() - begun
    check(path)
    shutil.rmtree(out)
    return seconds


def _peak_mb(folder: Path, path: Path, small: Path, options: dict[str, Any]) -> float:
    """Highest memory of a process while it exports, above that after a small export."""
    out = folder / "out"
    code = (
        "import sys, json, threading, shutil, pathlib\n"
        "from benchmarks.exports import peak_of\n"
        "print(peak_of(*map(pathlib.Path, sys.argv[1:4]), json.loads(sys.argv[4])))"
    )
    arguments = [str(out), str(path), str(small), json.dumps(options)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return float(done.stdout)


def peak_of(out: Path, path: Path, small: Path, options: dict[str, Any]) -> float:
    """In a process of its own, see `_peak_mb`."""
    from benchmarks.measuring import private_bytes
    from benchmarks.saving import PeakMemory

    for one in (small, path):
        out.mkdir()
        before = private_bytes(os.getpid())
        with PeakMemory(os.getpid()) as memory:
            export_cube(one, out, **options)
        peak = memory.peak_bytes - before
        shutil.rmtree(out)
    return peak / MB


def _loaded(path: Path) -> Lines:
    """The whole cube, (y, x, wavelength), as the users of other programs load it."""
    import xarray as xr

    with xr.open_dataset(path) as dataset:
        return np.asarray(dataset["datacube"].transpose("y", "x", "wavelength").values)


# ---- ENVI ----


def _envi(
    folder: Path, path: Path, small: Path, lines: Lines, interleave: Literal["bip", "bil", "bsq"], n_rounds: int
) -> Row:
    from spectral.io import envi

    def ours(out: Path) -> Path:
        return export_cube(path, out, "envi", interleave=interleave)

    def theirs(out: Path) -> Path:
        cube = _loaded(path)
        envi.save_image(str(out / "cube.hdr"), cube, interleave=interleave, ext=".raw", dtype=cube.dtype)
        return out / "cube.raw"

    def check(raw: Path) -> None:
        image = envi.open(str(raw.with_suffix(".hdr")), str(raw)).open_memmap(interleave="bip")
        _require_equal(lines, lambda number: image[number])

    own, other = _in_turns(folder, ours, theirs, check, n_rounds)
    memory = _peak_mb(folder, path, small, {"to": "envi", "interleave": interleave})
    ratio = other.median / own.median
    return Row(
        benchmark="exports",
        what=f"{lines.nbytes / 1e9:.2f} GB to ENVI, {interleave}",
        ours=f"{own.text('s', 2)}, {memory:.0f} MB",
        against=f"xarray, and spectral's save_image: {other.text('s', 2)}",
        ratio=ratio,
        target=f">= {TARGETS[interleave]:.0f} x faster, <= {MAX_MB['envi']} MB",
        is_reached=ratio >= TARGETS[interleave] and memory <= MAX_MB["envi"],
        verified=f"every line of {n_rounds} files of each, by Spectral Python",
        figures={"ours_s": list(own.values), "spectral_s": list(other.values), "ours_mb": memory},
    )


# ---- bands first ----


def _bands_first(folder: Path, path: Path, small: Path, lines: Lines, n_rounds: int) -> Row:
    chunks: list[tuple[int, ...]] = []

    def ours(out: Path) -> Path:
        made = export_cube(path, out, "netcdf", bands_first=True)
        with h5py.File(made) as file:
            chunks.append(file["datacube"].chunks)
        return made

    def theirs(out: Path) -> Path:
        cube = _loaded(path)
        with h5py.File(out / "theirs.nc", "w") as file:
            shape = (cube.shape[2], cube.shape[0], cube.shape[1])
            datacube = file.create_dataset("datacube", shape, cube.dtype, chunks=chunks[0])
            for band in range(shape[0]):
                datacube[band] = cube[:, :, band]
        return out / "theirs.nc"

    def check(made: Path) -> None:
        with h5py.File(made) as file:
            for band in range(lines.shape[2]):
                if not np.array_equal(file["datacube"][band], lines[:, :, band]):
                    raise AssertionError(f"{made}: band {band} is wrong")

    own, other = _in_turns(folder, ours, theirs, check, n_rounds)
    memory = _peak_mb(folder, path, small, {"to": "netcdf", "bands_first": True})
    ratio = other.median / own.median
    return Row(
        benchmark="exports",
        what=f"{lines.nbytes / 1e9:.2f} GB to bands-first NetCDF",
        ours=f"{own.text('s', 2)}, {memory:.0f} MB",
        against=f"xarray, and h5py with the same chunks, band by band: {other.text('s', 2)}",
        ratio=ratio,
        target=f">= 1.5 x faster, <= {MAX_MB['netcdf']} MB",
        is_reached=ratio >= 1.5 and memory <= MAX_MB["netcdf"],
        verified=f"every band of {n_rounds} files of each, by HDF5",
        figures={"ours_s": list(own.values), "h5py_s": list(other.values), "ours_mb": memory},
    )


def _one_band(plan: Plan, folder: Path, path: Path, lines: Lines) -> Row:
    n_rounds = plan.pick(5, 3, 1)
    other = _save(plan, lines, folder, old_style=False)
    out = folder / "bands"
    out.mkdir()
    made = export_cube(path, out, "netcdf", bands_first=True)
    bands = [lines.shape[2] // 2 + number for number in range(n_rounds)]
    own = Spread([_read_band(made, band, lines, "rows") for band in bands])
    slow = Spread([_read_band(other, band, lines, "columns") for band in bands[: max(1, n_rounds // 2)]])
    ratio = slow.median / own.median
    return Row(
        benchmark="exports",
        what=f"one band of {len(lines)} lines read by GDAL from an open bands-first export",
        ours=own.text("s", 4),
        against=f"from the file with old_style=False: {slow.text('s', 2)}",
        ratio=ratio,
        target=">= 50 x faster",
        is_reached=ratio >= 50,
        verified="all pixels of each band; the rows of the export are those of the cube",
        figures={"ours_s": list(own.values), "old_style_false_s": list(slow.values)},
    )


def _read_band(path: Path, band: int, lines: Lines, order: str) -> float:
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(f"netcdf:{path}:datacube") as image:
            begun = time.perf_counter()
            found = image.read(band + 1)
            seconds = time.perf_counter() - begun
    expected = lines[:, :, band] if order == "rows" else lines[:, :, band].T[::-1]  # which GDAL mirrors
    if not np.array_equal(found, expected):
        raise AssertionError(f"{path}: band {band} is wrong")
    return seconds


def _in_turns(
    folder: Path,
    ours: Callable[[Path], Path],
    theirs: Callable[[Path], Path],
    check: Callable[[Path], None],
    n_rounds: int,
) -> tuple[Spread, Spread]:
    own, other = [], []
    for _ in range(n_rounds):
        own.append(_timed(folder, ours, check))
        other.append(_timed(folder, theirs, check))
    return Spread(own), Spread(other)


def _require_equal(lines: Lines, read: Callable[[int], Any]) -> None:
    for number, line in enumerate(lines):
        if not np.array_equal(read(number), line):
            raise AssertionError(f"line {number} is wrong")
