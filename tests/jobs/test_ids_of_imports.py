"""What a function imports when it is called is in its id, as what its module has imported."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openhsi_shared.jobs.recipes.value_texts import text_of


def whole_module(line: Any) -> Any:
    import of_user

    return line * of_user.GAIN


def name_of_a_module(line: Any) -> Any:
    from of_user import GAIN as factor

    return line * factor


def function_of_a_module(line: Any) -> Any:
    from of_user import amplified

    return amplified(line)


def module_of_a_package(line: Any) -> Any:
    import package_of_user.gains

    return line * package_of_user.gains.GAIN


def name_of_a_package(line: Any) -> Any:
    from package_of_user import gains

    return line * gains.GAIN


def module_of_a_package_without_a_file(line: Any) -> Any:
    import folder_of_user.gains as found

    return line * found.GAIN


def within_a_function(line: Any) -> Any:
    def inner() -> Any:
        from of_user import GAIN

        return GAIN

    return line * inner()


FUNCTIONS = [
    whole_module,
    name_of_a_module,
    function_of_a_module,
    module_of_a_package,
    name_of_a_package,
    module_of_a_package_without_a_file,
    within_a_function,
]


@pytest.fixture
def change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Write the modules with another value, as if in a new process."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("package_of_user", "folder_of_user"):
        (tmp_path / name).mkdir()
    (tmp_path / "package_of_user/__init__.py").touch()

    def forget() -> None:
        for name in [name for name in sys.modules if "of_user" in name]:
            del sys.modules[name]
        importlib.invalidate_caches()

    def write(gain: int) -> None:
        forget()
        (tmp_path / "gains_of_user.py").write_text(f"GAIN = {gain}{' ' * gain}\n")
        (tmp_path / "of_user.py").write_text(
            "from gains_of_user import GAIN\ndef amplified(line):\n    return line * GAIN\n"
        )
        for name in ("package_of_user", "folder_of_user"):
            (tmp_path / name / "gains.py").write_text(f"GAIN = {gain}{' ' * gain}\n")

    yield write
    forget()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_change_of_what_a_function_imports_is_another_id(
    change: Callable[[int], None], function: Callable[[Any], Any]
) -> None:
    change(2)
    before = text_of(function)
    assert text_of(function) == before
    assert function(1) == 2
    assert text_of(function) == before
    change(3)
    assert text_of(function) != before
    change(2)
    assert text_of(function) == before


def test_a_package_without_a_file_is_no_library(change: Callable[[int], None]) -> None:
    change(2)
    found = importlib.import_module("folder_of_user.gains")
    package = sys.modules["folder_of_user"]

    def amplify(line: Any) -> Any:
        return line * package.gains.GAIN

    before = text_of(amplify)
    found.GAIN = 3  # type: ignore[attr-defined]
    assert text_of(amplify) != before


def test_what_cannot_be_imported_is_seen_when_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def lazy(line: Any) -> Any:
        import json.decoder
        import xml.dom.minidom

        try:
            import not_installed_anywhere as numpy_like
        except ImportError:
            import numpy as numpy_like
        return numpy_like.asarray(line), json.decoder, xml.dom.minidom

    monkeypatch.delitem(sys.modules, "xml.dom.minidom", raising=False)
    assert text_of(lazy) == text_of(lazy)
    assert "xml.dom.minidom" not in sys.modules  # libraries are not imported for an id


def test_what_its_module_makes_may_be_what_cannot_be_described(change: Callable[[int], None], tmp_path: Path) -> None:
    """A lock, or what has one: its source is in the id. Of a global of the function itself it would be refused."""

    def guarded(line: Any) -> Any:
        import guarded_of_user

        with guarded_of_user.kept["lock"]:
            return guarded_of_user.amplified(line)

    def write(gain: int) -> None:
        change(gain)
        (tmp_path / "guarded_of_user.py").write_text(
            "import threading\nfrom gains_of_user import GAIN\nkept = {'lock': threading.Lock()}\n"
            "def amplified(line):\n    assert kept['lock'].locked()\n    return line * GAIN\n"
        )

    write(2)
    before = text_of(guarded)
    assert guarded(1) == 2
    assert text_of(guarded) == before
    write(3)
    assert text_of(guarded) != before
