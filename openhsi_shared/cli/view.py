"""`openhsi-shared view`: the live page of a recording that runs on this machine."""

import click

from openhsi_shared.cli.output import echo
from openhsi_shared.cli.running import choose_together

__all__ = ["view"]


@click.command()
@click.argument("name", required=False)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the page; 0 = any free port.")
@click.option("--browser/--no-browser", default=True, help="Open a browser, if there is a screen.")
def view(name: str | None, port: int, browser: bool) -> None:
    """Show the live page of a recording that runs on this machine, or of a camera whose program has a page.

    The recording is found automatically; if there are several, they are listed, and NAME selects one: its name, its
    process id, or that of the program that records. Cameras that record together are shown side by side; the name of a
    camera selects one of them. The recording is not affected. The page ends on Ctrl-C, or when the recording has ended
    and no browser is connected. From another computer: ssh -L PORT:127.0.0.1:PORT USER@THIS-MACHINE, and open the
    printed address there.
    """
    from openhsi_shared.viewer.live_page import LivePage

    found = choose_together(name)
    with LivePage(found if len(found) > 1 else next(iter(found.values())), open_browser=browser, port=port) as page:
        echo(page.url)
        try:
            page.wait()
        except KeyboardInterrupt:
            echo("page closed; the recording continues", err=True)
