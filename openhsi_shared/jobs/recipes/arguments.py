"""Arguments of a job: what is to be done with which cubes, each with its check."""

import copy
import dataclasses
import logging
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from openhsi_shared.errors import ArgumentError, UnknownKeyword
from openhsi_shared.files.source_cube import Compat
from openhsi_shared.jobs.recipes import serial
from openhsi_shared.jobs.recipes.checks import (
    as_bool,
    as_choice,
    as_compression,
    as_level,
    as_log_level,
    as_path,
    as_paths,
    as_slice,
    as_stages,
    as_whole,
)
from openhsi_shared.jobs.recipes.cores import usable_cores
from openhsi_shared.jobs.recipes.value_texts import text_of
from openhsi_shared.jobs.stages.stage import Stage
from openhsi_shared.near_names import nearest_name
from openhsi_shared.save_options import Compression

__all__ = ["ARGUMENTS", "JobArguments", "OnError", "OutputFormat", "Workers"]

OutputFormat = Literal["netcdf", "zarr", "envi", "table"]
OnError = Literal["raise", "nan"]
Workers = Literal["auto", "threads", "processes"]

MAX_SIGNIFICANT_BITS = 52
"""Of the mantissa of a float64."""


@dataclass(frozen=True, eq=False)
class JobArguments:
    """Arguments of a job: frozen, picklable. ArgumentError for what is invalid in itself; no file is read."""

    path_in: Path | tuple[Path, ...]
    """A cube; a folder, in which all cubes are taken; or several of both."""
    path_out: Path | None = None
    """None: beside the input. With the ending of the format (`.nc`, `.zarr`, `.raw`): this file, for one cube. Else a
    folder, in which the folders below `path_in` are kept."""
    _: KW_ONLY
    processing_lvl: int | None = None
    """Processing level of the result; None: that of the input."""
    json_path: Path | None = None
    """Settings of the camera; None: those of the recording."""
    cal_path: Path | None = None
    """Calibration of the camera."""
    compat: Compat = None
    """"openhsi": the level is computed bit by bit as openhsi does it."""
    lines: slice | None = None
    """Lines of each cube that are taken, consecutive; negative numbers count from the end."""
    rows: slice | None = None
    """Rows (across the track) that are kept, numbered in the lines that the level gives."""
    stages: tuple[Stage, ...] = ()
    """What follows the level, in order. Given as stages, as functions, or as texts such as "bin_bands:n=2"."""
    output: OutputFormat = "netcdf"
    """Format of the results."""
    old_style: bool = True
    """Order of the axes in a NetCDF file: (x, y, wavelength), or (wavelength, x, y)."""
    compression: str | None = None
    """None or "none"; "deflate-0" to "deflate-3"; "zstd-1" to "zstd-19"."""
    significant_bits: int | None = None
    """Bits of the mantissa of floats that are kept, so that they compress: 12 is a relative error of 1.2e-4."""
    link_to_input: bool = False
    """The result contains only what is new, and refers to its input (NetCDF only)."""
    on_error: OnError = "raise"
    """A failing line, or one that is damaged in the source, ends the job, or is NaN and flagged."""
    workers: Workers = "auto"
    """"auto": threads if all stages release the interpreter's lock, else processes."""
    n_procs: int | None = None
    """Workers; None: physical cores that this process may use."""
    block_lines: int | None = None
    """Lines of the result in a block; None: about 16 MB of input and result."""
    n_blocks: int | None = None
    """Blocks in memory at a time; None: workers + 2."""
    log_level: int = logging.INFO
    """From which level on records of the job are in its log."""
    debug: bool = False
    """One thread, one block at a time, log level DEBUG: `breakpoint()` works in a stage."""

    def __post_init__(self) -> None:
        for name, check in ARGUMENTS.items():
            object.__setattr__(self, name, check(getattr(self, name), name))
        if self.compat is not None and self.processing_lvl is None:
            raise ArgumentError(
                f"compat={self.compat!r} changes how a level is computed, but processing_lvl is None: give "
                "processing_lvl, or leave compat out"
            )
        if self.link_to_input and self.output != "netcdf":
            raise ArgumentError(
                f"link_to_input=True needs output='netcdf', the only format whose files can refer to others, got "
                f"output={self.output!r}"
            )
        if self.compression is not None and self.output == "envi":
            raise ArgumentError(f"compression={self.compression!r}: ENVI files are not compressed; leave it out")

    # ---- as a mapping ----

    def __getitem__(self, name: str) -> Any:
        """A deep copy of one of its values. ArgumentError for an unknown name."""
        if name not in ARGUMENTS:
            raise ArgumentError(
                f"a job has no {name!r}{nearest_name(str(name), ARGUMENTS)}, expected one of {', '.join(ARGUMENTS)}"
            )
        return copy.deepcopy(getattr(self, name))

    def replace(self, **changes: Any) -> Self:
        """The same with some values changed. UnknownKeyword for an unknown name."""
        for name in changes:
            if name not in ARGUMENTS:
                raise UnknownKeyword(
                    f"a job has no {name!r}{nearest_name(name, ARGUMENTS)}, expected some of {', '.join(ARGUMENTS)}"
                )
        return dataclasses.replace(self, **changes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobArguments) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[Any, ...]:
        return tuple(text_of(getattr(self, name), by_content=False) for name in ARGUMENTS)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (
            type(self),
            serial.pack({name: getattr(self, name) for name in ARGUMENTS}),
        )

    # ---- what follows from its values ----

    @property
    def n_workers(self) -> int:
        """`n_procs`, or the physical cores that this process may use; 1 with `debug`."""
        return 1 if self.debug else self.n_procs or usable_cores()

    @property
    def codec(self) -> tuple[Compression | None, int | None]:
        """`compression` as options of a writer: ("deflate", 1)."""
        if self.compression is None:
            return None, None
        name, level = self.compression.split("-")
        return ("deflate" if name == "deflate" else "zstd"), int(level)

    @property
    def cube(self) -> Path:
        """The file of a job of one cube. ArgumentError if it may be of several."""
        if isinstance(self.path_in, tuple) or self.path_in.is_dir():
            raise ArgumentError(
                f"the job is of {_shown(self.path_in)}, expected one cube: use its cubes(), a list of jobs of one cube"
            )
        return self.path_in

    # ---- JSON ----

    def to_json(self, indent: int | None = None) -> str:
        """The job as a JSON text, also with functions: their pickle, and beside it their source text."""
        return serial.job_to_json({name: getattr(self, name) for name in ARGUMENTS}, indent)


