"""What all tests share: none may leave a process or shared memory behind."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.leaks import LeakWatch

PATIENCE_S = 5.0
"""What just ends, or is just swept away, may take so long."""


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    watch = LeakWatch()
    yield
    request.node.funcargs.clear()  # else pytest would keep what the test was given, closed or not
    watch.check(PATIENCE_S)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a runtime directory of its own, with a path short enough for a socket, and no screen."""
    with tempfile.TemporaryDirectory(prefix="ohs") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.delenv("DISPLAY", raising=False)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        yield Path(folder)
