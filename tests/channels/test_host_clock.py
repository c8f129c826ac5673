"""The state of this computer's clock is what the kernel says."""

import json
import sys

import pytest

from openhsi_shared.channels.host_clock import HostClock, host_clock
from tests.support.helpers import run_python


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="adjtimex is of Linux")
def test_the_kernel_knows_whether_the_clock_is_synchronised() -> None:
    found = host_clock()
    assert found.is_synchronised in (True, False)
    assert found.max_error_s is None or 0 <= found.max_error_s < 16


def test_what_is_not_known_is_no_number() -> None:
    assert HostClock(None, None).attributes == {"host_clock": "unknown"}
    assert HostClock(True, 0.002).attributes == {"host_clock": "synchronised", "host_clock_max_error_s": 0.002}
    assert HostClock(False, None).attributes == {"host_clock": "not synchronised"}


def test_a_system_without_the_call_is_unknown() -> None:
    code = (
        "import ctypes, json; from openhsi_shared.channels import host_clock as module; "
        "ctypes.CDLL = lambda *a, **k: object(); print(json.dumps(module.host_clock()))"
    )
    done = run_python("-c", code)
    assert json.loads(done.stdout) == [None, None], done.stderr
