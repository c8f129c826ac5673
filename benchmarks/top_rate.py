"""Highest rate without loss for twenty seconds, compared with the raw disk in the same run."""

import time
from pathlib import Path
from typing import Any

from benchmarks.frames import Checked, CountedFrames, are_accounted, check_cube
from benchmarks.loop import QUEUE
from benchmarks.measuring import MB, Plan, Row, Spread
from benchmarks.raw_disk import RawBytes
from openhsi_shared import SharedSimulatedCamera, record

__all__ = ["run"]

FRACTIONS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3)
"""Rates that are tried, highest first, as fractions of the raw disk's speed."""
AT_ONCE = 8e9
"""Maximum bytes of files on the disk that wait to be checked line by line."""


def run(plan: Plan) -> list[Row]:
    """A rate counts if ids and samples of the long run are right, and every line of a shorter one."""
    n_lines, seconds = plan.pick((512, 20.0), (512, 5.0), (16, 0.5))
    raw = RawBytes(plan.pick(1 << 30, 1 << 30, 1 << 20))
    trials, best, n_sampled, n_checked = [], 0.0, 0, 0
    with plan.folder("top-rate") as folder:
        is_direct = raw.can_be_direct(folder)
        raws = [_raw_mb_per_s(raw, folder, is_direct, seconds)]
        for fraction in FRACTIONS:
            rate = fraction * raws[0] * MB / plan.line_bytes if plan.size != "tiny" else 200 * fraction
            trials.append(_try(plan, folder, rate, n_lines, seconds, every=64))
            if trials[-1]["is_whole"]:
                n_sampled = trials[-1]["n_files"]
                trials.append(
                    _try(plan, folder, rate, n_lines, min(seconds, AT_ONCE / rate / plan.line_bytes), every=1)
                )
            if trials[-1]["is_whole"]:
                best, n_checked = rate, trials[-1]["n_files"]
                break
        raws.append(_raw_mb_per_s(raw, folder, is_direct, seconds))
    mb_per_s = best * plan.line_bytes / MB
    ratio = mb_per_s / Spread(raws).median
    return [
        Row(
            benchmark="top_rate",
            what=f"highest rate without loss over {seconds:.0f} s, record() of cubes of {n_lines} lines in 3 slots",
            ours=f"{mb_per_s:,.0f} MB/s, {best:,.0f} lines/s" if best else "none of the rates tried",
            against=f"raw {'O_DIRECT' if is_direct else 'buffered'} before and after: {Spread(raws).text('MB/s')}",
            ratio=ratio,
            target=">= 0.7 of it",
            is_reached=ratio >= 0.7,
            is_right=all(trial["is_right"] for trial in trials),
            verified=f"ids of every line and each 64th line itself of {n_sampled} files, "
            f"and afterwards, at the same rate, every line of {n_checked} files",
            figures={"raw_mb_per_s": raws, "trials": trials},
        )
    ]


def _raw_mb_per_s(raw: RawBytes, folder: Path, is_direct: bool, seconds: float) -> float:
    """Write files one after the other, for so many seconds; the time to delete them is not counted."""
    n, written_s = 0, 0.0
    while written_s < seconds:
        written_s += raw.write(folder / "raw", is_direct)
        (folder / "raw").unlink()
        n += 1
    return n * raw.n_bytes / MB / written_s


def _try(plan: Plan, folder: Path, rate: float, n_lines: int, seconds: float, every: int) -> dict[str, Any]:
    """Record at `rate`, until a line is lost. If every line is to be checked, that is done afterwards."""
    source, files = CountedFrames(plan.frame_shape), []
    with record(
        SharedSimulatedCamera,
        folder,
        n_lines=n_lines,
        seconds=seconds,
        progress=False,
        resolution=plan.frame_shape,
        row_slice=(0, -1),
        mode="counting",
        rate=rate,
        queue=QUEUE,
    ) as recording:
        while recording.is_running:
            if every > 1:
                files += _check_and_delete(folder, source, every)
            if recording.is_running and recording.status().lines_lost:
                recording.stop()
            time.sleep(0.1)
        summary = recording.wait()
    files += _check_and_delete(folder, source, every)
    n_offered = summary.lines + summary.lines_lost
    is_right = are_accounted(files, n_offered, summary.lost_ids)
    is_whole = is_right and summary.lines_lost == 0 and n_offered >= 0.98 * rate * seconds
    return {
        "rate": rate,
        "lost": summary.lines_lost,
        "seconds": summary.seconds,
        "every": every,
        "n_files": len(files),
        "is_right": is_right,
        "is_whole": is_whole,
    }


def _check_and_delete(folder: Path, source: CountedFrames, every: int) -> list[Checked]:
    files = []
    for path in sorted(folder.glob("*/[!.]*.nc")):
        files.append(check_cube(path, source, every))
        path.unlink()
    return files
