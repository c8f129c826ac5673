"""`openhsi-shared view`: look at a recording that runs on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from openhsi_shared.errors import RecordingError

if TYPE_CHECKING:
    from openhsi_shared.control.messages import Glance

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

    path = _choose(name)
    with LivePage(path, open_browser=browser, port=port) as page:
        click.echo(page.url)
        try:
            page.wait()
        except KeyboardInterrupt:
            click.echo("closed; what is recorded goes on", err=True)


def _choose(name: str | None) -> Path:
    """The only control socket there is, or that of `name`. Several are listed, with exit code 1.

    RecordingError if there is none, or what it answered if that is an error.
    """
    from openhsi_shared.control.control_socket import find_sockets, request
    from openhsi_shared.control.messages import AskGlance, Glance

    found: dict[Path, Glance | RecordingError] = {}
    for path in find_sockets():
        try:
            answer: Glance | RecordingError = request(path, AskGlance()).answer
        except OSError:
            answer = RecordingError("it does not answer")
        except RecordingError as error:
            answer = error
        program = str(answer.program_id) if isinstance(answer, Glance) else None
        if name is None or name in (path.stem, path.stem.split("-")[1], program):
            found[path] = answer
    if not found:
        whose = "runs on this machine, as far as this user may see" if name is None else f"has the name {name!r}"
        raise RecordingError(f"no recording {whose}: start one, with `openhsi-shared record --view` for instance")
    if len(found) > 1:
        listed = "".join(f"\n  {path.stem}  {_in_words(answer)}" for path, answer in found.items())
        click.echo(f"There are several; say which one, by its name:{listed}", err=True)
        raise click.exceptions.Exit(1)
    ((path, answer),) = found.items()
    if isinstance(answer, RecordingError):
        raise RecordingError(f"{path.stem}: {answer}") from answer
    return path


def _in_words(answer: "Glance | RecordingError") -> str:
    from openhsi_shared.control.status import RecordingStatus

    if isinstance(answer, RecordingError):
        return str(answer)
    status = answer.status
    what = f"recording for {status.seconds:.0f} s" if isinstance(status, RecordingStatus) else "camera"
    return f"{answer.camera}, {what}, {status.lines:,} lines, into {answer.save_dir or 'nothing yet'}"
