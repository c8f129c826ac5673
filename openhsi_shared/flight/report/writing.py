"""Writes a report beside the cubes, or elsewhere."""

import json
import os
from pathlib import Path

from openhsi_shared.errors import SaveError
from openhsi_shared.flight.report.facts import FlightFacts
from openhsi_shared.flight.report.gathering import gather
from openhsi_shared.paths import given_path
from openhsi_shared.renaming import replace_file

__all__ = ["write_report"]

NAME = "report"
ENDINGS = (".html", ".json")


def write_report(
    directory: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, *, as_json: bool = False
) -> tuple[FlightFacts, list[Path]]:
    """Write `report.html` about the cubes in a directory and below; returns its numbers, and the paths of the files.

    `out` is a directory, or a name that ends with .html or .json; None: `directory`. With `as_json` also `report.json`,
    beside it. Earlier reports are replaced. Blocks for as long as it takes to read all bytes of the cubes. Raises what
    `gather` raises, SaveError if a file cannot be written; files that cannot be used are `problems` of the report.
    """
    from openhsi_shared.flight.report.page import page_of  # which takes matplotlib half a second

    gathered = gather(directory)
    target = given_path(directory if out is None else out, "out")
    target = target.with_suffix(".html") if target.suffix.lower() in ENDINGS else target / f"{NAME}.html"
    texts = {target: page_of(gathered)}
    if as_json:
        found = json.dumps(gathered.facts.as_json(), indent=1, ensure_ascii=False, allow_nan=False, default=str)
        texts[target.with_suffix(".json")] = f"{found}\n"
    return gathered.facts, [_write(path, text) for path, text in texts.items()]


def _write(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode(errors="backslashreplace"))
    except OSError as error:
        hint = f"{error.strerror}: choose another directory for the report, with out (--out)"
        raise SaveError(error.errno, hint, str(path)) from error
    return path
