"""Messages between the acquiring process and the writer.

The label of a slot contains where and how its cube is to be saved. It is stored in shared memory beside the cube, so
that a writer whose parent has died can read it. The pipe carries only the numbers of a slot and of its cube.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from openhsi_shared.columns import Saturation
from openhsi_shared.save_options import SaveOptions

if TYPE_CHECKING:
    from openhsi_shared.channels.attached import AttachedChannels

__all__ = ["CubeKind", "Dumped", "Failed", "Label", "PreviewDone", "Ready", "Rescue", "Save", "Saved", "Stop"]


MIN_DISK_SPEED = 4e6
"""Of a disk that is slow and does not hang, in bytes per second."""


@dataclass(frozen=True, kw_only=True)
class CubeKind:
    """What all cubes of one camera have in common; passed to the writer when it is started."""

    level: int
    wavelengths_nm: Any = None
    """An array for the wavelength axis, or None without calibration."""
    run_id: str = ""
    camera: str = ""
    options: SaveOptions = field(default_factory=SaveOptions)
    groups_from: str = ""
    """The saved cube that these cubes are made of: its groups and extra columns are copied."""
    replayed_from: str = ""
    """The saved cube, or the folder of cubes, whose lines are replayed: their channels are matched to them."""
    saturation: Saturation | str = ""
    """How saturated pixels are counted, or why they are not."""
    channels: "AttachedChannels | None" = None
    """Channels whose samples are matched to the lines."""

    @property
    def fallback_dirs(self) -> Sequence[str]:
        """Directories for cubes whose own directory fails, as absolute paths."""
        return cast(Sequence[str], self.options.fallback_dirs)

    def timeout_s(self, slot_bytes: int) -> float:
        """How long a writer may make no progress. Syncing a cube may be one call of the system, without a heartbeat."""
        given = self.options.writer_patience_s
        return 30.0 + slot_bytes / MIN_DISK_SPEED if given is None else given

    def uuid_of(self, cube: int) -> str:
        """The same for the same cube in every process: a second writer sees that the first one has saved it."""
        return str(uuid.uuid5(uuid.UUID(self.run_id), str(cube)))


@dataclass(frozen=True, kw_only=True)
class Label:
    """Where and how one cube is to be saved."""

    directory: str = ""
    earlier: Sequence[str] = ()
    """Directories in which it was to be saved before a `retry`."""
    make_directory: bool = False
    """The directory is named for the first time and may be created. Later it must exist."""
    prefix: str = ""
    suffix: str = ""
    old_style: bool = True
    savefig: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Attributes given by the user."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Attributes set by this library; they take precedence over the user's."""
    references: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Path and SHA-256 of the references in force, by kind."""

    @cached_property
    def as_bytes(self) -> bytes:
        """As JSON, encoded once; types that JSON does not support are written as text."""
        return json.dumps({item.name: getattr(self, item.name) for item in fields(self)}, default=_plain).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> "Label":
        """From JSON; empty text gives the default."""
        return cls(**json.loads(text)) if text else cls()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)


class Save(NamedTuple):
    """To the writer: save the cube in this slot."""

    slot: int
    cube: int
    avoid: tuple[str, ...] = ()
    """Directories that do not respond: not to be tried."""
    as_dump: bool = False
    """Writers crashed at this cube: save only its raw bytes."""
    is_repeated: bool = False
    """It was tried before: look first whether it is saved already."""
    only_look: bool = False
    """Only look: answer Saved or Dumped if its lines are on the disk, else Failed."""


class Stop(NamedTuple):
    """To the writer: shut down, no more requests follow."""


class Rescue(NamedTuple):
    """To the writer: no slot changes any more. Save every cube still in memory, wherever possible, answer for each, and
    exit.
    """

    avoid: tuple[str, ...] = ()
    """Directories that do not respond: to be tried last."""


class Ready(NamedTuple):
    """From the writer: started and warmed up."""


class Saved(NamedTuple):
    """From the writer: the file is published and durable; the slot may be reused."""

    cube: int
    path: Path
    n_bytes: int
    seconds: float
    preview_follows: bool
    saturated: float
    """Mean share of saturated pixels; NaN if it is unknown."""


class PreviewDone(NamedTuple):
    """From the writer: the preview is written beside the file, or could not be written (`error`)."""

    cube: int
    path: Path | None
    error: str


class Dumped(NamedTuple):
    """From the writer: the raw bytes of the cube are saved, but not as a NetCDF file yet."""

    cube: int
    path: Path


class Failed(NamedTuple):
    """From the writer: the cube could not be saved."""

    cube: int
    errno: int | None
    message: str
    filename: str | None
    traceback: str
