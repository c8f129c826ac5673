"""Requests and answers of the control socket, and their encoding as lines of JSON. Both ends use this module.

A line is `{"version": 6, "type": "AskGlance", "fields": {}}`. A new request is a frozen dataclass in `REQUESTS`, its
answer one in `ANSWERS`. A change of any field increments `VERSION`. Its position in the line never changes, so that
every version recognises another one.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from openhsi_shared.buffers.tap import SlotExport
from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.control.status import RecordingStatus, Status
from openhsi_shared.errors import RecordingError

__all__ = [
    "ANSWERS",
    "REQUESTS",
    "VERSION",
    "About",
    "AnalysisNow",
    "Answer",
    "AskAnalysis",
    "AskGlance",
    "AskPublished",
    "AskSlots",
    "AskStatus",
    "Glance",
    "Kind",
    "Mark",
    "Marked",
    "ParameterSet",
    "Pause",
    "PauseNow",
    "Phase",
    "PublishedNow",
    "Refused",
    "Request",
    "Resume",
    "SetParameter",
    "Slots",
    "StatusNow",
    "Stop",
    "Stopping",
    "decode",
    "encode",
    "prepare_decoding",
]

VERSION = 6
"""Version of the messages; must be the same at both ends."""

Kind = Literal["recording", "camera"]
"""A recording in its own process, or a camera of a user's program."""
Phase = Literal["running", "ending", "ended"]


# ---- answers -------------------------------------------------------------------------


class Answer:
    """Base of all answers."""


@dataclass(frozen=True)
class StatusNow(Answer):
    """The complete status."""

    status: RecordingStatus | Status


@dataclass(frozen=True, kw_only=True)
class Glance(Answer):
    """A short status, cheap enough to be requested twice a second."""

    status: RecordingStatus | Status
    """`lost_ids` contains only the newest gaps."""
    n_gaps: int
    """Length of `lost_ids` in the complete status."""
    phase: Phase
    ended_by: str
    """The error that ended it; empty if there was none."""
    camera: str
    """Class of the camera."""
    joint_name: str
    """If it is one of several of a flight: then the others get its requests, too; else empty."""
    save_dir: str
    """Directory of the last cube; before the first one that of the recording, empty if there is none."""
    program_id: int
    """Process id of the user's program."""
    disk_minutes_left: float
    """NaN before the first save, infinite while no lines arrive."""


@dataclass(frozen=True, kw_only=True)
class About:
    """Properties of the camera that a reader of the slots needs."""

    kind: Kind
    camera: str
    """Class of the camera."""
    save_dir: str
    """Directory of the last cube; before the first one that of the recording, empty if there is none."""
    level: int
    """Processing level of the lines."""
    wavelengths_nm: tuple[float, ...] | None
    """Of each band; None if unknown."""
    full_scale: int | None
    """Value of a saturated pixel; None if unknown."""
    exposure_ms: float
    can_stop: bool
    """Whether `Stop` is accepted."""
    prefix: str
    suffix: str
    """Of the names of the files that are saved in `save_dir`."""
    settings: str
    """Of the camera, as JSON, as a file contains them."""


@dataclass(frozen=True)
class Slots(Answer):
    """The memory of the slots. The descriptors of its arrays are sent with this answer, in the same order."""

    export: SlotExport
    about: About


@dataclass(frozen=True)
class Stopping(Answer):
    """The recording will stop cleanly."""


@dataclass(frozen=True)
class Marked(Answer):
    """The mark is put."""


@dataclass(frozen=True)
class PauseNow(Answer):
    """The recording is paused, or goes on, with the next frame."""

    is_paused: bool


@dataclass(frozen=True)
class PublishedNow(Answer):
    """What an analysis publishes. The descriptor of a `Snapshot` in anonymous memory is sent with this answer."""


@dataclass(frozen=True)
class AnalysisNow(Answer):
    """Status of an analysis, and its parameters."""

    status: AnalysisStatus
    parameters: Mapping[str, str]
    """Encoded, by name, in base64; empty unless they were asked for."""


@dataclass(frozen=True)
class ParameterSet(Answer):
    """A parameter was set."""

    event_number: int
    """The first event that the value holds for."""
    time_ns: int
    """UTC."""
    hash: str
    """Of all parameters."""


@dataclass(frozen=True)
class Refused(Answer):
    """The request failed. `request` raises it as a RecordingError."""

    why: str


A = TypeVar("A", bound=Answer)


