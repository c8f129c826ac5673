"""Plans of jobs on small saved cubes, for tests of outputs: without a recipe's own checks."""

from pathlib import Path

import numpy as np

from openhsi_shared.columns import COLUMNS, Column
from openhsi_shared.files import CubeWriter
from openhsi_shared.files.checksums import crc32_of
from openhsi_shared.files.source_cube import SourceCube
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.recipe import PipelineJob
from openhsi_shared.jobs.stages.stage import LineFormat, Stage
from tests.support.cubes import make_cube, make_groups, slot_memory

WAVELENGTHS = np.linspace(440, 680, 7)
ALTITUDE = Column("altitude", "float64", "m", "height above the ground")


class BinLines(Stage):
    """Stands for a stage that makes one line of several."""

    code = "bin_lines"
    lines_per_result = 4


def source_file(folder: Path, n_lines: int = 6, x: int = 5, bands: int = 7, **options) -> Path:
    """A saved cube of level 4, float32, with groups, and a column `altitude`."""
    cube = make_cube(
        n_lines,
        x,
        bands,
        np.float32,
        **{
            "wavelengths_nm": np.linspace(440, 680, bands),
            "level": 4,
            "groups": make_groups(n_lines, x, bands),
            "columns": {"altitude": np.arange(float(n_lines))},
            "column_descriptions": (*COLUMNS, ALTITUDE),
            "attributes": {"lines_lost": 3, "lines_lost_before": 1, "lines_lost_within": 2, "exposure_ms": 2.5},
            "metadata": {"institution": "sea"},
            **options,
        },
    )
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype) as writer:
        return writer.write(cube, [folder], picture=False).path


def plan_of(
    path: Path, target: Path, *, lines: range | None = None, stages=(), block_lines: int = 4, job=None, **changes
):
    """The plan of a job that changes only what is given: `changes` of the result's format."""
    source = SourceCube.look_at(path)
    lines = range(source.n_lines) if lines is None else lines
    before = LineFormat(
        n_lines=len(lines),
        line_shape=source.line_shape,
        dtype=source.dtype,
        wavelengths_nm=source.wavelengths_nm,
        level=source.level,
        quantity=source.quantity,
        labels=source.labels,
        source=source,
    )
    formats = [before]
    for stage in stages:
        formats.append(stage.out_format(formats[-1]))
    formats[-1] = formats[-1].replace(**changes)
    job = PipelineJob(path, target, **(job or {}))
    return CubePlan(
        job=job,
        source=source,
        lines=lines,
        stages=tuple(stages),
        formats=tuple(formats),
        block_lines=block_lines,
        n_blocks=2,
        target=target,
        ppid="id",
        ppid_hash="0" * 32,
    )


def result_lines(plan: CubePlan, seed: int = 0) -> np.ndarray:
    """Lines of the result in memory as blocks have them: they identify line and pixel."""
    n_lines, line_shape, dtype = plan.result.n_lines, plan.result.line_shape, plan.result.dtype
    lines = slot_memory(n_lines, *line_shape, dtype)
    noise = np.random.default_rng(seed).normal(2000, 100, line_shape)
    for number in range(n_lines):
        lines[number] = (noise + 10 * number).astype(dtype)
    return lines


def crcs_of(lines: np.ndarray) -> np.ndarray:
    """As the engine computes them."""
    return np.array([crc32_of(line) for line in lines], np.uint32)


def put_chunk(chunks, first: int, lines: np.ndarray) -> tuple[int, np.ndarray]:
    """As a worker in another process does: returns what is to be noted of it."""
    chunks.put(first, lines)
    return first, crcs_of(lines)


def put_all(output, plan: CubePlan, lines: np.ndarray, order=None) -> None:
    """Put all blocks, in this order of their numbers."""
    for number in range(len(plan.blocks)) if order is None else order:
        block = plan.blocks[number]
        part = lines[block.start : block.stop]
        output.put(block.start, part, crcs_of(part))
