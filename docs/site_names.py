"""The site is not built if a public name has no place in the reference, or no docstring: it would be left out silently.

A hook of MkDocs.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[1]
PACKAGES = ("", "analysis", "channels", "jobs", "matching", "testing", "viewer")
"""Those of which users import names."""
PLACE = re.compile(r"^::: (openhsi_shared)\.([\w.]+)$", re.MULTILINE)


def on_pre_build(**_: Any) -> None:
    """Check the names."""
    package: Any = griffe.load("openhsi_shared", search_paths=[str(ROOT)], resolve_aliases=True)
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md")]
    things = [package[name] for page in pages for _, name in PLACE.findall(page)]
    things += [member for one in things if one.is_module for member in one.members.values() if member.is_public]
    public = [package[part] if part else package for part in PACKAGES]
    exported = {one[name].canonical_path for one in public for name in one.exports}
    without_place = exported - {one.canonical_path for one in things}
    if without_place:
        raise PluginError(f"public names without a place in docs/reference: {sorted(without_place)}")
    without_docstring = sorted({name for one in things for name in _without_docstring(one)})
    if without_docstring:
        raise PluginError(f"public names without a docstring: {without_docstring}")


def _without_docstring(thing: Any) -> Iterator[str]:
    """Paths of the thing and its members that have none, nor inherit one; special methods need none."""
    for one in (thing, *thing.all_members.values()):
        if one.is_public and not one.is_module and not one.name.startswith("__") and not _is_documented(thing, one):
            yield one.path


def _is_documented(thing: Any, one: Any) -> bool:
    inherited = [base.members.get(one.name) for base in thing.mro()] if thing.is_class else []
    return one.has_docstring or any(member is not None and member.has_docstring for member in inherited)
