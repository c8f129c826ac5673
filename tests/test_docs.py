"""What the documents promise about each other: links lead somewhere, and every decision stands in its index."""

import inspect
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("assets/*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    missing = [link for link in links if not (document.parent / link).exists()]
    assert not missing


def test_what_the_start_page_leads_to_is_on_the_site() -> None:
    links = re.findall(r"\]\((\w+(?:\.md)?)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    pages = (ROOT / "docs" / "site_pages.py").read_text(encoding="utf-8")
    assert [link for link in links if f'"{link}"' not in pages] == []


def test_every_decision_stands_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    files = {path.name for path in folder.glob("[0-9]*.md")}
    assert set(re.findall(r"\]\((\d{4}[^)]*)\)", index)) == files


def test_every_public_name_has_one_place_in_the_reference() -> None:
    import openhsi_shared

    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md"))
    names = re.findall(r"^::: openhsi_shared\.(\w+)$", pages, re.MULTILINE)
    in_pages_of_modules = {"OpenHSIError"}
    assert sorted(names) == sorted(set(openhsi_shared.__all__) - in_pages_of_modules | {"errors", "drivers"})


@pytest.mark.parametrize("package", ["analysis", "channels", "jobs", "matching", "testing", "viewer"])
def test_every_name_that_a_package_promises_is_in_the_reference(package: str) -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md"))
    places = re.findall(r"^::: (openhsi_shared[\w.]*)\.(\w+)$", pages, re.MULTILINE)
    shown = [getattr(import_module(module), name) for module, name in places]
    of_modules = [getattr(one, name) for one in shown if inspect.ismodule(one) for name in one.__all__]
    promised = import_module(f"openhsi_shared.{package}")
    found = {id(one) for one in (*shown, *of_modules)}
    assert [name for name in promised.__all__ if id(getattr(promised, name)) not in found] == []


def test_every_name_that_a_page_imports_can_be_imported() -> None:
    pages = [*DOCUMENTS, *ROOT.glob("notebooks/*.ipynb")]
    text = "\n".join(page.read_text(encoding="utf-8").replace("\\n", "\n") for page in pages)
    imports = re.findall(r"^\W*from (openhsi_shared[\w.]*) import ([\w, ]+)", text, re.MULTILINE)
    names = {(module, name.split()[0]) for module, names in imports for name in names.split(",") if name.strip()}
    assert len(names) > 50
    assert [each for each in sorted(names) if not _can_be_imported(*each)] == []


def _can_be_imported(module: str, name: str) -> bool:
    return hasattr(import_module(module), name) or find_spec(f"{module}.{name}") is not None


def test_what_the_changelog_calls_the_newest_is_the_version() -> None:
    import openhsi_shared

    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (newest, *_) = re.findall(r"^## \[?(\d+\.\d+\.\d+)", text, re.MULTILINE)
    assert newest == openhsi_shared.__version__
