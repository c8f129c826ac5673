"""A request to save a cube: the arguments of `save`, validated at construction."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openhsi_shared.dataset import check_affixes
from openhsi_shared.errors import ArgumentError
from openhsi_shared.paths import given_text
from openhsi_shared.writer.messages import Label

__all__ = ["SaveRequest"]


@dataclass(frozen=True)
class SaveRequest:
    """Where and how a cube is to be saved; see `SharedDataCube.save`. ArgumentError for invalid values.

    `save_dir` is made absolute. The metadata file is read later, each time it has changed.
    """

    save_dir: str | Path
    preconfig_meta_path: str | Path | None = None
    prefix: str = ""
    suffix: str = ""
    old_style: bool = True
    savefig: bool = True

    def __post_init__(self) -> None:
        if self.prefix != "" or self.suffix != "":
            check_affixes(self.prefix, self.suffix)
        absolute = os.path.abspath(given_text(self.save_dir, "save_dir", "a directory"))  # noqa: PTH100 - faster than Path
        object.__setattr__(self, "save_dir", absolute)
        if self.preconfig_meta_path:
            object.__setattr__(self, "preconfig_meta_path", given_text(self.preconfig_meta_path, "preconfig_meta_path"))
        for name in ("old_style", "savefig"):
            object.__setattr__(self, name, self._yes_or_no(name))

    def _yes_or_no(self, name: str) -> bool:
        value = getattr(self, name)
        if value is not True and value is not False and (isinstance(value, str | float) or value not in (0, 1)):
            raise ArgumentError(f"{name} must be True or False, got {value!r}")
        return bool(value)

    def label(self, metadata: Mapping[str, Any], attributes: Mapping[str, Any]) -> Label:
        """Make the label that is sent to the writer: this request, and the attributes of the file."""
        return Label(
            directory=str(self.save_dir),
            prefix=self.prefix,
            suffix=self.suffix,
            old_style=self.old_style,
            savefig=self.savefig,
            metadata=metadata,
            attributes=attributes,
        )
