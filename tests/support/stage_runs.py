"""Stages that are surveyed and tried as by a job, and run over lines in blocks of any size."""

import copy

import numpy as np

from openhsi_shared.testing.stage_contract import format_of
from tests.support.stages import plan_of, run


def line_format(lines, wavelengths_nm=None, quantity="counts", level=None, **known):
    """What is known of these lines (n, x, wavelength) before they are read."""
    return format_of(lines, level=level, wavelengths_nm=wavelengths_nm, **known).replace(quantity=quantity)


def ready(stage, lines, source, good=None):
    """A copy of the stage, tried and surveyed."""
    good = np.ones(len(lines), bool) if good is None else good
    stage = copy.deepcopy(stage)
    stage.check(source)
    if stage.is_tried:
        stage.try_on(lines[good][[0, good.sum() // 2, -1]], source)
    surveyed = stage.survey_lines(source)
    if surveyed is not None:
        parts = [surveyed[first : first + stage.survey_size] for first in range(0, len(surveyed), stage.survey_size)]
        stage.surveyed = stage.combine([stage.survey(lines[[k for k in part if good[k]]]) for part in parts])
    return stage


def prepared(stage, lines, source, good=None):
    """The same, as a worker has it."""
    stage = ready(stage, lines, source, good)
    stage.prepare(source)
    return stage


def run_in_blocks(stage, lines, block_lines, good=None, **known):
    """The result of all lines, NaN where they are not good."""
    source = line_format(lines, **known)
    plan = plan_of(source, ready(stage, lines, source, good), block_lines=block_lines)
    found, results = run(plan, lines, good, gap=64)
    assert not [failure for result in results for failure in result.failures]
    return found
