"""The stages that docs/write_a_stage.md shows are true ones: they keep the contract, and give what the page says."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared.jobs.stages.registry import stage_from_text
from openhsi_shared.testing import StageContract, run_stage
from tests.jobs.stages.test_registry import plugged  # noqa: F401 - a fixture

PAGE = Path(__file__).parents[3] / "docs" / "write_a_stage.md"


@pytest.fixture(scope="module")
def shown():
    """The module that the page's blocks of code make."""
    module = types.ModuleType("my_package_derivative")
    sys.modules[module.__name__] = module
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, vars(module))
    yield module
    del sys.modules[module.__name__]


class TestTheStagesOfThePage(StageContract):
    @pytest.fixture(params=["Derivative", "Change", "Normalise", "Bright"])
    def stage(self, shown, request):
        return getattr(shown, request.param)()


def test_they_give_what_the_page_says(shown):
    shown.test_the_derivative_of_a_slope()
    lines = np.random.default_rng(1).integers(1, 5000, (9, 4, 5)).astype(np.uint16)
    changes, _ = run_stage(shown.Change(), lines)
    np.testing.assert_array_equal(changes[1:], np.diff(lines.astype(float), axis=0))
    normalised, _ = run_stage(shown.Normalise(), lines)
    np.testing.assert_allclose(normalised, lines / lines.mean(axis=(0, 1)), rtol=1e-6)
    _, rows = run_stage(shown.Bright(2500.0), lines)
    assert [one["x"].tolist() for one in rows] == [np.flatnonzero(m > 2500).tolist() for m in lines.mean(axis=2)]


def test_it_has_a_name_where_its_package_is_installed(shown, plugged):  # noqa: F811
    plugged(derivative=f"{shown.__name__}:Derivative")
    assert stage_from_text("derivative:factor=2") == shown.Derivative(2)
