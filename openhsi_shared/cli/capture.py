"""`openhsi-shared capture`: lines of cubes, or of a running recording, as a capture that dranspose replays."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.output import echo
from openhsi_shared.cli.running import choose_recording
from openhsi_shared.loggers import safe_logger

if TYPE_CHECKING:
    from openhsi_shared.analysis.streams.capture_options import LinesToCapture
    from openhsi_shared.analysis.streams.source import Source

__all__ = ["capture"]

logger = safe_logger(__name__)

LOOK_INTERVAL_S = 0.01


def _range_of(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, int | None]:
    """(first, stop) of a text such as 100:200."""
    first, colon, stop = text.partition(":")
    if not colon or not all(part.isdecimal() or not part for part in (first, stop)):
        raise click.BadParameter(f"{text!r} is not A:B, such as 100:200, 100: or :200")
    return int(first or 0), int(stop) if stop else None


@click.command()
@click.argument("cubes", metavar="[CUBE]...", nargs=-1, type=GivenPath(exists=True))
@click.option("--out", type=GivenPath(), required=True, help="The capture: FILE.cbors, or FILE.cbors.gz.")
@click.option(
    "--lines", callback=_range_of, default=":", metavar="A:B", help="Only these lines, from 0 on; B is excluded."
)
@click.option("--every", metavar="K", type=click.IntRange(1), default=1, help="Only each K-th line.")
@click.option("--stream", default="lines", help="Name of the stream.", show_default=True)
@click.option("--recording", metavar="NAME", help="Which recording, if several run.")
def capture(
    cubes: tuple[Path, ...],
    out: Path,
    lines: tuple[int, int | None],
    every: int,
    stream: str,
    recording: str | None,
) -> None:
    """Write the lines of cubes, or of folders of cubes, into a capture, which dranspose and `replay` read.

    Without CUBE: the lines of a recording that runs on this machine, from now until Ctrl-C, or until its end. The
    recording is not affected: lines that come too fast are skipped, and counted.
    """
    from openhsi_shared.analysis.streams.capture_options import LinesToCapture
    from openhsi_shared.analysis.streams.cubes import CubeSource
    from openhsi_shared.analysis.streams.lines_of_slots import SlotSource

    if cubes and recording is not None:
        raise click.UsageError("--recording is for a recording that runs, not for cubes")
    wanted = LinesToCapture(first=lines[0], stop=lines[1], every=every)
    if cubes:
        n = _capture_cubes(CubeSource(cubes, stream=stream), out, wanted)
    else:
        n = _capture_recording(SlotSource(choose_recording(recording), stream=stream), out, wanted)
    echo(f"{n} lines in {out}")


def _capture_cubes(source: "Source", out: Path, lines: "LinesToCapture") -> int:
    from tqdm import tqdm

    from openhsi_shared.analysis.streams.capturing import Capturing

    with Capturing(source, out, lines) as capturing, tqdm(unit="line", disable=None, leave=False) as bar:
        while capturing.step():
            bar.update(capturing.n_lines - bar.n)
        capturing.close()
        return capturing.n_lines


def _capture_recording(source: "Source", out: Path, lines: "LinesToCapture") -> int:
    """Until its end, or Ctrl-C."""
    from openhsi_shared.analysis.streams.capturing import Capturing

    with Capturing(source, out, lines) as capturing:
        try:
            while not capturing.ranges.is_ended:
                if not capturing.step():
                    time.sleep(LOOK_INTERVAL_S)
        except KeyboardInterrupt:
            capturing.end()
            while capturing.step():
                pass
        capturing.close()
        if capturing.skipped.n:
            logger.warning("%s", capturing.skipped)
        return capturing.n_lines
