"""Contract tests of stages of jobs: authors of stages subclass `StageContract`.

Complete test file of a stage::

    class TestMyStage(StageContract):
        @pytest.fixture
        def stage(self):
            return MyStage(gain=2.0)

The fixture `lines` may be overridden, too: lines (y, x, wavelength) that the stage fits; and `source`, what is known of
them, made by `format_of`.
"""

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from numpy.typing import NDArray

from openhsi_shared.calibration import Calibration
from openhsi_shared.files.source_cube import SourceCube
from openhsi_shared.files.source_files import NO_FILE, SourceFiles
from openhsi_shared.jobs.line_flag import LineFlag
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.planning.declared import check_declared
from openhsi_shared.jobs.recipe import PipelineJob
from openhsi_shared.jobs.stages.stage import LineFormat, Stage
from openhsi_shared.jobs.workers.chain import Chain, ChainResult
from openhsi_shared.processing_levels import LABELS, LEVELS
from openhsi_shared.settings import CameraSettings

__all__ = ["StageContract", "format_of", "run_stage", "run_stages"]


def format_of(
    lines: NDArray[Any],
    *,
    level: int | None = -1,
    wavelengths_nm: NDArray[np.float64] | None = None,
    settings: CameraSettings | None = None,
    calibration: Calibration | None = None,
    attributes: Mapping[str, Any] | None = None,
    path: str | Path = "made_up.nc",
) -> LineFormat:
    """Format of lines (y, x, wavelength) of a cube, without a file; the exposure is that of the settings.

    Quantity and labels are those of the level.
    """
    n_lines, rows, bands = lines.shape
    quantity = LEVELS[level].quantity if level is not None else "counts"
    source = SourceCube(
        path=Path(path),
        n_lines=n_lines,
        line_shape=(rows, bands),
        dtype=lines.dtype,
        level=level,
        level_in_file=level,
        settings=settings or CameraSettings(),
        calibration=calibration or Calibration(),
        exposure_is_known=True,
        wavelengths_nm=wavelengths_nm,
        band_labels=wavelengths_nm,
        quantity=quantity,
        labels=dict(LABELS[quantity]),
        attributes=dict(attributes or {}),
        is_ours=True,
        uuid=None,
        times_ns=None,
        times_are_uncertain=False,
        columns=(),
        groups=(),
        files=SourceFiles(Path(path), NO_FILE, None, {}),
    )
    return LineFormat(
        n_lines=n_lines,
        line_shape=source.line_shape,
        dtype=lines.dtype,
        wavelengths_nm=wavelengths_nm,
        level=level,
        quantity=quantity,
        labels=source.labels,
        source=source,
    )


def run_stage(
    stage: Stage, lines: NDArray[Any], source: LineFormat | None = None, **options: Any
) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """The lines and the rows that a stage makes of lines (y, x, wavelength) in memory, as a job runs it.

    Options: `good` (y,), False where a line counts as damaged; `taken`, the lines that the job takes; `block_lines`;
    `gap_bytes` between the lines of the result; `fill`, the byte that its memory is filled with before. AssertionError
    if a line fails; JobError for attributes that no stage can have.
    """
    _, made, results = run_stages([stage], lines, source or format_of(lines), **options)
    failures = [failure for result in results for failure in result.failures]
    assert not failures, (
        f"stage {stage.code} failed at line {failures[0].line}: {failures[0].text}\n{failures[0].where}"
    )
    return made, [rows for result in results for rows in result.rows or ()]


