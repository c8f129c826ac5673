"""`openhsi-shared focus`: the sharpness of the image as a bar in the terminal, while the lens is turned."""

import shutil
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.camera_options import given_options, keyword_options
from openhsi_shared.cli.output import echo
from openhsi_shared.cli.running import choose_recording
from openhsi_shared.errors import RecordingError
from openhsi_shared.standard_streams import is_terminal

if TYPE_CHECKING:
    from openhsi_shared.viewer.feed import LineFacts

__all__ = ["focus"]

INTERVAL_S = 0.1
LINE_INTERVAL_S = 1.0
"""Between two lines of output that is not a terminal."""
BEEP_INTERVALS_S = (1.0, 0.1)
"""At half of the best focus and below, and at the best."""


@click.command()
@click.option("--camera", help="Name of a camera to open; see `openhsi-shared cameras`. Else the recording that runs.")
@click.option("--settings", type=GivenPath(), help="Settings of the camera, a JSON file as of openhsi.")
@click.option("--recording", metavar="NAME", help="Which recording, if several run: as NAME of `view`.")
@click.option("--beep/--no-beep", default=True, help="Ring the bell of the terminal, faster the sharper.")
@keyword_options
def focus(camera: str | None, settings: Path | None, recording: str | None, beep: bool, options: Any) -> None:
    """Show the focus, and the best so far, until Ctrl-C: turn the lens until the bar is at its longest.

    It is the figure of the live page: the mean step between neighbours across the track, in percent of the mean. It is
    that of the raw frames of a camera, if one is given, else of the newest lines of a recording that runs on this
    machine, which is not affected. The scene must stay the same meanwhile.
    """
    is_camera = camera is not None or settings is not None or options
    if is_camera and recording is not None:
        raise click.UsageError("--recording is for a recording that runs, not for a camera that is opened")
    facts = _of_camera(camera or "simulated", settings, options) if is_camera else _of_recording(recording)
    bar = FocusBar(has_beep=beep)
    try:
        for one in facts:
            bar.show(one)
    except KeyboardInterrupt:
        pass
    finally:
        facts.close()
        bar.end()


def _of_camera(name: str, settings: Path | None, options: Any) -> "Generator[LineFacts, None, None]":
    from openhsi_shared.cameras import camera_class
    from openhsi_shared.processing_levels import full_scale
    from openhsi_shared.viewer.feed import facts_of

    keywords = given_options(options, ("json_path", "n_lines"))
    with camera_class(name)(n_lines=2, json_path=settings, **keywords) as camera:
        due = 0.0
        while True:
            frame = camera.get_img()  # each one: what waits in the queue of the camera would be old
            if time.monotonic() >= due:
                due = time.monotonic() + INTERVAL_S
                yield facts_of(frame, full_scale(-1, frame.dtype.name, camera.settings["full_scale"]))


def _of_recording(name: str | None) -> "Generator[LineFacts, None, None]":
    from openhsi_shared.viewer.feed import Feed

    try:
        path = choose_recording(name)
    except RecordingError as error:
        if name is None:
            error.add_note("or give the --camera that is to be opened")
        raise
    with Feed(path, facts_interval_s=INTERVAL_S) as feed:
        shown = None
        while not feed.is_over:
            time.sleep(INTERVAL_S)
            if feed.facts is not None and feed.facts is not shown:
                shown = feed.facts
                yield shown
        if feed.state != "ended":
            raise RecordingError(f"focus: the recording at {feed.path} no longer answers")


class FocusBar:
    """Shows the focus in one line of a terminal; elsewhere as lines, one a second."""

    def __init__(self, *, has_beep: bool) -> None:
        self.best = 0.0
        self._is_terminal, self._has_beep = is_terminal(sys.stdout), has_beep
        self._line_at = self._beep_at = 0.0

    def show(self, facts: "LineFacts") -> None:
        """Show what was measured of the newest line."""
        self.best = max(self.best, facts.focus)
        share, now = facts.focus / self.best if self.best else 0.0, time.monotonic()
        full = f"  {100 * facts.share_saturated:.2g} % saturated" if facts.share_saturated > 0 else ""
        text, more = f"focus {facts.focus:6.2f} %", f"best {self.best:.2f} %{full}"
        if self._is_terminal:
            columns = shutil.get_terminal_size().columns - 1  # a line that is full would begin the next one
            n = max(0, columns - len(text) - len(more) - 4)
            bar = f"{text} [{'#' * round(share * n):{n}}] {more}"
            click.echo("\r" + bar[:columns].ljust(columns) + self._beep(share, now), nl=False)
        elif now >= self._line_at:
            self._line_at = now + LINE_INTERVAL_S
            echo(f"{text}  {more}")

    def _beep(self, share: float, now: float) -> str:
        """The bell of a terminal has one pitch: it rings more often."""
        slow, fast = BEEP_INTERVALS_S
        if not self._has_beep or now < self._beep_at:
            return ""
        self._beep_at = now + slow - (slow - fast) * max(0.0, 2 * share - 1)
        return "\a"

    def end(self) -> None:
        """Leave the line, with what was best."""
        if self.best:
            click.echo("\n" if self._is_terminal else "", nl=False)
            echo(f"best focus {self.best:.2f} %")
