"""Taking dark and white references with a camera."""

import dataclasses
import time
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.times import Clock, read_anchor
from openhsi_shared.capture.loop import FrameLoop
from openhsi_shared.capture.referencing import average_frames, check_brightness, check_number
from openhsi_shared.datacube.shared_data_cube import SharedDataCube
from openhsi_shared.dataset import datacube_attributes
from openhsi_shared.errors import ArgumentError, ReferenceRefused
from openhsi_shared.files.references import Kind, Reference, check_kind
from openhsi_shared.paths import given_path
from openhsi_shared.writer.messages import Label

__all__ = ["Referencing"]


class Referencing(SharedDataCube):
    """A camera that takes references."""

    _n_collecting: int

    @abstractmethod
    def _frame_loop(self) -> FrameLoop: ...

    @abstractmethod
    def start_streaming(self) -> None:
        """Start the camera."""

    def take_reference(self, kind: Kind, n: int = 200, save_dir: str | Path | None = None) -> Reference:
        """Take the mean of `n` frames as the "dark" reference (lens covered), or the "white" one (a white target).

        It is computed at the level of the camera, and saved as a small file in the folder `references` of `save_dir`
        (None: where the last cube went, else the working directory). Cubes that are saved from now on contain it, while
        camera, exposure, window, binning, format and level stay; else one warning names what has changed.

        Blocks for `n` frames and the start of the camera, from an empty queue; afterwards it does not stream. Raises
        ReferenceRefused for a dark one that is bright (mean above a fifth of full scale), and a white one that is
        saturated (more than 0.1 % of the pixels) or dark (median below a tenth): nothing is saved then. ArgumentError
        for invalid arguments, or while lines are collected that are not saved, SaveError, CameraError and its
        subclasses.
        """
        check_kind(kind)
        check_number(n)
        directory = None if save_dir is None else given_path(save_dir, "save_dir", "a directory")
        if self.n_collected or self._n_collecting:
            raise ArgumentError(
                f"take_reference: {self.n_collected} lines are collected and not saved: save() them first"
            )
        self._engine.check_usable()
        try:
            return self.take_reference_between_cubes(kind, n, directory)
        finally:
            self.stop_cam()  # type: ignore[attr-defined]

    def take_reference_between_cubes(
        self, kind: Kind, n: int, directory: Path | None = None, goes_on: Callable[[], bool] = lambda: True
    ) -> Reference:
        """`take_reference` when all lines are saved, with arguments that are checked. The camera streams afterwards.

        None of its frames is lost. ReferenceRefused also when `goes_on()` is no longer true.
        """
        self.stop_cam()  # type: ignore[attr-defined] # frames that wait in its queue may show something else
        self.start_streaming()
        plan, loop, turn = self._plan, self._frame_loop(), self._engine.turn
        from_ns = time.monotonic_ns()

        def next_frame(out: NDArray[Any]) -> bool:
            if not goes_on():
                raise ReferenceRefused(f"the {kind} reference was not taken: the recording ends")
            frame = turn.between_lines("reference", loop.pass_over)
            if frame is not None:
                np.copyto(out, frame)
            return frame is not None

        taken = average_frames(next_frame, n, plan, self._rows_of(plan.frame_shape[0]), self._full_scale())
        middle_ns = from_ns + (time.monotonic_ns() - from_ns) // 2
        brightness = check_brightness(kind, taken)
        labels = datacube_attributes(self.processing_lvl, arithmetic=self._arithmetic)
        reference = Reference(
            kind=kind,
            mean=taken.mean,
            standard_deviation=taken.standard_deviation,
            n_frames=taken.n_frames,
            time_ns=Clock(read_anchor()).wall_ns(middle_ns),
            temperature=float(self._temperature()),
            saturated=taken.saturated,
            brightness=brightness,
            units=labels.get("units", "1"),
            attributes=self._attributes(),
            wavelengths_nm=self.wavelengths_nm,
        ).write((directory or Path(self._engine.last_directory or ".")).absolute())
        self._use_reference(reference)
        return reference

    def _full_scale(self) -> int:
        largest = np.iinfo(self._plan.frame_dtype).max if self._plan.frame_dtype.kind in "iu" else None
        full_scale = self.settings.model.full_scale or largest or 1
        return int(min(full_scale, largest or full_scale))

    def _use_reference(self, reference: Reference) -> None:
        """Save cubes with it from now on, also those that the writer saves when this process has died."""
        self._references.use(reference)
        filler = self._engine.filler
        if filler.label:
            fitting = self._references.fitting(self._attributes())
            self._engine.expect(dataclasses.replace(Label.from_bytes(filler.label), references=fitting))
