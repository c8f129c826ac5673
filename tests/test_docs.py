"""What the documents promise about each other: links lead somewhere, and every decision stands in its index."""

import re
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


def test_what_the_changelog_calls_the_newest_is_the_version() -> None:
    import openhsi_shared

    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (newest, *_) = re.findall(r"^## \[?(\d+\.\d+\.\d+)", text, re.MULTILINE)
    assert newest == openhsi_shared.__version__
