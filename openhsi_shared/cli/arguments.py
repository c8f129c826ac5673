"""Files and directories on the command line."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from openhsi_shared.errors import ArgumentError
from openhsi_shared.paths import cubes_below, given_path

__all__ = ["GivenPath", "cubes_in"]


class GivenPath(click.Path):
    """A path; `~` is expanded here, too: a shell leaves that of `--out=~/flight` as it is."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Expand and check it."""
        try:
            return super().convert(given_path(value), param, ctx)
        except ArgumentError as error:
            self.fail(str(error), param, ctx)


def cubes_in(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """The cubes, each only once: of a directory all in it and below, sorted. And the directories without any."""
    cubes: list[Path] = []
    empty = []
    for path in paths:
        found = [path]
        if path.is_dir():
            found = cubes_below(path)
            empty += [] if found else [path]
        cubes += found
    return list(dict.fromkeys(cubes)), empty
