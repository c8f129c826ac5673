"""Progress bars, shown where somebody looks: on a terminal or in a notebook."""

import sys
import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # tqdm's advice to install ipywidgets: without them the bar is one of text
    from tqdm.auto import tqdm  # here, since a Ctrl-C during the first import would leave it half done

__all__ = ["progress_bar"]


def progress_bar(total: int | None, what: str, unit: str, shown: bool = True) -> Any:
    """Return a tqdm bar on stderr; silent where there is neither a terminal nor a notebook."""
    in_notebook = "ipykernel" in sys.modules
    disable = not shown or not (in_notebook or sys.stderr.isatty())
    return tqdm(total=total, desc=what, unit=unit, disable=disable, leave=in_notebook)
