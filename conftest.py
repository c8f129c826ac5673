"""How tests run unless the command line says otherwise: several at a time, each with a limit."""

import os

import pytest

TIMEOUT_S = 120
"""For one test; a few that are known to take longer have a mark of their own."""
MAX_WORKERS = 4
"""More would disturb the tests that record at a rate."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Set what could stand in `addopts` if pytest-xdist and pytest-timeout were always installed."""
    option = config.option
    if getattr(option, "timeout", 0) is None:
        option.timeout = TIMEOUT_S
    is_looked_at = option.usepdb or option.trace or option.capture == "no" or option.collectonly
    if getattr(option, "numprocesses", 0) is None and not hasattr(config, "workerinput") and not is_looked_at:
        option.numprocesses = min(len(os.sched_getaffinity(0)), MAX_WORKERS)
        option.dist = "loadgroup"
