"""A request to save a cube: the arguments of `save`, validated at construction."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openhsi_shared.dataset import check_affixes
from openhsi_shared.errors import ArgumentError
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
        if not isinstance(self.save_dir, str | Path) or not str(self.save_dir):
            raise ArgumentError(f"save_dir must be a directory, got {self.save_dir!r}")
        if self.prefix != "" or self.suffix != "":
            check_affixes(self.prefix, self.suffix)
        absolute = os.path.abspath(self.save_dir)  # noqa: PTH100 - four times as fast as that of Path
        object.__setattr__(self, "save_dir", absolute)
        object.__setattr__(self, "old_style", bool(self.old_style))
        object.__setattr__(self, "savefig", bool(self.savefig))

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
