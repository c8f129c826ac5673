"""`openhsi-shared process`: make results of saved cubes, by a recipe."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openhsi_shared.cli import in_one_line
from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.output import INTERRUPTED, echo
from openhsi_shared.errors import ArgumentError, JobError, OpenHSIError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.printable import printable

if TYPE_CHECKING:
    from openhsi_shared.jobs.recipe import PipelineJob
    from openhsi_shared.jobs.runner import JobRunner

__all__ = ["process"]

logger = safe_logger(__name__)

INTERVAL_S = 0.2
"""Between two updates of the bar."""


@click.command()
@click.argument("paths", metavar="[FILE_OR_DIR]...", nargs=-1, type=GivenPath())
@click.option("--level", type=click.IntRange(-1, 8), help="Processing level of the result.")
@click.option("--compat", type=click.Choice(["openhsi"]), help="Compute the level as openhsi does.")
@click.option(
    "--stage", "stages", multiple=True, metavar="CODE[:key=value,...]", help="A stage; may be repeated. See `jobs`."
)
@click.option(
    "--function", "functions", multiple=True, metavar="MODULE:NAME", help="A function of yours, after the stages."
)
@click.option("--settings", type=GivenPath(), help="Settings of the camera, a JSON file. Default: of the recording.")
@click.option("--calibration", type=GivenPath(), help="Calibration, a NetCDF file as of openhsi.")
@click.option(
    "--out", type=GivenPath(), metavar="DIR", help="Folder, or file, of the results. Default: beside the cubes."
)
@click.option(
    "--to", "output", type=click.Choice(["netcdf", "zarr", "envi", "table"]), help="Format.  [default: netcdf]"
)
@click.option("--compression", metavar="C", help="none, deflate-0 to deflate-3, zstd-1 to zstd-19.")
@click.option("--significant-bits", type=int, metavar="N", help="Bits of the mantissa of floats that are kept.")
@click.option("--procs", type=int, metavar="N", help="Number of workers.  [default: physical cores]")
@click.option("--workers", type=click.Choice(["auto", "threads", "processes"]), help="[default: auto]")
@click.option("--on-error", type=click.Choice(["raise", "nan"]), help="What happens to a line that fails.")
@click.option("--link", is_flag=True, help="Store only what is new, with a reference to the input.")
@click.option("--resume", is_flag=True, help="Keep what a run that fails has finished, and continue it the next time.")
@click.option("--job", "recipe", type=GivenPath(dir_okay=False), help="A recipe, a JSON file.")
@click.option("--like", type=GivenPath(), metavar="RESULT", help="The recipe of this result.")
@click.option("--allow-functions", is_flag=True, help="Run functions that the recipe of --job or --like contains.")
@click.option("--scheduler", metavar="ADDRESS", help="Address of a scheduler of Dask, such as tcp://host:8786.")
@click.option("--follow", is_flag=True, help="Take the cubes of a folder as a recording publishes them, until its end.")
@click.option("--dry-run", is_flag=True, help="Process the first lines only: time, size and room expected, a picture.")
@click.pass_context
def process(context: click.Context, /, paths: tuple[Path, ...], **options: Any) -> None:
    """Process saved cubes to a level, by stages and functions; of a directory all cubes in it and below.

    Folders below a directory are kept. A result that is there already, whole and of the same recipe, is skipped, and
    nothing is overwritten. A cube that fails is reported, and does not stop the others; the exit code is then 1.

    \b
    openhsi-shared process flight_07 --level 4 --calibration cal.nc --out radiance
    openhsi-shared process flight_07 --stage index:formula=ndvi --to zarr --out ndvi
    """  # noqa: D301 - click reads a backspace
    resume, scheduler, follow, is_dry = (options.pop(name) for name in ("resume", "scheduler", "follow", "dry_run"))
    job = _job_of(paths, **options)
    if is_dry:
        from openhsi_shared.cli.dry_run import dry_run

        dry_run(job)
        return
    from openhsi_shared.jobs.runner import JobRunner

    with _cubes(job, follow) as cubes, _client(scheduler) as executor:
        runner = JobRunner(job, executor=executor, cubes=cubes, resume=resume)
        try:
            _run(runner)
        except KeyboardInterrupt:
            echo("interrupted: results that are complete are kept", err=True)
            context.exit(INTERRUPTED)
        except OpenHSIError:
            if not runner.failures:  # else they are reported below
                raise
        finally:
            _report(runner)
    if runner.failures:
        context.exit(1)


# ---- the recipe ----------------------------------------------------------------------------------


def _job_of(paths: tuple[Path, ...], **options: Any) -> "PipelineJob":
    """The recipe of the options, or that of --job or --like with the options changed that are given."""
    from openhsi_shared.jobs.recipe import PipelineJob

    recipe, like, allow = (options.pop(name) for name in ("recipe", "like", "allow_functions"))
    if recipe and like:
        raise click.UsageError("--job and --like exclude each other")
    values = _values(**options)
    given: dict[str, Any] = {"path_in": paths[0] if len(paths) == 1 else paths} if paths else {}
    if not (recipe or like):
        if not paths:
            raise click.UsageError("give cubes, or folders with cubes")
        return PipelineJob(**given, **values)
    if like and not paths:
        raise click.UsageError("--like takes the recipe of a result: give the cubes that it is for")
    if allow:
        _import_from_here()
    load: Callable[..., PipelineJob] = PipelineJob.from_json if recipe else PipelineJob.from_output
    try:
        found = load(recipe or like, allow_functions=allow)
    except ArgumentError as error:
        if "allow_functions" in str(error):
            error.add_note("on the command line: --allow-functions, if you trust who made the file")
        raise
    if paths and "path_out" not in values:
        values["path_out"] = None  # not where the other result is
    return found.replace(**given, **values)


def _values(**options: Any) -> dict[str, Any]:
    """Arguments of `PipelineJob` for the options that are given."""
    names = {"level": "processing_lvl", "settings": "json_path", "calibration": "cal_path", "out": "path_out"}
    names |= {"procs": "n_procs", "link": "link_to_input"}
    stages = [*options.pop("stages"), *map(_function, options.pop("functions"))]
    found = {names.get(name, name): value for name, value in options.items() if not (value is None or value is False)}
    return found | ({"stages": stages} if stages else {})


def _function(text: str) -> Any:
    """The function MODULE:NAME; the module may lie in the present directory."""
    module, colon, name = text.partition(":")
    if not colon or not module or not name:
        raise click.UsageError(f"--function {text!r}: expected MODULE:NAME, such as mine:detect for detect in mine.py")
    _import_from_here()
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        raise ArgumentError(f"--function {text}: {module} cannot be imported: {error!r}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ArgumentError(f"--function {text}: {module} has no {name}")
        found = getattr(found, part)
    return found


def _import_from_here() -> None:
    """Let modules in the present directory be imported."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)


