"""Speed of saving 1 GB durably, compared with the raw disk, and memory of the writer."""

import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks.frames import CountedFrames, check_cube
from benchmarks.measuring import MB, Plan, Row, Spread, private_bytes
from benchmarks.raw_disk import RawBytes
from openhsi_shared import SharedDataCube
from openhsi_shared.processes.spawning import SPAWN

__all__ = ["PeakMemory", "run", "writer_id", "writer_imports_bytes"]


def run(plan: Plan) -> list[Row]:
    n_lines, n_rounds = plan.pick((1024, 15), (1024, 4), (16, 2))
    source, ours, raws, ratios = CountedFrames(plan.frame_shape), [], [], []
    raw = RawBytes(n_lines * plan.line_bytes)
    with (
        plan.folder("saving") as folder,
        SharedDataCube(n_lines, resolution=plan.frame_shape, pixel_format="Mono12") as cube,
    ):
        is_direct = raw.can_be_direct(folder)
        raw.write(folder / "warm", is_direct)
        (folder / "warm").unlink()
        with PeakMemory(writer_id()) as memory:
            for n in range(n_rounds):
                ours.append(_save_once(cube, folder, source, n * n_lines))
                raws.append(raw.n_bytes / MB / raw.write(folder / "raw", is_direct))
                (folder / "raw").unlink()
                ratios.append(ours[-1] / raws[-1])
    imports = writer_imports_bytes()
    return [_speed(plan, n_lines, is_direct, ours, raws, ratios), _memory(n_lines, memory.peak_bytes, imports)]


def _speed(plan: Plan, n_lines: int, is_direct: bool, ours: list[float], raws: list[float], ratios: list[float]) -> Row:
    ratio = Spread(ours).median / Spread(raws).median
    return Row(
        benchmark="saving",
        what=f"saving {n_lines * plan.line_bytes / 1e9:.2f} GB uncompressed, until file and picture are there",
        ours=Spread(ours).text("MB/s"),
        against=f"pwrite + fsync, {'O_DIRECT' if is_direct else 'buffered'}: {Spread(raws).text('MB/s')}",
        ratio=ratio,
        target=">= 0.9 of it",
        is_reached=ratio >= 0.9,
        verified=f"every line and checksum of {len(ours)} files; size of as many raw ones",
        figures={"ours_mb_per_s": ours, "raw_mb_per_s": raws, "ratio_of_neighbours": ratios, "is_direct": is_direct},
    )


def _memory(n_lines: int, peak: int, imports: int) -> Row:
    above = (peak - imports) / MB
    return Row(
        benchmark="saving",
        what=f"private memory of the writer while it saves {n_lines} lines",
        ours=f"{peak / MB:.0f} MB, {above:.0f} MB above its imports",
        against=f"a process that has only its imports: {imports / MB:.0f} MB",
        target="<= 150 MB above its imports",
        is_reached=above <= 150,
        verified="the same files",
        figures={"peak_bytes": peak, "imports_bytes": imports},
    )


def _save_once(cube: SharedDataCube, folder: Path, source: CountedFrames, first: int) -> float:
    """MB/s of one save. AssertionError if the file differs from the lines that were put."""
    for number in range(first, first + cube.n_lines):
        cube.put(source.frame(number))
    begun = time.perf_counter()
    result = cube.save(folder).result()
    seconds = time.perf_counter() - begun
    if result.path is None or result.preview_path is None or not result.preview_path.stat().st_size:
        raise AssertionError(f"file or picture is missing: {result}")
    file = check_cube(result.path, source)
    if file.ids != tuple(range(first, first + cube.n_lines)) or file.n_wrong:
        raise AssertionError(f"{result.path}: {file.n_wrong} lines are wrong")
    result.path.unlink()
    result.preview_path.unlink()
    rows, n_lines, bands = cube.dc_shape
    return rows * n_lines * bands * cube.dtype_out.itemsize / MB / seconds


# ---- memory ----


def writer_id() -> int:
    """Process id of the writer that runs now."""
    found = [process.pid for process in SPAWN.active_children() if process.name == "openhsi_shared writer"]
    if len(found) != 1 or found[0] is None:
        raise AssertionError(f"expected one writer, found {found}")
    return found[0]


def writer_imports_bytes() -> int:
    """Private memory of a process that has done only the imports of a writer."""
    code = (
        "import os, openhsi_shared.writer.loop\n"
        "from benchmarks.measuring import private_bytes\n"
        "print(private_bytes(os.getpid()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


class PeakMemory:
    """Samples the private memory of a process two hundred times a second."""

    def __init__(self, process_id: int) -> None:
        self.peak_bytes = 0
        self._process_id = process_id
        self._error: OSError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        try:
            while not self._stop.wait(0.005):
                self.peak_bytes = max(self.peak_bytes, private_bytes(self._process_id))
        except OSError as error:  # raised at the end: else a peak of half the time would count
            self._error = error

    def __enter__(self) -> "PeakMemory":
        self.peak_bytes = private_bytes(self._process_id)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
