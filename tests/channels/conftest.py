"""The contract of channels shows its values when a test fails."""

import pytest

pytest.register_assert_rewrite("openhsi_shared.testing")