# ---- the run -------------------------------------------------------------------------------------


@contextmanager
def _cubes(job: "PipelineJob", follow: bool) -> "Iterator[Iterator[PipelineJob | None] | None]":
    if not follow:
        yield None
        return
    from openhsi_shared.jobs.following import followed_cubes
    from openhsi_shared.processes.background import in_background

    with in_background():
        yield followed_cubes(job)


@contextmanager
def _client(scheduler: str | None) -> Iterator[Any]:
    if scheduler is None:
        yield None
        return
    from openhsi_shared.processes.dask_client import client_of

    with client_of(scheduler, JobError) as client:
        yield client


def _run(runner: "JobRunner") -> None:
    """Run it, with one bar for all cubes."""
    from tqdm import tqdm

    with tqdm(unit="line", desc="processing", disable=None, leave=False) as bar:
        runner.start()
        while runner.is_alive():
            runner.join(INTERVAL_S)
            status = runner.get_status()
            bar.total = status.n_lines
            failed = [f"{status.n_failed} lines failed"] if status.n_failed else []
            failed += [f"{status.cubes_failed} cubes failed"] if status.cubes_failed else []
            bar.set_postfix_str(", ".join([*failed, status.bottleneck] if status.bottleneck else failed), refresh=False)
            bar.update(status.lines - bar.n)
        runner.join()


def _report(runner: "JobRunner") -> None:
    """One line for each cube, and one for all."""
    for result in runner.results.values():
        counts = [f"{result.n_lines} lines"]
        counts += [f"{result.n_failed} failed"] if result.n_failed else []
        counts += [f"{result.n_rows} rows"] if result.n_rows else []
        counts.append("there already" if result.skipped else f"{result.seconds:.1f} s")
        echo(f"{_shown(result.path)}  {', '.join(counts)}")
    for path, error in runner.failures.items():
        text = in_one_line(error)
        echo(f"Error: {text if str(path) in text else f'{path}: {text}'}", err=True)
        logger.info("%s failed", path, exc_info=error)
    made = [result for result in runner.results.values() if not result.skipped]
    n_skipped = len(runner.results) - len(made)
    if len(runner.results) + len(runner.failures) > 1:
        parts = [f"{len(made)} made", f"{n_skipped} there already"] if n_skipped else [f"{len(made)} made"]
        parts += [f"{len(runner.failures)} failed"] if runner.failures else []
        echo(f"{', '.join(parts)}; {runner.get_status().seconds:.1f} s", err=True)


def _shown(path: Path) -> str:
    """Relative to the present directory, if it is below."""
    here = Path.cwd()
    return printable(os.path.relpath(path) if here in path.parents else str(path))
