"""What the acquiring process and the writer of files tell each other.

The label of a slot says where and how its cube is to be saved. It lies in shared memory beside the cube, so that a
writer whose parent has died knows it as well. Through the pipe go only the number of a slot and that of its cube.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from openhsi_shared.buffers.times import Anchor
from openhsi_shared.save_options import SaveOptions

__all__ = ["CubeKind", "Dumped", "Failed", "Label", "Pictured", "Ready", "Save", "Saved", "Stop"]


@dataclass(frozen=True, kw_only=True)
class CubeKind:
    """What all cubes of one camera have in common; given to the writer at birth."""

    level: int
    clock_anchor: Anchor
    """Where the monotonic clock of line times lies in UTC."""
    wavelengths_nm: Any = None
    """An array for the wavelength axis, or None where there is no calibration."""
    run_id: str = ""
    camera: str = ""
    options: SaveOptions = field(default_factory=SaveOptions)
    groups_from: str = ""
    """The saved cube that these cubes are made of: its groups and extra columns go along."""
    rescue_dir: str = ""
    """The last resort of a cube whose process has died before it said where to save it."""

    @property
    def fallback_dirs(self) -> Sequence[str]:
        """Where cubes go whose directory fails, as absolute paths."""
        return cast(Sequence[str], self.options.fallback_dirs)

    def uuid_of(self, cube: int) -> str:
        """The same for the same cube, whoever saves it: so a second writer knows that the first one has done it."""
        return str(uuid.uuid5(uuid.UUID(self.run_id), str(cube)))


@dataclass(frozen=True, kw_only=True)
class Label:
    """Where and how one cube is to be saved."""

    directory: str = ""
    make_directory: bool = False
    """Named for the first time: it may have to be made. Later it must be there."""
    prefix: str = ""
    suffix: str = ""
    old_style: bool = True
    savefig: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the user says of the cube."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """What we say of it; goes before what the user says."""

    @cached_property
    def as_bytes(self) -> bytes:
        """As JSON, made once; what JSON does not know is written as text."""
        return json.dumps({item.name: getattr(self, item.name) for item in fields(self)}, default=_plain).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> "Label":
        """From JSON; nothing gives the default."""
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
    """Directories that do not answer: not to be tried."""
    as_dump: bool = False
    """Writers died of this cube: save only its bytes, in the plainest way."""


class Stop(NamedTuple):
    """To the writer: nothing more will come."""


class Ready(NamedTuple):
    """From the writer: up and warm."""


class Saved(NamedTuple):
    """From the writer: the file is published and durable; the slot may be filled again."""

    cube: int
    path: Path
    n_bytes: int
    seconds: float
    picture_follows: bool


class Pictured(NamedTuple):
    """From the writer: the preview lies beside the file, or could not be made."""

    cube: int
    path: Path | None
    trouble: str


class Dumped(NamedTuple):
    """From the writer: the bytes of the cube are safe, but are no proper file yet."""

    cube: int
    path: Path


class Failed(NamedTuple):
    """From the writer: the cube could not be saved."""

    cube: int
    errno: int | None
    words: str
    filename: str | None
    traceback: str
