"""`openhsi-shared view`: look at a recording that runs on this machine."""

from pathlib import Path
from typing import Any

import click

from openhsi_shared.errors import RecordingError

__all__ = ["view"]


@click.command()
@click.argument("name", required=False)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the page; 0 is any that is free.")
@click.option("--browser/--no-browser", default=True, help="Open a browser, if there is a screen.")
def view(name: str | None, port: int, browser: bool) -> None:
    """Show the live page of a recording that runs on this machine, or of a camera whose program has a page.

    It finds the recording by itself; if there are several, they are listed, and NAME is that of one of them, or the
    number of its process, or of the program that records.
    Looking does not disturb it. The page is there until Ctrl-C, or until the recording has ended and nobody looks.
    From another computer: ssh -L PORT:127.0.0.1:PORT USER@THIS-MACHINE, and open there the address that is told.
    """
    from openhsi_shared.viewer.live_page import LivePage

    door = _choose(name)
    with LivePage(door, open_browser=browser, port=port) as page:
        click.echo(page.url)
        try:
            page.wait()
        except KeyboardInterrupt:
            click.echo("closed; what is recorded goes on", err=True)


def _choose(name: str | None) -> Path:
    """The one door there is, or that of `name`. RecordingError if there is none; several are listed, exit code 1."""
    from openhsi_shared.processes.control_socket import find_sockets, request

    found: dict[Path, dict[str, Any]] = {}
    for door in find_sockets():
        try:
            words, _ = request(door, "glance")
        except (OSError, ValueError):
            words = {"error": "it does not answer"}
        if name is None or name in (door.stem, door.stem.split("-")[1], str(words.get("program_id"))):
            found[door] = words
    if not found:
        whose = "runs on this machine, as far as this user may see" if name is None else f"has the name {name!r}"
        raise RecordingError(f"no recording {whose}: start one, with `openhsi-shared record --view` for instance")
    if len(found) > 1:
        listed = "".join(f"\n  {door.stem}  {_in_words(words)}" for door, words in found.items())
        click.echo(f"There are several; say which one, by its name:{listed}", err=True)
        raise click.exceptions.Exit(1)
    return next(iter(found))


def _in_words(words: dict[str, Any]) -> str:
    if "error" in words:
        return str(words["error"])
    what = "camera" if words["kind"] == "camera" else f"recording for {words['seconds']:.0f} s"
    return f"{words['camera']}, {what}, {words['lines']:,} lines, into {words['save_dir'] or 'nothing yet'}"
