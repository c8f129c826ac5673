"""Colours and fonts of the live page: dark, high contrast for outdoor use; each colour has one meaning."""

from pathlib import Path
from typing import Any

__all__ = [
    "ACCENT",
    "BAD",
    "GOOD",
    "GREY",
    "INK",
    "PANEL",
    "PAPER",
    "STATES",
    "WARN",
    "css",
    "layout_css",
    "page_css",
    "plot_theme",
]

PAPER, PANEL, INK, GREY = "#05070a", "#10151c", "#ffffff", "#aab6c5"
GOOD, WARN, BAD, ACCENT = "#2fe07f", "#ffc233", "#ff3b3b", "#4db8ff"
STATES = {"FREE": "#39444f", "FILLING": ACCENT, "FULL": "#c78bff", "SAVING": WARN, "HELD": BAD, "LENT": "#5fb3a1"}
"""Colours of slots by state."""

_PLOT: dict[str, dict[str, Any]] = {
    "Plot": {
        "background_fill_color": PAPER,
        "border_fill_color": PANEL,
        "outline_line_color": "#3a4653",
        "min_border": 8,
    },
    "Axis": {
        "axis_line_color": GREY,
        "major_tick_line_color": GREY,
        "minor_tick_line_color": None,
        "major_label_text_color": INK,
        "major_label_text_font_size": "15px",
        "axis_label_text_color": INK,
        "axis_label_text_font_size": "15px",
        "axis_label_text_font_style": "normal",
        "axis_label_standoff": 4,
    },
    "Grid": {"grid_line_color": "#232d38"},
    "Title": {"text_color": INK, "text_font_size": "14px", "text_font_style": "bold"},
    "Toolbar": {"autohide": True, "logo": None},
    "Legend": {"background_fill_color": PANEL, "label_text_color": INK, "border_line_color": None},
}


def page_css() -> str:
    """Style of the page itself, with the colours that `css` uses."""
    return (
        f":root {{ --paper: {PAPER}; --panel: {PANEL}; --ink: {INK}; --grey: {GREY};"
        f" --good: {GOOD}; --warn: {WARN}; --bad: {BAD}; }}\n"
        f"html, body {{ background: {PAPER}; color: {INK}; margin: 0; height: 100%; }}\n"
    )


def css() -> str:
    """Style of the boxes."""
    return Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def layout_css() -> str:
    """Style of rows and columns."""
    return Path(__file__).with_name("layout.css").read_text(encoding="utf-8")


def plot_theme() -> Any:
    """Create the bokeh theme of all plots."""
    from bokeh.themes import Theme

    return Theme(json={"attrs": _PLOT})
