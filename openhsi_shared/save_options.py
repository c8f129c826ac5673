"""Options of every camera for buffering and saving cubes, validated here and nowhere else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from openhsi_shared.durable import Durability
from openhsi_shared.errors import ArgumentError
from openhsi_shared.paths import given_path

__all__ = ["COMPRESSION_LEVELS", "Compression", "SaveOptions", "WhenFull"]

Compression = Literal["deflate", "zstd"]
WhenFull = Literal["block", "drop", "stop"]
"""What to do when no slot is free: wait; continue and count the lost lines; stop."""

COMPRESSION_LEVELS: Mapping[Compression, range] = MappingProxyType({"deflate": range(4), "zstd": range(-7, 23)})
"""Valid compression levels; the default of both is 1. Those of deflate are ISA-L's."""


@dataclass(frozen=True, kw_only=True)
class SaveOptions:
    """Options for buffering and saving cubes: keywords of every camera. ArgumentError for invalid values."""

    n_buffers: int = 2
    """Number of slots; one is filled while the others are saved. Validated by the layout of the slots."""
    when_full: WhenFull = "block"
    """If no slot is free, "block" waits, "drop" counts the lost lines, "stop" raises NoFreeSlot."""
    compression: Compression | None = None
    """None, "deflate" (every netCDF-4 reader opens it) or "zstd" (the reader needs the filter, as netCDF4's wheels)."""
    compression_level: int | None = None
    """Higher is smaller and slower; None: 1. The valid range is that of the compression."""
    durability: Durability = "fsync"
    """"fsync": a file that has its final name is on the disk; "rename": the system writes it later."""
    writers: int = 1
    """2 keeps a standby writer, so that cubes are saved even if the first writer and the main process crash
    together."""
    fallback_dirs: Sequence[str | Path] = ()
    """Directories for cubes whose own directory fails; converted to absolute paths."""
    embed_references: bool = True
    """False: files have only path and checksum of the references that belong to them, not the references."""
    writer_patience_s: float | None = None
    """Timeout: a writer that makes no progress for so long is replaced; None: 30 s plus the time at 4 MB/s."""

    def __post_init__(self) -> None:
        self._check_choice("compression", (None, *get_args(Compression)))
        self._check_choice("durability", get_args(Durability))
        self._check_choice("writers", (1, 2))
        self._check_choice("when_full", get_args(WhenFull))
        if not isinstance(self.embed_references, bool):
            raise ArgumentError(f"embed_references must be True or False, got {self.embed_references!r}")
        self._check_compression_level()
        patience_s: Any = self.writer_patience_s
        is_number = isinstance(patience_s, Real) and not isinstance(patience_s, bool)
        if patience_s is not None and not (is_number and patience_s > 0):
            raise ArgumentError(f"writer_patience_s must be a number of seconds > 0, or None, got {patience_s!r}")
        directories = self.fallback_dirs
        is_sequence = isinstance(directories, Sequence) and not isinstance(directories, str)
        if not is_sequence or not all(isinstance(one, str | Path) and str(one) for one in directories):
            raise ArgumentError(f"fallback_dirs must be a sequence of directories, got {directories!r}")
        object.__setattr__(
            self, "fallback_dirs", tuple(str(given_path(one, "fallback_dirs").absolute()) for one in directories)
        )

    def _check_choice(self, name: str, allowed: tuple[Any, ...]) -> None:
        value = getattr(self, name)
        if value not in allowed or isinstance(value, float | bool):
            raise ArgumentError(f"{name} must be one of {allowed}, got {value!r}")

    def _check_compression_level(self) -> None:
        level = self.compression_level
        if level is None:
            return
        if self.compression is None:
            choices = " or ".join(map(repr, get_args(Compression)))
            raise ArgumentError(f"compression_level is {level!r}, but nothing is compressed: set compression={choices}")
        levels = COMPRESSION_LEVELS[self.compression]
        if level not in levels or isinstance(level, float | bool):
            raise ArgumentError(
                f"compression_level of {self.compression!r} must be from {levels.start} to {levels.stop - 1}, "
                f"got {level!r}"
            )