def run_stages(
    stages: list[Stage],
    lines: NDArray[Any],
    source: LineFormat,
    *,
    good: NDArray[np.bool_] | None = None,
    taken: range | None = None,
    block_lines: int = 4,
    gap_bytes: int = 0,
    fill: int = 0xA5,
) -> tuple[CubePlan, NDArray[Any], list[ChainResult]]:
    """Run stages over all blocks of lines in memory, with surveys, as a job does; each is checked and tried before.

    `good`: False where a line counts as damaged. `taken`: lines that the job takes. `gap_bytes`: between the lines of
    the result, as in large blocks. `fill`: byte that the memory of the result is filled with before.
    """
    good = np.ones(len(lines), bool) if good is None else good
    taken = taken or range(len(lines))
    lines, good = lines[taken.start : taken.stop], good[taken.start : taken.stop]
    plan = CubePlan(
        job=PipelineJob(source.source.path),
        source=source.source,
        lines=taken,
        stages=(),
        formats=(source.replace(n_lines=len(taken)),),
        block_lines=block_lines,
        n_blocks=1,
        target=Path("result.nc"),
        ppid="",
        ppid_hash="",
    )
    for stage in stages:
        plan = _with_stage(plan, copy.deepcopy(stage), lines, good)
    chain, results, made = Chain(plan), [], []
    for block in plan.blocks:
        out = _room(plan.result, len(block), gap_bytes, fill)
        first, stop = plan.needed(block.start, block.stop)[0]
        results.append(chain.run(lines[first:stop], good[first:stop], block.start, block.stop, out))
        made.append(out)
    return plan, np.concatenate(made), results


