"""The table of levels: it agrees with openhsi, with the documentation, and with the code that makes lines."""

import re
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared.levels import Transforms
from openhsi_shared.processing_levels import AXIS_LABELS, LABELS, LEVELS
from tests.support.level_oracle import make_frame, make_plan

OF_OPENHSI = {
    -1: [],
    0: ["crop"],
    1: ["crop", "fast_smile"],
    2: ["crop", "fast_smile", "fast_bin"],
    3: ["crop", "fast_smile", "slow_bin"],
    4: ["crop", "fast_smile", "fast_bin", "dn2rad"],
    5: ["crop", "fast_smile", "dn2rad", "fast_bin"],
    6: ["crop", "fast_smile", "fast_bin", "dn2rad", "rad2ref_6SV"],
    7: ["crop", "fast_smile", "dn2rad", "slow_bin"],
    8: ["crop", "fast_smile", "dn2rad", "slow_bin", "rad2ref_6SV"],
}
"""`tfm_list` of openhsi's `set_processing_lvl`."""
IN_WORDS = {
    "crop": "cropped",
    "fast_smile": "smile corrected",
    "fast_bin": "bands of equal pixel number",
    "slow_bin": "bands of equal width in wavelength",
    "dn2rad": "radiance",
    "rad2ref_6SV": "reflectance",
}


def test_the_steps_are_those_of_openhsi_and_each_is_a_transform():
    assert {number: list(level.steps) for number, level in LEVELS.items()} == OF_OPENHSI
    assert list(LEVELS) == [level.number for level in LEVELS.values()] == list(range(-1, 9))
    assert all(callable(getattr(Transforms, step)) for level in LEVELS.values() for step in level.steps)


@pytest.mark.parametrize("level", [level for level in LEVELS.values() if level.number > 0], ids=lambda row: row.number)
def test_the_description_names_the_steps(level):
    assert level.description == ", ".join(IN_WORDS[step] for step in level.steps)


def _documented():
    """Rows of the table in docs/levels.md: number, what, numbers, needs."""
    text = (Path(__file__).parents[1] / "docs" / "levels.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (-?\d) \|(.*)\|(.*)\|(.*)\|$", text, re.MULTILINE)
    return {int(number): (what.strip(), pixels.strip(), needs.strip()) for number, what, pixels, needs in rows}


def _needs(number, table):
    """Names that the documentation says a level needs: its own, and those of the level that it refers to."""
    text = table[number][2]
    names = {
        name
        for word in re.findall(r"`(\w+)`", text)
        for name in ([f"{word}_x", f"{word}_y"] if "fit" in word else [word])
    }
    before = re.match(r"level (\d)'s", text)
    if before or text.startswith("and "):
        names |= _needs(int(before[1]) if before else number - 1, table)
    return names


@pytest.mark.parametrize("number", LEVELS)
def test_the_documentation_says_what_the_table_says(number):
    table, level = _documented(), LEVELS[number]
    assert list(table) == list(LEVELS)
    pixels = {"counts": "digital numbers", "radiance": "uW/cm²/sr/nm", "reflectance": "a ratio"}[level.quantity]
    assert table[number][1] == (f"float32, {pixels}" if level.binning else "as the camera's")
    assert _needs(number, table) == set(level.needs)


@pytest.mark.parametrize("number", LEVELS)
def test_lines_are_what_the_table_says(number):
    level, plan, frame = LEVELS[number], make_plan(number), make_frame()
    assert plan.line_dtype == (np.float32 if level.binning else frame.dtype)
    longer = plan.with_exposure(2 * plan.exposure_ms)
    lines = [np.empty(plan.line_shape, plan.line_dtype) for _ in range(2)]
    for one, line in zip((plan, longer), lines, strict=True):
        one.apply(frame, line)
    assert np.array_equal(*lines) is not level.makes_radiance
    assert set(LABELS) == set(AXIS_LABELS) >= {level.quantity}
