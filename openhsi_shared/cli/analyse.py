"""`openhsi-shared analyse`: a worker and a reducer on the lines of a recording that runs already."""

from pathlib import Path
from typing import Any

import click

from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.output import INTERRUPTED, echo
from openhsi_shared.cli.running import choose_recording

__all__ = ["analyse"]


@click.command()
@click.argument("name", required=False)
@click.option("-w", "--worker", required=True, metavar="MODULE:CLASS", help="Your worker, such as src.worker:MyWorker.")
@click.option("-r", "--reducer", metavar="MODULE:CLASS", help="Your reducer.")
@click.option("-p", "--parameters", type=GivenPath(), metavar="FILE", help="Values of parameters: JSON or CBOR.")
@click.option("--nworkers", "n_workers", type=click.IntRange(1), default=1, show_default=True, metavar="N")
@click.option("--stream", default="lines", show_default=True, metavar="NAME", help="Name of the stream of lines.")
@click.option("--ordered", is_flag=True, help="Deliver results by event number.")
@click.option("--on-error", type=click.Choice(["raise", "log"]), default="log", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Serve what is published over HTTP; 0: any.")
@click.pass_context
def analyse(context: click.Context, /, name: str | None, parameters: Path | None, **options: Any) -> None:
    """Let a worker process the newest lines of a recording that runs, until that ends, or until Ctrl-C.

    The recording is found as by `view`; it is not affected, and never waits: lines that come too fast are skipped and
    counted. So edit the classes and start again as often as needed.
    The exit code is 1 if an event failed, 130 after Ctrl-C.
    """
    from openhsi_shared.analysis.live.analysis import Analysis
    from openhsi_shared.analysis.live.attached import Attached

    try:
        analysis = Analysis(options.pop("worker"), options.pop("reducer"), parameters=parameters, **options)
        with Attached(analysis, choose_recording(name)) as attached:
            if attached.status.url:
                echo(attached.status.url)
            try:
                attached.wait()
            except KeyboardInterrupt:
                attached.stop()
                attached.wait()
                echo(str(attached.status), err=True)
                raise
    except KeyboardInterrupt:
        context.exit(INTERRUPTED)
    echo(str(attached.status), err=True)
    if attached.status.failed:
        context.exit(1)
