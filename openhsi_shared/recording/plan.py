"""The plan of a recording: all arguments, from keywords or the command line, validated at construction."""

import dataclasses
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from openhsi_shared.analysis.streams.capture_options import LinesToCapture, check_new_capture
from openhsi_shared.capture.averaging.loop import check_average
from openhsi_shared.channels.addresses import channels_from
from openhsi_shared.channels.attached import CONNECT_TIMEOUT_S
from openhsi_shared.channels.channel import Channel
from openhsi_shared.datacube.keywords import check_connect_timeout, check_size, seconds_of
from openhsi_shared.errors import ArgumentError
from openhsi_shared.given_numbers import is_number, is_whole
from openhsi_shared.paths import given_path
from openhsi_shared.recording.event_plan import EventPlan
from openhsi_shared.recording.joint import Joint
from openhsi_shared.save_options import SaveOptions, WhenFull
from openhsi_shared.settings import read_settings
from openhsi_shared.writer.save_request import SaveRequest

if TYPE_CHECKING:
    from openhsi_shared.analysis.live.analysis import Analysis
    from openhsi_shared.channels.supervisor import ChannelsSupervisor

__all__ = ["RecordingPlan"]

OPTIONS = {item.name for item in dataclasses.fields(SaveOptions)}
OF_EVENTS = {item.name for item in dataclasses.fields(EventPlan)}
OF_A_SAVE = {item.name for item in dataclasses.fields(SaveRequest)} - {"save_dir"}


