"""`--config FILE` of `record`: values of a `flight.toml` for the options that the command line does not give."""

import json
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.camera_options import option_from
from openhsi_shared.flight.config import KEYS, FlightConfig, read_config

if TYPE_CHECKING:
    from openhsi_shared.channels.channel import Channel

__all__ = ["channels_of", "config_option", "key_of", "keywords_from", "keywords_of", "note_config"]

Command = TypeVar("Command", bound=Callable[..., Any])


def key_of(option: click.Parameter) -> str:
    """Key of an option in [record]: its name with `_`."""
    return max(option.opts, key=len).lstrip("-").replace("-", "_")


def config_option(command: Command) -> Command:
    """Add `--config FILE`; the command gets a `FlightConfig`, empty without a file, as `config`."""
    add = click.option(
        "--config",
        type=GivenPath(),
        is_eager=True,  # before the other options, whose defaults it sets
        callback=_read,
        help="flight.toml, as `openhsi-shared plan` writes it; options of the command line go before it.",
    )
    return add(command)


def _read(context: click.Context, _option: click.Parameter, path: Path | None) -> FlightConfig:
    if path is None:
        return FlightConfig()
    config = read_config(path)
    names = {key_of(option): option.name for option in context.command.params}
    context.default_map = {str(names[key]): value for key, value in config.record.items()}
    if config.view is not None:
        context.default_map.setdefault("view", True)
    return config


def keywords_from(of_camera: Mapping[str, Any]) -> dict[str, Any]:
    """Values of [camera], as --option gives them."""
    return dict(option_from(f"{key}={json.dumps(value, default=str)}") for key, value in of_camera.items())


def keywords_of(config: FlightConfig, of_camera: Mapping[str, Any], dedicated: Container[str]) -> dict[str, Any]:
    """Keywords of `record` in the tables besides [record] and [channels]; `of_camera` are those of [camera].

    UsageError for a keyword of `dedicated`, for which [record] has a key.
    """
    for key in of_camera:
        if key in dedicated:
            raise click.UsageError(f"[camera] {key}: use the key of [record] for this")
    found = keywords_from(of_camera)
    of_references = dict(config.references)
    references = {kind: of_references.pop(kind) for kind in ("dark", "white") if kind in of_references}
    if references:
        found["references"] = references
    return {**found, **of_references, **config.event}


def channels_of(config: FlightConfig) -> "dict[str, Channel]":
    """Channels of the tables [channels.NAME]. ArgumentError, UnknownKeyword, ChannelError as `channels_from`."""
    from openhsi_shared.channels.addresses import channels_from

    return channels_from(config.channels)


def note_config(context: click.Context, directory: Path) -> None:
    """Note in the flight's log what the recording was started with: file and command line together, if there is a file.

    Blocks for as long as the disk takes.
    """
    from openhsi_shared.files.flight_log import FlightLog

    config: FlightConfig = context.params["config"]
    if not config.tables:
        return
    given = {key_of(option): context.params.get(str(option.name)) for option in context.command.params}
    record = {key: _plain(value) for key, value in given.items() if key in KEYS["record"] and value not in (None, ())}
    FlightLog(directory).note("config", **{**config.tables, "record": record})


def _plain(value: Any) -> Any:
    """As in a file: paths as texts."""
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
