"""What a stage is: one step of a job, from lines to lines, or from lines to rows of a table."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.files.source_cube import SourceCube
from openhsi_shared.processing_levels import Quantity

__all__ = ["LineFormat", "Stage"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LineFormat:
    """What the lines are that a stage is given, or gives: all that is known before any of them is read.

    `wavelengths_nm` has the shape (wavelength,).
    """

    n_lines: int
    """How many lines there are."""
    line_shape: tuple[int, int]
    """(cross-track, wavelength)."""
    dtype: np.dtype[Any]
    """Type of the pixels."""
    wavelengths_nm: NDArray[np.float64] | None
    """(wavelength,), the middle of each band; None if they are unknown."""
    level: int | None
    """The processing level; None if it is unknown, or a stage has made something else of the lines."""
    quantity: Quantity | None
    """What the pixels are, such as "radiance"; None if it is unknown."""
    labels: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the datacube, such as units and long_name."""
    source: SourceCube
    """The cube that the job reads."""

    def replace(self, **changes: Any) -> "LineFormat":
        """The same with some values changed."""
        return dataclasses.replace(self, **changes)

    @property
    def line_bytes(self) -> int:
        """Bytes of a line."""
        return self.line_shape[0] * self.line_shape[1] * self.dtype.itemsize


class Stage:
    """One step of a job: subclasses are dataclasses, whose fields are their parameters, each with a default.

    A job has one instance, which is never changed; each worker prepares a copy of its own. Attributes that are no
    fields, such as what `prepare` makes, are not part of the job's identity.
    """

    code: ClassVar[str]
    """Name in recipes, ids and commands: lower case, without the characters `|:^=`."""
    releases_lock: bool = True
    """Whether `apply` runs without the interpreter's lock: then threads work side by side. Else processes do."""
    takes_strided_out: bool = False
    """Whether `out` may have space between its lines, each of which is contiguous: saves a copy if it is the last one.

    Else `out` is contiguous. False if anything is reshaped: of such an array, that would be a copy.
    """
    halo: tuple[int, int] = (0, 0)
    """Lines that are needed before and behind each line."""
    lines_per_result: int = 1
    """Lines of which one line is made."""
    row_dtype: np.dtype[Any] | None = None
    """A structured type if the stage gives rows of a table (`rows`), not lines (`apply`): then it is the last one."""
    row_units: Mapping[str, str] = MappingProxyType({})
    """Units of fields of `row_dtype`, for the table: of those that have one."""
    takes_one_line: bool = False
    """Whether it is called with one line at a time: so that none is passed twice if another one fails."""
    is_tried: bool = False
    """Whether `try_on` must be called once, by the planner, after `check` and before the stage is asked for formats."""
    survey_size: int = 16
    """Lines that `survey` is given at once, but for the last ones and damaged ones: whatever blocks and workers are."""
    surveyed: Any = None
    """What `combine` made of the survey, if there is one; set before `prepare`."""

    def check(self, source: LineFormat) -> None:
        """Raise StageNotApplicable, saying why and what would fit, if it cannot be applied to such lines."""

    def try_on(self, lines: NDArray[Any], source: LineFormat) -> None:
        """Learn from some good lines (n, x, wavelength) of its input what the stage gives. StageNotApplicable.

        For stages with `is_tried`, such as functions of a user. The planner calls it on its own copy of the stage.
        """

    def out_shape(self, source: LineFormat) -> tuple[int, int]:
        """(cross-track, wavelength) of the lines that it gives; by default unchanged."""
        return source.line_shape

    def out_dtype(self, source: LineFormat) -> np.dtype[Any]:
        """Type of the lines that it gives; by default unchanged."""
        return source.dtype

    def out_format(self, source: LineFormat) -> LineFormat:
        """What the lines are that it gives. Override it if wavelengths, level or quantity are others."""
        n_lines = -(-source.n_lines // self.lines_per_result)  # of the last ones, one line is made, too
        shape = self.out_shape(source)
        wavelengths = source.wavelengths_nm if shape[1] == source.line_shape[1] else None
        dtype = np.dtype(self.out_dtype(source))
        return source.replace(n_lines=n_lines, line_shape=shape, dtype=dtype, wavelengths_nm=wavelengths)

    def prepare(self, source: LineFormat) -> None:
        """Make ready, such as by compiling: called once in each worker. Blocks."""

    def apply(self, lines: NDArray[Any], out: NDArray[Any]) -> None:
        """Compute `out` (n, x, wavelength), contiguous, from `lines` (n, x, wavelength), which must not be changed.

        Lines that are damaged in the source, or failed in an earlier stage, are never passed.
        """
        raise NotImplementedError

    def apply_within(self, lines: NDArray[Any], out: NDArray[Any], before: int, good: NDArray[np.bool_]) -> None:
        """`apply`, for stages with a halo or with `lines_per_result` > 1, which override this instead.

        `lines` (n, x, wavelength) are those of `out` and those of the halo, of which `before` lie before those of
        `out`; at the ends of a cube the halo is cut off. `out[i]` is made of
        `lines[before + k * i:before + k * (i + 1)]`, k = `lines_per_result`; the last one of a cube may be made of
        fewer. `good` (n,): False for lines that are damaged or failed; their values mean nothing. The result must not
        depend on how the lines were divided into blocks.
        """
        raise NotImplementedError

    def rows(self, lines: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """For stages with `row_dtype`, in place of `apply`: the rows of each line, 0 to n, as structured arrays."""
        raise NotImplementedError

    # ---- a first pass ----

    def survey_lines(self, source: LineFormat) -> range | None:  # noqa: ARG002 - part of the protocol
        """Lines of its input that it must see before it can be applied to any; None: no survey."""
        return None

    def survey(self, lines: NDArray[Any]) -> Any:
        """Picklable extract of the next `survey_size` lines (n, x, wavelength), to be copied if they are kept."""
        raise NotImplementedError

    def combine(self, parts: Sequence[Any]) -> Any:
        """What becomes `surveyed`, of the extracts in the order of the lines."""
        raise NotImplementedError
