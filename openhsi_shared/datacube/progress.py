"""Progress bars, shown where somebody looks: on a terminal or in a notebook."""

import sys
from typing import Any

__all__ = ["progress_bar"]


def progress_bar(total: int | None, what: str, unit: str, shown: bool = True) -> Any:
    """Return a tqdm bar on stderr; silent where there is neither a terminal nor a notebook."""
    from tqdm.auto import tqdm

    in_notebook = tqdm.__module__ != "tqdm.std" and "ipykernel" in sys.modules
    disable = not shown or not (in_notebook or sys.stderr.isatty())
    return tqdm(total=total, desc=what, unit=unit, disable=disable, leave=in_notebook)
