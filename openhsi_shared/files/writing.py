"""Saves cubes of one kind, one after the other: with checksums, durable, and as fast as the disk.

For use in a writer process; imports only what writing needs.
"""

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import DTypeLike

from openhsi_shared import dataset
from openhsi_shared.dataset import Cube
from openhsi_shared.durable import make_folder, save_error
from openhsi_shared.errors import ArgumentError, SaveError
from openhsi_shared.files.encoding import Encoded
from openhsi_shared.files.image import Image, Layout
from openhsi_shared.files.saving import ProgressCallback, Saving, Written, no_progress
from openhsi_shared.groups import numbers
from openhsi_shared.line_times import begin_of
from openhsi_shared.loggers import safe_logger
from openhsi_shared.rgb import preview_bands, thinned
from openhsi_shared.save_options import SaveOptions

__all__ = ["CubeWriter"]

logger = safe_logger(__name__)

DEFAULTS = SaveOptions()


class CubeWriter:
    """Saves cubes of one kind with these `options`; `threads` worker threads besides the one that writes."""

    def __init__(
        self,
        n_lines: int,
        line_shape: tuple[int, int],
        dtype: DTypeLike,
        options: SaveOptions = DEFAULTS,
        *,
        threads: int = 2,
    ) -> None:
        if n_lines < 1 or min(line_shape) < 1 or threads < 1:
            raise ArgumentError(f"{n_lines} lines of {line_shape} by {threads} threads: expected at least 1 of each")
        pixel = np.dtype(dtype).newbyteorder("<")
        numbers("a line", np.zeros(0, pixel))
        level = 1 if options.compression_level is None else options.compression_level
        self._layout = Layout(n_lines, (line_shape[0], line_shape[1]), pixel, True, options.compression, level)
        self._durability = options.durability
        self._prepared: Image | None = None
        self._free: list[Encoded] = []
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cube-writer")

    def prepare(self, old_style: bool = True) -> None:
        """Lay out the file of a full cube in advance, in idle time. Idempotent."""
        layout = self._layout._replace(old_style=old_style)
        if self._prepared is None or self._prepared.layout != layout:
            self._prepared = self._take(layout)

    def _take(self, layout: Layout) -> Image:
        image, self._prepared = self._prepared, None
        if image is not None:
            if image.layout == layout:
                return image
            image.close()
        return Image(layout)

    def write(
        self,
        cube: Cube,
        directories: Sequence[Path],
        *,
        prefix: str = "",
        suffix: str = "",
        old_style: bool = True,
        picture: bool = True,
        passed: ProgressCallback | None = None,
        completed: Callable[[Cube], Cube] | None = None,
    ) -> Written:
        """Save `cube` in the first of `directories` that works, in a folder of its day; blocks until durable.

        `completed` adds columns, groups and attributes; called once, in a thread, while the lines are written.

        The directories must exist. Raises the SaveError of the first one if all fail; nothing is left behind then.
        A cube that is published under the same name with the same uuid is not saved again. `cube.memory` is only read.
        """
        lines = (cube.line_shape, cube.memory.dtype.newbyteorder("<"))
        expected = (self._layout.line_shape, self._layout.dtype)
        if lines != expected:
            raise ArgumentError(f"lines of {lines} cannot be saved by a writer that was made for {expected}")
        if not directories:
            raise ArgumentError("there is no directory to save the cube in: give at least one")
        time_ns = begin_of(cube.columns["time_ns"])
        stem, day = dataset.cube_stem(time_ns, prefix, suffix), dataset.day_folder(time_ns)
        whole = cache(lambda: cube if completed is None else completed(cube))

        def describe(image: Image) -> None:
            attributes = {**dataset.global_attributes(whole()), "durability": self._durability}
            image.describe_cube(whole(), dataset.coordinates(whole()), attributes)

        saving = Saving(
            cube=cube,
            describe=describe,
            pool=self._pool,
            threads=self._threads,
            durability=self._durability,
            bands=thinned(preview_bands(cube.wavelengths_nm, cube.line_shape[1])) if picture else None,
            passed=passed or no_progress,
            free=self._free,
        )
        layout = self._layout._replace(n_lines=cube.n_lines, old_style=old_style)
        errors: list[SaveError] = []
        for directory in directories:
            try:
                folder = make_folder(directory, day, durability=self._durability)
                with contextlib.closing(self._take(layout)) as image:
                    return saving.run(image, folder, stem)
            except OSError as error:
                logger.warning("cube %s could not be saved in %s: %s", cube.uuid, directory, error)
                errors.append(save_error(error, directory))
        raise errors[0]

    def close(self) -> None:
        """Stop the threads. Idempotent."""
        if self._prepared is not None:
            self._prepared.close()
            self._prepared = None
        self._pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
