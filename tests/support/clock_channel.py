"""A channel that is a clock proves itself: each value in a file is the time of its line."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared import open_cube, verify
from tests.support.flow import cubes_in

DAY_S = 86400


def prove_clock(directory: Path, name: str = "clock", most_s: float = 1e-4) -> tuple[NDArray[Any], NDArray[Any]]:
    """Every value of a channel that is a clock is the time of its line. Returns states and whether there is a value."""
    states, is_known = [], []
    for saved in cubes_in(directory):
        assert verify(saved.path).problems == ()
        with open_cube(saved.path) as cube:
            lines = cube.dataset
            values, ages, state = (lines[f"{name}{more}"].values for more in ("", "_age", "_state"))
            series = cube.channels[name].variables
            times, raw = np.asarray(series["time"].data), np.asarray(series["value"].data)
        assert np.allclose(raw, times / 1e9 % DAY_S, atol=1e-5)
        known = np.isfinite(values)
        off_s = (values - np.array(saved.times_ns) / 1e9) % DAY_S
        off_s = np.minimum(off_s, DAY_S - off_s)
        assert (off_s[known] < most_s).all()
        assert (np.abs(ages[known]) < 2.0).all()
        states += state.tolist()
        is_known += known.tolist()
    return np.array(states), np.array(is_known)
