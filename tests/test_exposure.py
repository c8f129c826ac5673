"""Exposure and focus of lines."""

import numpy as np
import pytest

from openhsi_shared.columns import Saturation
from openhsi_shared.exposure import SaturationCounter, share_saturated


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 4095), (np.uint16, 65535)])
def test_only_saturated_pixels_of_the_counted_rows_are_counted(dtype, full):
    lines = np.random.default_rng(0).integers(full // 2, full + 1, (4, 12, 40), dtype)
    lines[1] = np.minimum(lines[1], full - 1)
    lines[2, 3:9] = full
    lines[3], lines[3, 0], lines[3, 3, 7] = 0, full, full
    counter = SaturationCounter(Saturation(full, 3, 9), (12, 40), np.dtype(dtype))
    assert [counter.share_of(line) for line in lines] == [share_saturated(line[3:9], full) for line in lines]
    assert [counter.share_of(line) for line in lines[1:]] == [0, 1, 1 / 240]