def _with_stage(plan: CubePlan, stage: Stage, lines: NDArray[Any], good: NDArray[np.bool_]) -> CubePlan:
    """The plan with one more stage, which is checked, tried and surveyed."""
    given = plan.result
    stage.check(given)
    chain = Chain(plan)

    def before(first: int, stop: int) -> NDArray[Any]:
        out = _room(given, stop - first, 0, 0)
        begin, end = plan.needed(first, stop)[0]
        flags = chain.run(lines[begin:end], good[begin:end], first, stop, out).flags
        found: NDArray[Any] = out[flags == LineFlag.GOOD]
        return found

    if stage.is_tried:
        numbers = sorted({0, given.n_lines // 2, given.n_lines - 1})
        stage.try_on(np.concatenate([before(number, number + 1) for number in numbers]), given)
    check_declared(stage, given)
    surveyed = stage.survey_lines(given)
    if surveyed is not None:
        size = stage.survey_size
        parts = [surveyed[first : first + size] for first in range(0, len(surveyed), size)]
        shown = [np.concatenate([before(number, number + 1) for number in part]) for part in parts]
        stage.surveyed = stage.combine([stage.survey(one) for one in shown if len(one)])
    formats = (*plan.formats, stage.out_format(given))
    return dataclasses.replace(plan, stages=(*plan.stages, stage), formats=formats)


def _room(lines: LineFormat, n: int, gap_bytes: int, fill: int) -> NDArray[Any]:
    """Memory for n lines, each contiguous."""
    memory = np.full((n, lines.line_bytes + gap_bytes), fill, np.uint8)
    strides = (lines.line_bytes + gap_bytes, lines.line_shape[1] * lines.dtype.itemsize, lines.dtype.itemsize)
    return np.ndarray((n, *lines.line_shape), lines.dtype, memory, strides=strides)


class StageContract:
    """The contract of `openhsi_shared.jobs.Stage`, one test for each of its sentences."""

    @pytest.fixture
    def stage(self) -> Stage:
        """Return the stage to be tested. Every subclass overrides it."""
        raise NotImplementedError("subclasses of StageContract must define a fixture `stage` that returns a stage")

    @pytest.fixture
    def lines(self) -> NDArray[Any]:
        """Lines (y, x, wavelength) that it fits: some, that differ from each other."""
        return np.random.default_rng(0).integers(1, 4000, (13, 6, 8)).astype(np.uint16)

    @pytest.fixture
    def source(self, lines: NDArray[Any]) -> LineFormat:
        """What is known of these lines."""
        return format_of(lines, wavelengths_nm=np.linspace(450.0, 850.0, lines.shape[2]))

    def test_its_parameters_make_it_again(self, stage: Stage) -> None:
        """It is a dataclass, and its fields are all that decides what it does; its code is a name for ids and texts."""
        assert stage.code == stage.code.lower(), f"code {stage.code!r} is not in lower case"
        assert not set(stage.code) & set("|:^= "), f"code {stage.code!r} contains one of '|:^= '"
        assert dataclasses.is_dataclass(type(stage)), f"{type(stage).__name__} is no dataclass"
        again = type(stage)(**_parameters(stage))
        assert _values(again) == _values(stage), "made of its own parameters, it has others"

    def test_it_gives_what_it_announces(self, stage: Stage, lines: NDArray[Any], source: LineFormat) -> None:
        """Shape and type as `out_format`, `out_shape` and `out_dtype` say, and a wavelength for each band, or none."""
        plan, made, _ = run_stages([stage], lines, source)
        used, result = plan.stages[0], plan.result
        if used.row_dtype is None:
            announced = used.out_shape(source), np.dtype(used.out_dtype(source))
            found = result.line_shape, result.dtype
            assert found == announced, f"out_format has {found}, out_shape and out_dtype {announced}"
        assert made.shape == (result.n_lines, *result.line_shape)
        wavelengths = result.wavelengths_nm
        assert wavelengths is None or np.shape(wavelengths) == result.line_shape[1:], "wavelengths do not fit the bands"

    def test_any_block_gives_the_same(self, stage: Stage, lines: NDArray[Any], source: LineFormat) -> None:
        """Bit for bit, however lines are divided into blocks, whatever was in `out`, and beside others in a block."""
        expected, expected_rows = run_stage(stage, lines, source, block_lines=len(lines))
        for block_lines, gap_bytes in ((1, 0), (2, 64), (5, 0), (len(lines), 64)):
            how = {"block_lines": block_lines, "gap_bytes": gap_bytes, "fill": 0x5A}
            made, rows = run_stage(stage, lines, source, **how)
            assert made.tobytes() == expected.tobytes(), f"blocks of {block_lines} lines give another result: {how}"
            assert all(np.array_equal(one, other) for one, other in zip(rows, expected_rows, strict=True)), how

    def test_damaged_lines_do_not_matter(self, stage: Stage, lines: NDArray[Any], source: LineFormat) -> None:
        """Whatever a damaged line contains, the others are the same, and it makes none fail."""
        good = np.arange(len(lines)) % 5 != 2
        results = []
        for value in (0, 99):
            given = lines.copy()
            given[~good] = value
            results.append(run_stage(stage, given, source, good=good)[0].tobytes())
        assert results[0] == results[1], "what is in damaged lines changes the result of others"

    def test_it_travels_to_another_process(self, stage: Stage, lines: NDArray[Any], source: LineFormat) -> None:
        """Cloudpickle can pickle it, and the copy does the same."""
        expected, _ = run_stage(stage, lines, source)
        made, _ = run_stage(cloudpickle.loads(cloudpickle.dumps(stage)), lines, source)
        assert made.tobytes() == expected.tobytes()

    def test_running_does_not_change_its_parameters(
        self, stage: Stage, lines: NDArray[Any], source: LineFormat
    ) -> None:
        """Its id stays what it was: a job has one instance for all cubes."""
        plan, _, _ = run_stages([stage], lines, source)
        prepared = copy.deepcopy(plan.stages[0])
        prepared.prepare(source)
        assert _values(prepared) == _values(stage), f"{_values(stage)} before, {_values(prepared)} after"


def _parameters(stage: Stage) -> dict[str, Any]:
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(stage)  # type: ignore[arg-type]
    return {field.name: getattr(stage, field.name) for field in fields if field.init}


def _values(stage: Stage) -> dict[str, str]:
    """Its parameters, as text; functions are not the same after a copy."""
    return {name: repr(value) for name, value in _parameters(stage).items() if not callable(value)}
