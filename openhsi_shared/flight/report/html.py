"""Small parts of the page as HTML; every text is escaped here."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

from openhsi_shared.flight.report.cubes import Image
from openhsi_shared.flight.report.facts import Range
from openhsi_shared.printable import printable

__all__ = ["Cell", "image", "items", "number", "range_text", "seconds_text", "section", "table", "text", "tile"]


class Cell(NamedTuple):
    """A cell of a table: its text, and its class ("n" a number, "t" a time, "bad")."""

    text: str
    kind: str = ""


def text(value: object) -> str:
    """A text of a file, as HTML."""
    return escape(printable(str(value)))


def section(title: str, *parts: str) -> str:
    """A section, unless all its parts are empty."""
    found = "\n".join(part for part in parts if part)
    return f"<section><h2>{text(title)}</h2>\n{found}</section>" if found else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]], n_more: int = 0) -> str:
    """A table, without columns that are empty; "" without rows. A head that begins with "#" is above numbers."""
    cells = [[one if isinstance(one, Cell) else Cell(one) for one in row] for row in rows]
    if not cells:
        return ""
    shown = [number for number in range(len(heads)) if any(row[number].text for row in cells)]
    body = ["".join(_cell(row[number]) for number in shown) for row in cells]
    head = "".join(_head(heads[number]) for number in shown)
    more = f'<p class="note">and {n_more:,} more, in the JSON</p>' if n_more > 0 else ""
    lines = "\n".join(f"<tr>{row}</tr>" for row in body)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{lines}</tbody></table></div>{more}'


def _head(title: str) -> str:
    return f'<th class="n">{text(title[1:])}</th>' if title[:1] == "#" else f"<th>{text(title)}</th>"


def _cell(cell: Cell) -> str:
    return f'<td class="{cell.kind}">{text(cell.text)}</td>' if cell.kind else f"<td>{text(cell.text)}</td>"


def items(kind: str, texts: Iterable[str]) -> str:
    """A list of sentences; "" if there are none."""
    found = "\n".join(f"<li>{text(one)}</li>" for one in texts)
    return f'<ul class="{kind}">{found}</ul>' if found else ""


def tile(name: str, value: str, under: str, kind: str = "") -> str:
    """A number of the summary, with its name above and a note below."""
    return (
        f'<div class="tile {kind}"><div class="name">{text(name)}</div><div class="value">{text(value)}</div>'
        f'<div class="under">{text(under)}</div></div>'
    )


def image(one: Image, label: str) -> str:
    """A picture within the page."""
    data = base64.b64encode(one.data).decode("ascii")
    size = f'width="{one.width}" height="{one.height}"'
    return f'<img src="data:image/jpeg;base64,{data}" {size} alt="{text(label)}">'


def number(value: float | None, unit: str = "", digits: int = 4) -> str:
    """A number with so many significant digits; whole numbers with all; "" for None."""
    if value is None:
        return ""
    found = (
        f"{value:,}"
        if isinstance(value, int)
        else f"{value:.{digits}g}"
        if abs(value) < 10**digits
        else f"{value:,.0f}"
    )
    return f"{found} {unit}".strip()


def range_text(one: Range | None, unit: str = "", factor: float = 1.0) -> str:
    """From the least to the greatest."""
    if one is None:
        return ""
    low, high = number(factor * one.minimum), number(factor * one.maximum)
    return f"{low} {unit}".strip() if low == high else f"{low} to {high} {unit}".strip()


def seconds_text(seconds: float | None) -> str:
    """A duration.

    >>> seconds_text(0.0312), seconds_text(75.4), seconds_text(7512)
    ('31.2 ms', '1 min 15 s', '2 h 5 min')
    """
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = int(seconds // 60)
    return f"{minutes} min {int(seconds % 60)} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