@dataclass(frozen=True, kw_only=True)
class RecordingPlan:
    """What is recorded, from which camera, for how long, and where to; see `record`. ArgumentError for invalid values.

    Settings, level and options of the camera are checked by the camera.
    """

    camera: Callable[..., Any]
    """A class such as SharedSimulatedCamera."""
    request: SaveRequest
    """The request with which every cube is saved."""
    n_lines: int = 1024
    n_cubes: int | None = None
    """None: no limit."""
    seconds: float | None = None
    """None: no limit."""
    n_buffers: int = 3
    when_full: WhenFull = "drop"
    niceness: int = 0
    """Of the recording process."""
    cpus: Sequence[int] = ()
    """Processors for the recording process; empty: all that this process may use."""
    realtime: bool = False
    """Real-time scheduling of the thread that captures."""
    channels: Mapping[str, Channel] = field(default_factory=dict)
    """By name; given as a mapping of names to Channels or texts, or as the path of a TOML file."""
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    """How long a required channel may take to deliver its first sample."""
    analyse: "tuple[Analysis, ...]" = ()
    """Given as what `analyses_from` takes."""
    capture: Path | None = None
    """A capture that is written meanwhile: `.cbors` or `.cbors.gz`."""
    capture_every: int = 1
    """Of so many lines the first one is captured."""
    event: EventPlan = field(default_factory=EventPlan)
    """Which lines are wanted."""
    camera_options: Mapping[str, Any] = field(default_factory=dict)
    """All other keywords of the camera."""
    joint: Joint | None = None
    """If it is one of several recordings; no keyword of `record`."""

    def __post_init__(self) -> None:
        if not callable(self.camera):
            raise ArgumentError(f"record() needs a camera class such as SharedSimulatedCamera, got {self.camera!r}")
        _check_limit("n_cubes", self.n_cubes, Integral)
        _check_limit("seconds", self.seconds, Real)
        niceness = self.niceness
        if not is_whole(niceness) or not -20 <= niceness <= 19:
            raise ArgumentError(f"niceness must be a whole number from -20 (first) to 19 (last), got {niceness!r}")
        object.__setattr__(self, "niceness", int(niceness))
        if not isinstance(self.realtime, bool):
            raise ArgumentError(f"realtime must be True or False, got {self.realtime!r}")
        object.__setattr__(self, "cpus", _checked_cpus(self.cpus))
        object.__setattr__(self, "channels", channels_from(self.channels))
        object.__setattr__(self, "analyse", _checked_analyses(self.analyse))
        object.__setattr__(self, "capture_every", LinesToCapture(every=self.capture_every).every)
        if self.capture is not None:
            object.__setattr__(self, "capture", check_new_capture(given_path(self.capture, "capture").absolute()))
        check_connect_timeout(self.connect_timeout_s)
        check_average(self.camera_options.get("average"))
        keywords = self.camera_keywords
        SaveOptions(**{name: value for name, value in keywords.items() if name in OPTIONS})
        check_size(self.n_lines, self.n_buffers)
        known = {name: channel.properties for name, channel in self.channels.items()}
        self.event.check(known, self.line_rate, self.n_lines, self.n_buffers)

    @classmethod
    def of(cls, camera: Callable[..., Any], save_dir: str | Path, /, **keywords: Any) -> Self:
        """Make a plan of flat keywords: those of a plan, those of `save`, and all others for the camera."""
        of_a_plan = {item.name for item in dataclasses.fields(cls)}
        of_a_plan -= {"camera", "request", "event", "camera_options", "joint"}
        return cls(
            camera=camera,
            request=SaveRequest(save_dir, **{name: keywords[name] for name in OF_A_SAVE & keywords.keys()}),
            event=EventPlan(**{name: keywords[name] for name in OF_EVENTS & keywords.keys()}),
            **{name: keywords[name] for name in of_a_plan & keywords.keys()},
            camera_options={
                name: value for name, value in keywords.items() if name not in of_a_plan | OF_A_SAVE | OF_EVENTS
            },
        )

    @property
    def camera_keywords(self) -> dict[str, Any]:
        """Keywords with which the camera is made."""
        own: dict[str, Any] = {"n_lines": self.n_lines, "n_buffers": self.n_buffers, "when_full": self.when_full}
        if self.realtime:
            own["realtime"] = True
        return {**self.camera_options, **own}

    def without_channels(self) -> "RecordingPlan":
        """For the recording process, which gets the memory of the channels, and the answers of the condition."""
        return replace(self, channels={}, event=self.event.without_condition())

    @property
    def line_rate(self) -> float | None:
        """Lines per second, if `rate` is a number; None if the camera sets its own rate."""
        rate, average = self.camera_options.get("rate"), self.camera_options.get("average") or 1
        if is_number(rate) and is_whole(average) and rate > 0 < average:
            return float(rate) / int(average)
        return None

    def hosted_channels(self) -> "ChannelsSupervisor | None":
        """The channels, with memory for the samples of all slots and 10 s more; None without any.

        Raises what the camera would for settings that cannot be read.
        """
        if not self.channels:
            return None
        from openhsi_shared.channels.supervisor import ChannelsSupervisor

        return ChannelsSupervisor(self.channels, self.seconds_of_samples())

    def seconds_of_samples(self) -> float:
        """How long samples of channels are kept. Raises what the camera would for settings that cannot be read."""
        options = self.camera_options
        of_settings = {key: options[key] for key in ("exposure_ms",) if key in options}
        settings = read_settings(options.get("json_path"), of_settings, crops=False)
        return seconds_of(self.n_lines, self.n_buffers, settings.exposure_ms)

    @property
    def save_dir(self) -> str:
        """Directory of the cubes, as an absolute path."""
        return str(self.request.save_dir)

    @property
    def reference_dir(self) -> Path:
        """Directory whose folder `references` has those of this camera."""
        return Path(self.save_dir, "" if self.joint is None else self.joint.name)


def _check_limit(name: str, value: Any, kind: type[Any]) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, kind) or not value > 0):
        whole = "whole " if kind is Integral else ""
        raise ArgumentError(f"{name} must be a {whole}number > 0, or None for no limit, got {value!r}")


def _checked_analyses(given: Any) -> "tuple[Analysis, ...]":
    if given is None or given == ():
        return ()
    from openhsi_shared.analysis.live.analysis import Analysis, analyses_from  # not above: few recordings have one

    if isinstance(given, tuple) and all(isinstance(one, Analysis) for one in given):
        return given
    return analyses_from(given)


def _checked_cpus(given: Any) -> tuple[int, ...]:
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    try:
        cpus = tuple(operator.index(one) for one in given)
    except TypeError as error:
        raise ArgumentError(f"cpus must be numbers of processors, got {given!r}") from error
    if allowed is not None and not allowed.issuperset(cpus):
        raise ArgumentError(f"cpus must be among those that this process may use, {sorted(allowed)}; got {given!r}")
    return cpus
