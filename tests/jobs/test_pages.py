"""Whether the examples of the pages about jobs do what they say."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared import open_cube
from tests.support.job_cubes import save_calibration, save_cube
from tests.support.level_oracle import SHAPE

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["jobs.md", "coming_from_dcnum.md"])
def test_the_first_example_makes_radiance_of_a_flight(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = re.search(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert example
    (tmp_path / "flight_07" / "2026_11_01").mkdir(parents=True)
    recorded = {"exposure_ms": 10.0, "settings": json.dumps({"resolution": SHAPE, "row_slice": [3, 17]})}
    raw = tmp_path / "flight_07" / "2026_11_01" / "raw.nc"
    save_cube(raw, 6, SHAPE, level=-1, attributes=recorded)
    save_calibration(tmp_path / "cal.nc")
    monkeypatch.chdir(tmp_path)
    exec(compile(example[1], page, "exec"), {"__name__": "example"})
    made = tmp_path / "radiance" / "2026_11_01" / raw.name
    with open_cube(made) as cube:
        assert cube.lines.shape[0] == 3
        assert "uW" in cube.contents.attributes("datacube")["units"]
        assert np.isfinite(cube.lines[:]).any()
    if page == "coming_from_dcnum.md":
        said = capsys.readouterr().out
        assert "done, 100 %, 3 of 3 lines" in said
        assert str(made) in said
