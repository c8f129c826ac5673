"""`pytest -k P7` selects the tests of that fault of docs/reliability.md: their docstrings begin with its id."""

import re
from pathlib import Path

import pytest
from injuring import Faults


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        words = getattr(getattr(item, "function", None), "__doc__", None) or ""
        begin = re.match(r"((?:[PLDMCKIRS]\d+[,:] ?)+)", words)
        if begin:
            item.extra_keyword_matches.update(re.findall(r"\w+", begin[1]))


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Faults:
    """To let the writers of a test fail."""
    return Faults(monkeypatch, tmp_path / "marks")


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A place of its own for doors and rescued cubes."""
    folder = tmp_path / "temporary"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder
