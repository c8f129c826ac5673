"""The keywords of a camera, sorted and validated before anything is opened or closed."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from openhsi_shared.buffers.memory import require_memory
from openhsi_shared.buffers.slot_memory import SlotLayout
from openhsi_shared.calibration import Calibration, read_calibration
from openhsi_shared.channels.addresses import channels_from
from openhsi_shared.channels.attached import CONNECT_TIMEOUT_S, AttachedChannels
from openhsi_shared.channels.channel import Channel
from openhsi_shared.datacube.references_in_force import read_references
from openhsi_shared.datacube.transforming import crops
from openhsi_shared.errors import ArgumentError, UnknownKeyword
from openhsi_shared.files.references import Kind, Reference
from openhsi_shared.given_numbers import is_finite
from openhsi_shared.levels import Functions, check_functions, check_level
from openhsi_shared.near_names import nearest_name
from openhsi_shared.save_options import SaveOptions
from openhsi_shared.settings import CameraSettings, read_settings

__all__ = ["CameraKeywords", "check_connect_timeout", "check_size", "hosted", "read_keywords", "seconds_of"]

OPTIONS = {field.name for field in dataclasses.fields(SaveOptions)}
OF_THE_CUBE = {
    "n_lines",
    "processing_lvl",
    "json_path",
    "cal_path",
    "pkl_path",
    "print_settings",
    "compat",
    "custom_tfms",
    "channels",
    "connect_timeout_s",
    "references",
}
OF_THE_LOOP = {"realtime", "average"}
"""Keywords of a camera that its source does not get."""
FRAME_BYTES = 16
"""Minimum memory per pixel of a frame, for the frame and its processing."""
FOR_BOTH = {"compat"}
"""Keywords of the cube that are also passed to a source that takes them."""


@dataclass(frozen=True, kw_only=True)
class CameraKeywords:
    """The keywords of a camera, sorted and validated."""

    n_lines: int
    processing_lvl: int
    json_path: str | Path | None
    cal_path: str | Path | None
    print_settings: bool
    options: SaveOptions
    source_options: Mapping[str, Any]
    """Keywords of the source."""
    settings: CameraSettings
    compat: Literal["openhsi"] | None = None
    custom_tfms: Functions | None = None
    calibration: Calibration
    channels: "dict[str, Channel] | AttachedChannels" = field(default_factory=dict)
    """By name; of a recording, their memory."""
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    references: Mapping[Kind, Reference] = field(default_factory=dict)
    calibration_sha256: str
    """Of the file at the time of reading: it may change or vanish while the camera runs."""


def read_keywords(
    keywords: Mapping[str, Any], source_names: set[str], camera: str, changed: Mapping[str, Any] = MappingProxyType({})
) -> CameraKeywords:
    """Sort `keywords` of a `camera` whose source takes `source_names`, and read the files that they name.

    Settings that were `changed` since take precedence over those of file and keywords.
    Raises UnknownKeyword with the nearest name, ArgumentError, LevelError, SettingsError or CalibrationError.
    """
    of_the_cube = {name: value for name, value in keywords.items() if name in OF_THE_CUBE}
    options = SaveOptions(**{name: value for name, value in keywords.items() if name in OPTIONS})
    of_the_source = source_names - OPTIONS - OF_THE_LOOP - (OF_THE_CUBE - FOR_BOTH)
    source_options = {name: value for name, value in keywords.items() if name in of_the_source}
    of_others = {*of_the_cube, *OPTIONS, *source_names}
    of_settings = {name: value for name, value in keywords.items() if name not in of_others}
    known = {*CameraSettings.model_fields, *OF_THE_CUBE, *OPTIONS, *source_names}
    for name in of_settings:
        if name not in known:
            raise UnknownKeyword(f"{camera}() has no keyword {name!r}{nearest_name(name, known)}")
    pkl_path = of_the_cube.pop("pkl_path", None)
    cal_path = of_the_cube["cal_path"]
    if cal_path and pkl_path:
        raise ArgumentError(f"cal_path={cal_path!r} and pkl_path={pkl_path!r} are two names of the same: give one")
    of_the_cube["cal_path"] = cal_path = cal_path or pkl_path
    check_size(of_the_cube["n_lines"], options.n_buffers)
    check_level(of_the_cube["processing_lvl"])
    if of_the_cube.get("custom_tfms") is not None:
        check_functions(of_the_cube["custom_tfms"])
    channels = of_the_cube.pop("channels", None)
    of_the_cube["channels"] = channels if isinstance(channels, AttachedChannels) else channels_from(channels)
    check_connect_timeout(of_the_cube.get("connect_timeout_s", CONNECT_TIMEOUT_S))
    of_the_cube["references"] = read_references(of_the_cube.get("references"))
    calibration = read_calibration(cal_path)
    is_cropped = crops(of_the_cube["processing_lvl"], of_the_cube.get("custom_tfms"))
    settings = read_settings(of_the_cube["json_path"], {**of_settings, **changed}, crops=is_cropped)
    _check_frame(settings)
    return CameraKeywords(
        **of_the_cube,
        options=options,
        source_options=source_options,
        settings=settings,
        calibration=calibration,
        calibration_sha256=calibration.sha256 or "",
    )


def hosted(keywords: CameraKeywords) -> AttachedChannels | None:
    """The channels of a camera, with memory for the samples of all its slots and 10 s more; None without any."""
    channels = keywords.channels
    if isinstance(channels, AttachedChannels):
        return channels
    if not channels:
        return None
    from openhsi_shared.channels.supervisor import ChannelsSupervisor

    return ChannelsSupervisor(
        channels, seconds_of(keywords.n_lines, keywords.options.n_buffers, keywords.settings.exposure_ms)
    )


def seconds_of(n_lines: int, n_buffers: int, exposure_ms: float) -> float:
    """How long samples are kept: at this exposure, or at 100 lines/s, until all slots are full, and 10 s more."""
    return n_lines * n_buffers * max(10.0, exposure_ms) / 1000 + 10


def check_connect_timeout(connect_timeout_s: Any) -> None:
    """ArgumentError unless it is a number of seconds."""
    if not is_finite(connect_timeout_s) or connect_timeout_s < 0:
        raise ArgumentError(f"connect_timeout_s must be a number of seconds >= 0, got {connect_timeout_s!r}")


def check_size(n_lines: int, n_buffers: int) -> None:
    """Raise ArgumentError unless there can be `n_buffers` slots of `n_lines` lines."""
    SlotLayout(n_slots=n_buffers, n_lines=n_lines, line_shape=(1, 1), dtype="uint8")


def _check_frame(settings: CameraSettings) -> None:
    """Raise MemoryShortage if a mistyped resolution makes frames larger than the memory, before one is allocated."""
    if settings.resolution is not None:
        rows, columns = settings.resolution
        require_memory(rows * columns * FRAME_BYTES, f"a frame of {rows} x {columns} pixels (resolution)")
