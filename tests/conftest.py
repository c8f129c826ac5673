"""What all tests share: none may leave a process or shared memory behind."""

import itertools
import logging
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("openhsi_shared.testing")  # before anything imports it

from tests.support.leaks import LeakWatch  # noqa: E402

TIMEOUT_S = 20.0
"""What just ends, or is just swept away, may take so long."""
_numbers = itertools.count()
"""Of directories of tests."""


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    watch = LeakWatch()
    yield
    # what pytest itself keeps: the fixtures of the test, and exceptions that were logged, with all that they know
    request.node.funcargs.clear()
    caplog.get_records("setup").clear()
    caplog.get_records("call").clear()
    watch.check(TIMEOUT_S)


@pytest.fixture(autouse=True, scope="session")
def _no_rescued_cubes_in_the_home_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As pytest's, with a short name: the path of a socket may not be longer than 107 bytes.

    Not by `mktemp`, which reads the names of the directories of all tests before.
    """
    name = re.sub(r"\W", "_", request.node.name.removeprefix("test_"))
    path = tmp_path_factory.getbasetemp() / f"{name[:12]}_{next(_numbers)}"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a runtime directory of its own, with a path short enough for a socket, and no screen."""
    with tempfile.TemporaryDirectory(prefix="ohs") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.delenv("DISPLAY", raising=False)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        yield Path(folder)


class _BrokenHandler(logging.Handler):
    """As of a widget that is gone."""

    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("the widget is gone")


@pytest.fixture
def broken_handler() -> Iterator[None]:
    """Make the logging handler of a user's program raise."""
    ours = logging.getLogger("openhsi_shared")
    ours.addHandler(handler := _BrokenHandler())
    yield
    ours.removeHandler(handler)
