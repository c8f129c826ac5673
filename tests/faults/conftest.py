"""`pytest -k P7` selects the tests of that fault of docs/reliability.md: their docstrings begin with its id."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disk_faults import BAD, Flight
from tests.support.process_faults import Faults


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        words = getattr(getattr(item, "function", None), "__doc__", None) or ""
        begin = re.match(r"((?:[PLDMCKIRS]\d+[,:] ?)+)", words)
        if begin:
            item.extra_keyword_matches.update(re.findall(r"\w+", begin[1]))


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Faults:
    """Injects faults into the writers of a test."""
    return Faults(monkeypatch, tmp_path / "marks")


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A place of its own for control sockets and rescued cubes."""
    folder = tmp_path / "temporary"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


@pytest.fixture(scope="module")
def shared_flight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flight]:
    with pytest.MonkeyPatch.context() as patch:
        flight = Flight(tmp_path_factory.mktemp("flight"), patch)
        yield flight
        flight.close()


@pytest.fixture
def flight(shared_flight: Flight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flight]:
    """The camera shared by all tests; a new one after each test that failed."""
    if shared_flight.is_damaged:
        another = Flight(tmp_path, monkeypatch)
        yield another
        another.close()
    else:
        shared_flight.is_damaged = True  # until `go_on` succeeds
        yield shared_flight


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A directory whose calls can fail."""
    folder = tmp_path / BAD
    folder.mkdir()
    return folder
