"""Contract tests for authors of drivers (`CameraContract`), channels (`ChannelContract`) and stages (`StageContract`).

With `pytest.register_assert_rewrite("openhsi_shared.testing")` in your conftest.py, failures show their values.
"""

from openhsi_shared.testing.camera_contract import CameraContract, closing, noise, streaming
from openhsi_shared.testing.channel_contract import ChannelContract, Delivered
from openhsi_shared.testing.leftovers import belongings
from openhsi_shared.testing.stage_contract import StageContract, format_of, run_stage

__all__ = [
    "CameraContract",
    "ChannelContract",
    "Delivered",
    "StageContract",
    "belongings",
    "closing",
    "format_of",
    "noise",
    "run_stage",
    "streaming",
]
