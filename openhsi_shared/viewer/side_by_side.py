"""The pages of several cameras as one page: each in a frame with its name, side by side if there is room."""

from collections.abc import Iterable
from html import escape

from openhsi_shared.viewer.theme import page_css

__all__ = ["page_of_pages"]

STYLE = """
body { display: flex; flex-wrap: wrap; gap: 8px; font-family: system-ui, "Noto Sans", sans-serif; }
section { flex: 1 1 620px; display: flex; flex-direction: column; height: 100%; min-height: 560px; }
h1 { font-size: 22px; margin: 4px 12px; }
h1 a { color: inherit; }
iframe { flex: 1; border: 0; width: 100%; }
"""


def page_of_pages(pages: Iterable[tuple[str, str]], missing: Iterable[str]) -> str:
    """HTML with (name, address) of each page, and the names of cameras that have none."""
    frames = "".join(
        f'<section><h1><a href="{escape(address)}" target="_blank">{escape(name)}</a></h1>'
        f'<iframe src="{escape(address)}" title="{escape(name)}"></iframe></section>\n'
        for name, address in pages
    )
    frames += "".join(f"<section><h1>{escape(name)}: not available</h1></section>\n" for name in missing)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>cameras · live</title>'
        f'<link rel="icon" href="data:,"><style>{page_css()}{STYLE}</style></head><body>\n{frames}</body></html>\n'
    )
