"""`openhsi-shared record`: record consecutive cubes from a camera, without a gap."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.camera_options import WITH_RATE, given_options, keyword_options, rate_of
from openhsi_shared.cli.channels import given_channels
from openhsi_shared.cli.configured import channels_of, config_option, keywords_of, note_config
from openhsi_shared.cli.keys import keys_of
from openhsi_shared.cli.output import INTERRUPTED, echo
from openhsi_shared.cli.pins import Pins, pin_from
from openhsi_shared.cli.together import start_cameras, tables_of_all
from openhsi_shared.errors import OpenHSIError
from openhsi_shared.packages import require

if TYPE_CHECKING:
    from openhsi_shared.flight.together.recordings import Recordings
    from openhsi_shared.recording.messages import RecordingSummary
    from openhsi_shared.recording.run import Recording
    from openhsi_shared.viewer.live_page import LivePage

__all__ = ["record"]

SECONDS = click.FloatRange(0)
OF_EVENTS = ("save_when", "keep_before_s", "keep_after_s", "inside", "margin_m", "at_least_s")
COMPRESSIONS = ["none", "deflate", "zstd"]
MAX_FILES = 12
"""Files that are listed in the summary."""


@click.command()
@config_option
@click.option(
    "--camera", default="simulated", show_default=True, help="Name of the camera; see `openhsi-shared cameras`."
)
@click.option("--settings", type=GivenPath(), help="Settings of the camera, a JSON file as of openhsi.")
@click.option("--calibration", type=GivenPath(), help="Calibration, a NetCDF file as of openhsi.")
@click.option("--lines", type=click.IntRange(1), default=128, show_default=True, help="Lines per cube.")
@click.option("--cubes", type=click.IntRange(1), help="Stop after this number of cubes.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Stop after this number of seconds.")
@click.option("--level", type=int, default=-1, show_default=True, help="Processing level, -1 (raw) to 8.")
@click.option("--compat", type=click.Choice(["openhsi"]), help="Compute levels, and read settings, as openhsi does.")
@click.option("--out", type=GivenPath(), default="flight", show_default=True, help="Directory of the cubes.")
@click.option(
    "--rate", type=rate_of, metavar="R", help="Lines per second of a simulated or replayed camera; any = unlimited."
)
@click.option(
    "--compression",
    type=click.Choice(COMPRESSIONS),
    default="none",
    show_default=True,
    help="Compression of the cubes.",
)
@click.option("--compression-level", type=int, help="Compression level.")
@click.option(
    "--buffers", type=click.IntRange(2), default=3, show_default=True, help="Number of slots in memory, one cube each."
)
@click.option(
    "--when-full",
    type=click.Choice(["block", "drop", "stop"]),
    help="If no slot is free: wait, count lost lines, or stop.  [default: block where the source can wait, else drop]",
)
@click.option("--average", type=int, metavar="N", help="Make one line of N frames, their mean; 2 to 64.")
@click.option(
    "--realtime", is_flag=True, help="Schedule the capturing thread in real time, before all ordinary processes."
)
@click.option("--prefix", default="", help="Prefix of file names.")
@click.option("--suffix", default="", help="Suffix of file names, before .nc.")
@click.option("--meta", type=GivenPath(), help="JSON file of metadata for the attributes of the cubes.")
@click.option("--fallback", multiple=True, type=GivenPath(), help="Directory to use if --out fails.")
@click.option(
    "--channel",
    "channel_texts",
    multiple=True,
    metavar="NAME=SOURCE",
    help="A channel, such as temp=ca:HSI:temp or gps=gps:/dev/ttyUSB0@115200; may be repeated.",
)
@click.option("--channels", "channel_file", type=GivenPath(), help="TOML file with tables [channels.NAME].")
@click.option(
    "--analyse",
    "pairs",
    multiple=True,
    metavar="WORKER[,REDUCER]",
    help="Classes, each as MODULE:CLASS, that get every line; may be repeated.",
)
@click.option("--lossless", is_flag=True, help="Use no slot again before --analyse has processed its lines.")
@click.option("-p", "--parameters", type=GivenPath(), metavar="FILE", help="Values of parameters of --analyse.")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Serve what --analyse publishes; 0: any port.")
@click.option("--save-when", metavar="TEXT", help='Save only events: "lamp > 3.5" on channels, or "mark".')
@click.option("--keep-before", "keep_before_s", type=SECONDS, metavar="S", help="Seconds before an event to save.")
@click.option("--keep-after", "keep_after_s", type=SECONDS, metavar="S", help="Seconds after an event to save.")
@click.option("--inside", type=GivenPath(), metavar="FILE", help="Save only over the polygons of this GeoJSON or KML.")
@click.option("--margin", "margin_m", type=SECONDS, metavar="M", help="Metres around them.  [default: 20]")
@click.option("--at-least", "at_least_s", type=SECONDS, metavar="S", help="How long an edge must last.  [default: 1]")
@click.option("--view", is_flag=True, help="Open the live page in a browser; its address is printed.")
@click.option(
    "--button",
    type=pin_from,
    metavar="PIN",
    help="Record from a press of the button on this pin to the next one, again and again.",
)
@click.option("--lamp", type=pin_from, metavar="PIN", help="Pin of a lamp: on = recording, blinking = lines are lost.")
@click.option("--allow-loss", is_flag=True, help="Exit code 0 even if lines were lost.")
@keyword_options
@click.pass_context
def record(context: click.Context, /, **given: Any) -> None:
    """Record cubes without a gap, until --cubes or --seconds is reached or until Ctrl-C, which stops it cleanly.

    At a terminal, m and a text make a mark, and space pauses and resumes.

    Without options the simulated camera is recorded into ./flight.
    With --config flight.toml, options that are not given have the values of that file.
    The exit code is 1 if lines were lost, unless --allow-loss, or on an error.
    """
    if given["view"]:
        require("--view", "bokeh", "tornado")  # before the first line
    with Pins.of(given["button"], given["lamp"]) as pins:
        while True:
            try:
                with _sigterm_as_interrupt():
                    pins.wait()
            except KeyboardInterrupt:
                echo("Interrupted while waiting for the button.", err=True)
                context.exit(INTERRUPTED)
            was_interrupted = _record(context, given, pins)
            if was_interrupted or not pins.go_on:
                break


def _record(context: click.Context, given: dict[str, Any], pins: Pins) -> bool:
    """Record once; whether it was interrupted."""
    run = _start(given, pins)
    pins.show(run)
    note_config(context, run.save_dir)
    page = _view(run, given["config"].view or {}) if given["view"] else None
    error: OpenHSIError | None = None
    try:
        with _sigterm_as_interrupt() as signals, keys_of(run):
            run.wait()
    except OpenHSIError as failure:
        error = failure
    except KeyboardInterrupt:  # the second one
        echo("Interrupted again: the recording stops in the background, without a summary.", err=True)
        context.exit(INTERRUPTED)
    if page is not None:
        page.close()
    for line in _tables(run, given["lines"]):
        echo(line)
    if error is not None:
        raise error
    n_lost = run.summary.lines_lost if run.summary else 0
    if n_lost and not given["allow_loss"]:
        echo(f"Error: {n_lost} lines were lost (use --allow-loss to ignore this)", err=True)
        context.exit(1)
    return bool(signals)


def _start(given: dict[str, Any], pins: Pins) -> "Recording | Recordings":
    """Start the recording, or those of several cameras. Ctrl-C while the camera starts ends the program."""
    from openhsi_shared.cameras import camera_class
    from openhsi_shared.recording.conditions import conditions_of
    from openhsi_shared.recording.plan import RecordingPlan
    from openhsi_shared.recording.run import Recording

    try:
        if given["config"].cameras:
            return start_cameras(given, _keywords, pins.button)
        keywords = _keywords(given)
        progress = keywords.pop("progress", True)
        plan = RecordingPlan.of(camera_class(given["camera"]), given["out"], **keywords)
        return Recording(plan, conditions_of(None, pins.button), progress)
    except KeyboardInterrupt:
        echo("Interrupted before the first line: nothing was recorded.", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None


def _view(run: "Recording | Recordings", how: Mapping[str, Any]) -> "LivePage | None":
    """Open the live page; if it fails, the recording continues without one."""
    try:
        page = run.view(open_browser=how.get("browser", True), port=how.get("port", 0))
    except OpenHSIError as error:
        echo(f"WARNING: {error}", err=True)
        return None
    echo(f"live page: {page.url}", err=True)
    return page


def _keywords(given: dict[str, Any]) -> dict[str, Any]:
    """Convert command line options to keywords of a plan."""
    camera, rate, config = given["camera"], given["rate"], given["config"]
    context = click.get_current_context()
    of_camera = dict(config.camera)
    has_rate = given.get("has_rate", context.get_parameter_source("rate") is not click.core.ParameterSource.DEFAULT)
    if camera in WITH_RATE and "rate" in of_camera:
        configured = of_camera.pop("rate")
        has_rate, rate = True, rate if has_rate else rate_of(configured)
    if has_rate and camera not in WITH_RATE:
        raise click.UsageError(f"--rate applies to {' and '.join(WITH_RATE)} only; camera {camera!r} sets its own rate")
    can_wait = camera == "replay" or (camera == "simulated" and rate is None)
    keywords = {
        "n_lines": given["lines"],
        "n_cubes": given["cubes"],
        "seconds": given["seconds"],
        "processing_lvl": given["level"],
        "compat": given["compat"],
        "json_path": given["settings"],
        "cal_path": given["calibration"],
        "compression": None if given["compression"] == "none" else given["compression"],
        "compression_level": given["compression_level"],
        "n_buffers": given["buffers"],
        "when_full": given["when_full"] or ("block" if can_wait else "drop"),
        "fallback_dirs": [path.absolute() for path in given["fallback"]],
        "realtime": given["realtime"],
        "preconfig_meta_path": given["meta"],
        "prefix": given["prefix"],
        "suffix": given["suffix"],
    }
    if has_rate:
        keywords["rate"] = rate
    if given["average"] is not None:
        keywords["average"] = given["average"]
    if given["pairs"]:
        keywords["analyse"] = _analyses(given)
    elif given["lossless"] or given["parameters"] or given["port"] is not None:
        raise click.UsageError("--lossless, --parameters and --port need --analyse WORKER,REDUCER")
    found = channels_of(config) | given_channels(given["channel_texts"], given["channel_file"])
    if found:
        keywords["channels"] = found
    keywords |= keywords_of(config, of_camera, keywords)
    keywords |= {name: given[name] for name in OF_EVENTS if given[name] is not None}
    return keywords | given_options(given["options"], keywords.keys() - of_camera.keys())


def _analyses(given: dict[str, Any]) -> list[Any]:
    from openhsi_shared.analysis.live.analysis import Analysis

    found = []
    for text in given["pairs"]:
        names = text.split(",")
        if len(names) > 2:
            raise click.UsageError(f"--analyse {text}: expected MODULE:CLASS of a worker, and of a reducer")
        options = {"parameters": given["parameters"], "lossless": given["lossless"], "port": given["port"]}
        found.append(Analysis(*names, **options))
    return found


@contextmanager
def _sigterm_as_interrupt() -> Iterator[list[int]]:
    """Handle SIGTERM, by which a service manager stops a recording, like Ctrl-C. Yields the signals received."""
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.default_int_handler(number, frame)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, interrupt)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, in the background
        before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tables(run: "Recording | Recordings", n_lines: int) -> list[str]:
    """The summary of a recording, or of several."""
    from openhsi_shared.recording.run import Recording

    if run.summary is None:
        return []
    if isinstance(run, Recording):
        return _table(run.summary, n_lines, run.save_dir)
    return tables_of_all(run, run.summary, _table)


def _table(summary: "RecordingSummary", n_lines: int, directory: Path) -> list[str]:
    """Format the summary of a recording as a table."""
    from openhsi_shared.frames.losses import ranges_in_words

    lost = f"{summary.lines_lost}"
    if summary.lost_ids:
        more = f" and {len(summary.lost_ids) - 5} more gaps" if len(summary.lost_ids) > 5 else ""
        lost += f"  (frame ids {ranges_in_words(summary.lost_ids[:5])}{more})"
    files = [
        str(path.relative_to(directory)) if path.is_relative_to(directory) else str(path) for path in summary.paths
    ]
    if len(files) > MAX_FILES:
        files[MAX_FILES - 1 : -1] = [f"... {len(files) - MAX_FILES} more"]
    rows = [
        ("cubes", f"{len(summary.paths)}  (of {n_lines} lines)"),
        ("lines", f"{summary.lines}"),
        ("lost", lost),
        *_under("events", [summary.events_in_words] if summary.events_in_words else []),
        ("rate", f"{summary.rate:.0f} lines/s over {summary.seconds:.1f} s"),
        *_under("errors", summary.errors),
        *_under("files", [str(directory), *files] if files else ["none"]),
        *_under("previews", ["same directory and names, with .png"] if files else []),
    ]
    return [f"{name:10}{text}" for name, text in rows]


def _under(name: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Rows with one common name."""
    return [("" if n else name, text) for n, text in enumerate(texts)]