def _unpickled(kind: type[JobArguments], packed: bytes) -> JobArguments:
    return kind(**serial.unpack(packed))


def _shown(paths: Path | tuple[Path, ...]) -> str:
    return f"{len(paths)} paths" if isinstance(paths, tuple) else f"the folder {paths}"


def _optional(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, name: None if value is None else check(value, name)


def _one_of(choices: Any) -> Callable[[Any, str], Any]:
    return lambda value, name: as_choice(value, name, get_args(choices))


ARGUMENTS: dict[str, Callable[[Any, str], Any]] = {
    "path_in": as_paths,
    "path_out": _optional(as_path),
    "processing_lvl": _optional(as_level),
    "json_path": _optional(as_path),
    "cal_path": _optional(as_path),
    "compat": lambda value, name: as_choice(value, name, (None, "openhsi")),
    "lines": _optional(as_slice),
    "rows": _optional(as_slice),
    "stages": as_stages,
    "output": _one_of(OutputFormat),
    "old_style": as_bool,
    "compression": as_compression,
    "significant_bits": _optional(lambda value, name: as_whole(value, name, 1, MAX_SIGNIFICANT_BITS)),
    "link_to_input": as_bool,
    "on_error": _one_of(OnError),
    "workers": _one_of(Workers),
    "n_procs": _optional(lambda value, name: as_whole(value, name, 1)),
    "block_lines": _optional(lambda value, name: as_whole(value, name, 1)),
    "n_blocks": _optional(lambda value, name: as_whole(value, name, 1)),
    "log_level": as_log_level,
    "debug": as_bool,
}
"""Each argument in order, with the function that checks it and brings it into its type."""
