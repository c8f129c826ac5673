"""What all tests share: none may leave a process or shared memory behind."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.leaks import LeakWatch

PATIENCE_S = 5.0
"""What just ends, or is just swept away, may take so long."""
ONE_AT_A_TIME = {
    "cameras": ("drivers/test_basler", "drivers/test_genicam", "drivers/test_plug_in", "cli/test_cameras"),
    "rings": ("buffers/test_ring", "viewer/test_ring"),
}
"""Tests that share something of the machine, by the beginnings of their paths.

The emulated cameras of pylon, of GenTL and of Aravis disturb each other. Whoever makes a ring removes those of dead
makers.
"""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if group := _group_of(item):
            item.add_marker(pytest.mark.xdist_group(group))


def _group_of(item: pytest.Item) -> str | None:
    """Tests of the same group run one after the other, in the same process."""
    path = item.path.relative_to(Path(__file__).parent).as_posix()
    for group, begins in ONE_AT_A_TIME.items():
        if path.startswith(begins):
            return group
    if item.get_closest_marker("root"):
        return "disks and limits"
    fixtures = getattr(item, "_fixtureinfo", None)
    is_shared = fixtures and any(
        fixture.scope == "module" for made in fixtures.name2fixturedefs.values() for fixture in made
    )
    return path if is_shared else None


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
