"""`openhsi-shared replay`: run a worker and a reducer over captures and saved cubes."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from openhsi_shared.cli import in_one_line
from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.output import INTERRUPTED, PrintableFormatter, echo
from openhsi_shared.errors import OpenHSIError
from openhsi_shared.printable import printable

__all__ = ["replay"]


@click.command()
@click.option("-w", "--worker", required=True, metavar="MODULE:CLASS", help="Your worker, such as src.worker:MyWorker.")
@click.option("-r", "--reducer", metavar="MODULE:CLASS", help="Your reducer.")
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=GivenPath(),
    metavar="FILE_OR_DIR",
    help="A capture (.cbors, .cbors.gz), a cube, or a folder of cubes; may be repeated.",
)
@click.argument("more_files", nargs=-1, type=GivenPath(), metavar="[FILE_OR_DIR]...")
@click.option("-s", "--source", metavar="MODULE:CLASS", help="In place of files: a class with get_source_generators.")
@click.option("-p", "--parameters", type=GivenPath(), metavar="FILE", help="Values of parameters: JSON or CBOR.")
@click.option("--parameter-log", type=GivenPath(), metavar="FILE", help="Repeat the changes of parameters of a run.")
@click.option("--nworkers", "n_workers", type=click.IntRange(1), default=1, show_default=True, metavar="N")
@click.option("--from", "first", type=int, metavar="N", help="First event.")
@click.option("--until", type=int, metavar="N", help="Last event.")
@click.option("--only", type=int, metavar="N", help="The only event, besides the first ones of streams.")
@click.option("--per", type=click.Choice(["cube", "run"]), help="A run for each cube, or for each run in a capture.")
@click.option("--stream", default="lines", show_default=True, metavar="NAME", help="Name of the stream of cubes.")
@click.option("--level", "processing_lvl", type=click.IntRange(-1, 8), help="Processing level of the lines of cubes.")
@click.option("--ordered", is_flag=True, help="Deliver results by event number, also with --shuffle.")
@click.option("--shuffle", type=click.IntRange(0), metavar="SEED", help="Assignment and order of results at random.")
@click.option("--on-error", type=click.Choice(["raise", "log"]), default="raise", show_default=True)
@click.option("--pdb", is_flag=True, help="Post-mortem debugger in the event that fails.")
@click.option("--debug", is_flag=True, help="Overwrite the memory of events behind the worker.")
@click.option("--publish", type=GivenPath(), metavar="FILE", help="Save what is published, as HDF5.")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Serve what is published over HTTP; 0: any.")
@click.option("--keep-alive", is_flag=True, help="Serve it after the end, until Ctrl-C.")
@click.option("--scheduler", metavar="ADDRESS", help="Address of a scheduler of Dask, such as tcp://host:8786.")
@click.option("--trust-pickles", is_flag=True, help="Read pickles, which can execute any code.")
@click.pass_context
def replay(context: click.Context, /, files: tuple[Path, ...], more_files: tuple[Path, ...], **options: Any) -> None:
    """Let a worker process each event, and a reducer their results, as they would beside a recording.

    Modules are found from the current folder on. The result does not depend on the number of workers. LOG_LEVEL sets
    what your code logs (default INFO). The exit code is 1 if an event failed, 130 after Ctrl-C.

    \b
    openhsi-shared replay -w src.worker:TestWorker -r src.reducer:TestReducer -f capture.cbors
    openhsi-shared replay -w src.worker:Ndvi -r src.reducer:Waterfall -f flight_07 --nworkers 2
    """  # noqa: D301 - click reads a backspace
    from openhsi_shared.analysis.replaying.replay import replay as run

    _log_as_asked()
    try:
        done = run(options.pop("worker"), options.pop("reducer"), [*files, *more_files], **options)
    except KeyboardInterrupt:
        echo("interrupted", err=True)
        context.exit(INTERRUPTED)
    except OpenHSIError as error:
        trace = getattr(error, "worker_traceback", "")
        for line in trace.rstrip().split("\n") if trace else ():
            click.echo(printable(line), err=True)
        raise click.ClickException(in_one_line(error)) from error
    n_events = sum(one.n_events for one in done.runs)
    n_results = sum(one.n_results for one in done.runs)
    n_failed = sum(one.n_failed for one in done.runs)
    seconds = sum(one.seconds for one in done.runs)
    echo(f"{n_events} events, {n_results} results, {n_failed} failed, in {seconds:.2f} s", err=True)
    if n_failed:
        context.exit(1)


def _log_as_asked() -> None:
    """Log as dranspose does: LOG_LEVEL, else INFO, unless -v asks for more."""
    name = os.environ.get("LOG_LEVEL", "INFO").upper()
    level = logging.getLevelNamesMapping().get(name)
    if level is None:
        raise click.ClickException(
            f"LOG_LEVEL={printable(name)}: expected one of {', '.join(logging.getLevelNamesMapping())}"
        )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter(logging.BASIC_FORMAT))
    logging.basicConfig(handlers=[handler], level=min(level, logging.getLogger().level), force=True)
