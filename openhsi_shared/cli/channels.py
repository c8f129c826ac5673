"""`openhsi-shared channels`: look at sources live, before a flight."""

import math
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.output import echo

if TYPE_CHECKING:
    from openhsi_shared.channels.channel import Channel
    from openhsi_shared.control.status import ChannelStatus

__all__ = ["channels", "given_channels"]

INTERVAL_S = 1.0
SILENT = ("connecting", "stalled", "lost", "no fix", "refused")
"""States in which nothing comes."""
HEAD = ("channel", "value", "unit", "age", "rate", "lag", "offset", "state", "")


def given_channels(texts: tuple[str, ...], path: Path | None) -> "dict[str, Channel]":
    """Channels of `--channel NAME=SOURCE` and `--channels FILE`. UsageError if a name is given twice."""
    from openhsi_shared.channels.addresses import channel_from_text, channels_from

    found = channels_from(path)
    for text in texts:
        name, sign, source = text.partition("=")
        if not sign or not name.strip() or ":" in name:
            raise click.UsageError(f"--channel {text!r} is not NAME=SOURCE, such as temp=ca:HSI:temp")
        if (name := name.strip()) in found:
            raise click.UsageError(f"--channel {name!r} is given twice: each needs a name of its own")
        found[name] = channel_from_text(source, name)
    return found


@click.command()
@click.option(
    "--channel",
    "texts",
    multiple=True,
    metavar="NAME=SOURCE",
    help="A source, such as temp=ca:HSI:temp; may be repeated.",
)
@click.option("--channels", "path", type=GivenPath(), help="TOML file with tables [channels.NAME].")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Stop after this time; else at Ctrl-C.")
@click.pass_context
def channels(context: click.Context, texts: tuple[str, ...], path: Path | None, seconds: float | None) -> None:
    """Show every source live: newest value, its age, samples per second, lag, offset of its clock, state.

    SOURCE is KIND:ADDRESS[,key=value...], such as gps:/dev/ttyUSB0@115200,latency_s=0.05 or sys:load. The exit code is
    1 if a required channel has delivered nothing, or nothing more, at the end.
    """
    from openhsi_shared.channels.addresses import source_kinds
    from openhsi_shared.channels.supervisor import ChannelsSupervisor

    found = given_channels(texts, path)
    if not found:
        raise click.UsageError(f"give --channel NAME=SOURCE or --channels FILE; sources: {', '.join(source_kinds())}")
    supervisor = ChannelsSupervisor(found)
    end = math.inf if seconds is None else time.monotonic() + seconds
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        supervisor.start()
        while time.monotonic() < end:
            time.sleep(max(0.0, min(INTERVAL_S, end - time.monotonic())))
            _show(supervisor.statuses())
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
        last = supervisor.statuses()
        supervisor.close()
    silent = [name for name, one in last.items() if found[name].properties.required and not _delivers(one)]
    if silent:
        echo(f"Error: nothing from {', '.join(f'{name} ({last[name].source})' for name in silent)}", err=True)
        context.exit(1)


def _delivers(status: "ChannelStatus") -> bool:
    return status.delivered > 0 and status.state not in SILENT


def _show(statuses: "Mapping[str, ChannelStatus]") -> None:
    rows = [HEAD, *(row for name, status in statuses.items() for row in _rows(name, status))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    if sys.stdout.isatty():
        click.clear()
    for row in rows:
        echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _rows(name: str, status: "ChannelStatus") -> list[tuple[str, ...]]:
    """One row for each field; rate, lag and state are those of the channel."""
    names = [name] if len(status.fields) == 1 else [f"{name}.{field}" for field in status.fields]
    of_channel = (
        _number(status.age_s, "s"),
        f"{status.rate:.4g}/s",
        _number(status.lag_s, "s"),
        _number(status.offset_s, "s"),
        status.state,
        "; ".join(filter(None, [status.why, f"{status.refused} refused" if status.refused else ""])),
    )
    values: list[tuple[str, Any]] = list(zip(names, status.values, strict=True))
    first = (values[0][0], f"{values[0][1]:.9g}", status.unit, *of_channel)
    return [first, *((field, f"{value:.9g}", "", *[""] * len(of_channel)) for field, value in values[1:])]


def _number(value: float, unit: str) -> str:
    return "" if math.isnan(value) else f"{value:.3f} {unit}"
