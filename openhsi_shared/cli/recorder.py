"""`openhsi-shared recorder`: record rows of channels, on a page in the browser."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.output import echo
from openhsi_shared.errors import OpenHSIError, ViewerError

if TYPE_CHECKING:
    from openhsi_shared.channels.recorder import Recorder
    from openhsi_shared.viewer.recorder_viewer import RecorderViewer

__all__ = ["recorder"]

DEMO: dict[str, Any] = {
    "camera": {"source": "sim:spot", "rate": 120.0, "shape": [128, 160], "threshold": 0.2, "expand": [10, 10]},
    "position": {"source": "sim:sine", "rate": 120.0, "unit": "mm"},
    "charge": {"source": "sim:walk", "rate": 120.0, "unit": "pC"},
}
"""The row of the camera's spot follows the position."""
DEMO_ROWS = 500
MIN_LIFE_S = 10.0
"""A page that dies earlier would die again."""


@click.command()
@click.argument("config", type=GivenPath(), required=False)
@click.option("--demo", is_flag=True, help="Simulated channels, which need no network: a camera's spot, and scalars.")
@click.option("--start/--no-start", "is_started", default=True, help="Record at once, or wait for the button.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the page; 0 = any free port.")
@click.option("--browser/--no-browser", default=True, help="Open a browser, if there is a screen.")
def recorder(config: Path | None, demo: bool, is_started: bool, port: int, browser: bool) -> None:
    """Record updates of channels that belong together, and show them on a page, until Ctrl-C.

    CONFIG is a TOML file. Keywords of the recorder are at its top: maxlen, matching_maxlen, timestamp_threshold,
    reference, match, settle_s, id_mask, compat. Each table [channels.NAME] has source = "KIND:ADDRESS" and the keywords
    of the channel; of an image also shape, threshold and expand.

    \b
        maxlen = 1000
        [channels.charge]
        source = "pva:SYS:CHARGE"
        [channels.screen]
        source = "pva:SYS:CAM:IMAGE"
        threshold = 0.2
        expand = [20, 10]

    Rows stay in memory: save them by the page. Closing the page stops nothing; open its address again.
    """  # noqa: D301 - click reads a backspace
    from openhsi_shared.viewer import view_recorder

    if demo == (config is not None):
        raise click.UsageError("give a CONFIG, or --demo")
    made = _demo() if config is None else _from_file(config)
    page = view_recorder(made, open_browser=browser, port=port)
    try:
        echo(page.url)
        if is_started:
            made.start()
        while not _is_closed(page):
            page = view_recorder(made, open_browser=browser, port=port)  # the rows are still there
            echo(page.url)
    except KeyboardInterrupt:
        echo("recorder stopped", err=True)
    finally:
        page.close()
        made.stop()


def _is_closed(page: "RecorderViewer") -> bool:
    """Wait until it is closed; False if it has died. ViewerError if it has died at once."""
    begun = time.monotonic()
    try:
        return page.wait()
    except ViewerError as error:
        if time.monotonic() - begun < MIN_LIFE_S:
            raise
        echo(f"{error}: the recorder goes on", err=True)
        return False


def _demo() -> "Recorder":
    from openhsi_shared.channels.recorder import Recorder

    return Recorder(DEMO, DEMO_ROWS, reference="position")


def _from_file(path: Path) -> "Recorder":
    """The recorder of a TOML file; an error names the file."""
    from openhsi_shared.channels.addresses import tables_of
    from openhsi_shared.channels.recorder import Recorder
    from openhsi_shared.channels.recorder.inputs import KEYWORDS

    channels, keywords = tables_of(path, *KEYWORDS)
    try:
        return Recorder(channels, **keywords)
    except OpenHSIError as error:
        raise type(error)(f"{path}: {error}") from error