# ---- requests ------------------------------------------------------------------------


class Request(Generic[A]):
    """Base of all requests."""

    answer_type: type[A]
    """Type of the answer, unless it is `Refused`."""


@dataclass(frozen=True)
class AskStatus(Request[StatusNow]):
    """Request the complete status."""

    answer_type = StatusNow


@dataclass(frozen=True)
class AskGlance(Request[Glance]):
    """Request the short status."""

    answer_type = Glance


@dataclass(frozen=True)
class AskSlots(Request[Slots]):
    """Request read-only descriptors of the slots."""

    answer_type = Slots


@dataclass(frozen=True)
class Stop(Request[Stopping]):
    """Request a clean stop; the incomplete cube is saved as well."""

    answer_type = Stopping


@dataclass(frozen=True)
class Mark(Request[Marked]):
    """Put a mark."""

    answer_type = Marked
    text: str
    monotonic_ns: int
    """When it was called; both ends are on one machine."""


@dataclass(frozen=True)
class Pause(Request[PauseNow]):
    """Let the recording close and save its cube, and throw frames away."""

    answer_type = PauseNow


@dataclass(frozen=True)
class Resume(Request[PauseNow]):
    """Let the recording go on."""

    answer_type = PauseNow


@dataclass(frozen=True)
class AskPublished(Request[PublishedNow]):
    """Request what an analysis publishes."""

    answer_type = PublishedNow
    thin_to: int | None = None
    """Arrays longer than this along an axis are thinned."""
    max_members: int = 100_000
    """The rest is left out, and said."""


@dataclass(frozen=True)
class AskAnalysis(Request[AnalysisNow]):
    """Request status of an analysis, and its parameters, whose values may be large."""

    answer_type = AnalysisNow
    with_parameters: bool = False


@dataclass(frozen=True)
class SetParameter(Request[ParameterSet]):
    """Request another value of a parameter of an analysis."""

    answer_type = ParameterSet
    name: str
    data: str
    """Its text; bytes as text in Latin-1."""


M = TypeVar("M", bound=Answer | Request[Any])

REQUESTS: Mapping[str, type[Request[Any]]] = {
    kind.__name__: kind
    for kind in (AskStatus, AskGlance, AskSlots, Stop, Mark, Pause, Resume, AskPublished, AskAnalysis, SetParameter)
}
ANSWERS: Mapping[str, type[Answer]] = {
    kind.__name__: kind
    for kind in (StatusNow, Glance, Slots, Stopping, Marked, PauseNow, PublishedNow, AnalysisNow, ParameterSet, Refused)
}


# ---- lines of JSON -------------------------------------------------------------------


def encode(message: Any) -> bytes:
    """Encode one of `REQUESTS` or `ANSWERS` as a line, with its newline."""
    envelope = {"version": VERSION, "type": type(message).__name__, "fields": vars(message)}
    return json.dumps(envelope, default=_plain).encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if is_dataclass(value):
        return vars(value)  # not `asdict`: it would copy each of 10,000 gaps, while lines come
    raise TypeError(f"{value!r} cannot be sent through a control socket")


def decode(line: bytes, known: Mapping[str, type[M]]) -> M:
    """Decode a line as one of `known`. RecordingError for another version, an unknown type, or wrong fields."""
    try:
        envelope = json.loads(line)
        version, name, fields = envelope["version"], envelope.get("type"), envelope.get("fields")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordingError(f"{line[:40]!r} is not a message of the control socket: {error!r}") from error
    if version != VERSION:
        raise RecordingError(
            f"the other program uses version {version!r} of the control socket, this one version {VERSION}: "
            "use the same openhsi_shared in both, and restart the one that was started before the update"
        )
    if not isinstance(name, str) or name not in known:
        raise RecordingError(f"unknown message {name!r} on the control socket; expected one of {', '.join(known)}")
    from pydantic import ValidationError

    kind: Any = known[name]
    try:
        message: M = _validator(kind).validate_python([fields])[0]
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])
        raise RecordingError(f"the control socket received an invalid {name}: {field}: {first['msg']}") from error
    return message


def prepare_decoding(known: Mapping[str, Any]) -> None:
    """Prepare the decoding of `known`. Otherwise the first message of each type does that, while lines may come."""
    for kind in known.values():
        _validator(kind)


@functools.cache
def _validator(kind: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    # of a list, because pydantic applies a configuration only to nested dataclasses
    return TypeAdapter(list[kind], config=ConfigDict(extra="forbid"))
