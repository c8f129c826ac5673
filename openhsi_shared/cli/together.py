"""The tables [cameras.NAME] of a `flight.toml`: several cameras that `record` records together."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from openhsi_shared.cli.camera_options import WITH_RATE
from openhsi_shared.cli.channels import given_channels
from openhsi_shared.cli.configured import channels_of, key_of
from openhsi_shared.flight.config import KEYS

if TYPE_CHECKING:
    from openhsi_shared.flight.together.recordings import Recordings
    from openhsi_shared.flight.together.status import SummaryOfAll
    from openhsi_shared.recording.messages import RecordingSummary

__all__ = ["start_cameras", "tables_of_all"]


def start_cameras(
    given: dict[str, Any], keywords_of: Callable[[dict[str, Any]], dict[str, Any]], toggle: Any
) -> "Recordings":
    """Start the recording of all cameras. `keywords_of(given)` converts the options of one, by their names."""
    from openhsi_shared.cameras import camera_class
    from openhsi_shared.flight.together.starting import record_all

    context = click.get_current_context()
    if context.get_parameter_source("camera") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--camera: the cameras are those of the tables [cameras.NAME]")
    cameras = {}
    for name in given["config"].cameras:
        own = _given_to(name, given, context)
        keywords = keywords_of(own)
        keywords.pop("progress", None)
        cameras[name] = camera_class(own["camera"]), keywords
    channels = channels_of(given["config"]) | given_channels(given["channel_texts"], given["channel_file"])
    return record_all(cameras, given["out"], channels=channels, toggle=toggle)


def _given_to(name: str, given: dict[str, Any], context: click.Context) -> dict[str, Any]:
    """The options of one camera: of its table, unless the command line gives them; else those of [record]."""
    config, table = given["config"], dict(given["config"].cameras[name])
    options = {key_of(option): option for option in context.command.params}
    own: dict[str, Any] = {"channel_texts": (), "channel_file": None}
    for key in KEYS["record"].keys() & table.keys() - {"rate"}:  # which belongs to the camera
        option, value = options[key], table.pop(key)
        if context.get_parameter_source(str(option.name)) is not ParameterSource.COMMANDLINE:
            own[str(option.name)] = option.type_cast_value(context, value)
    of_camera = {**config.camera, **table}
    rate_from = context.get_parameter_source("rate")
    if rate_from is ParameterSource.COMMANDLINE:
        of_camera.pop("rate", None)
    takes_rate = own.get("camera", given["camera"]) in WITH_RATE and "rate" not in of_camera
    own["has_rate"] = takes_rate and rate_from is not ParameterSource.DEFAULT
    return {**given, **own, "config": dataclasses.replace(config, camera=of_camera, channels={}, cameras={})}


def tables_of_all(
    run: "Recordings",
    summary: "SummaryOfAll",
    table_of: Callable[["RecordingSummary", int, Path], Sequence[str]],
) -> list[str]:
    """The tables of all cameras, each below its name, as lines."""
    found = []
    for name, one in summary.cameras.items():
        found += [f"[{name}]", *table_of(one, run[name].dc_shape[1], run.save_dir)]
    return found
