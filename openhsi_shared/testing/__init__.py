"""Contract tests for authors of drivers (`CameraContract`) and of channels (`ChannelContract`).

With `pytest.register_assert_rewrite("openhsi_shared.testing")` in your conftest.py, failures show their values.
"""

from openhsi_shared.testing.camera_contract import CameraContract, closing, noise, streaming
from openhsi_shared.testing.channel_contract import ChannelContract, Delivered
from openhsi_shared.testing.leftovers import belongings

__all__ = ["CameraContract", "ChannelContract", "Delivered", "belongings", "closing", "noise", "streaming"]
