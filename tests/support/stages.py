"""Stages for lines in memory: their plan, and a Chain run over blocks."""

from pathlib import Path

import numpy as np

from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.recipe import PipelineJob
from openhsi_shared.jobs.stages.stage import LineFormat, Stage
from openhsi_shared.jobs.workers.chain import Chain, ChainResult


def plan_of(source: LineFormat, *stages: Stage, block_lines: int = 4, lines: range | None = None) -> CubePlan:
    """The plan of stages for lines without a file."""
    formats = [source if lines is None else source.replace(n_lines=len(lines))]
    for stage in stages:
        stage.check(formats[-1])
        formats.append(stage.out_format(formats[-1]))
    return CubePlan(
        job=PipelineJob(source.source.path),
        source=source.source,
        lines=lines or range(source.n_lines),
        stages=stages,
        formats=tuple(formats),
        block_lines=block_lines,
        n_blocks=2,
        target=Path("result.nc"),
        ppid="",
        ppid_hash="",
    )


def run(
    plan: CubePlan, lines: np.ndarray, good: np.ndarray | None = None, gap: int = 0
) -> tuple[np.ndarray, list[ChainResult]]:
    """All blocks of a plan, as a serial loop runs them; with `gap` bytes between the lines of the result."""
    good = np.ones(len(lines), bool) if good is None else good
    chain, results, found = Chain(plan), [], []
    for block in plan.blocks:
        first, stop = plan.needed(block.start, block.stop)[0]
        taken = slice(plan.lines.start + first, plan.lines.start + stop)
        out = room(plan.result, len(block), gap)
        results.append(chain.run(lines[taken], good[taken], block.start, block.stop, out))
        found.append(out)
    return np.concatenate(found), results


def room(lines: LineFormat, n: int, gap: int = 0) -> np.ndarray:
    """Memory full of other values, with `gap` bytes between the lines."""
    memory = np.full((n, lines.line_bytes + gap), 0xA5, np.uint8)
    strides = (lines.line_bytes + gap, lines.line_shape[1] * lines.dtype.itemsize, lines.dtype.itemsize)
    return np.ndarray((n, *lines.line_shape), lines.dtype, memory, strides=strides)
