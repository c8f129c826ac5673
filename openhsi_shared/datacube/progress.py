"""Progress bars, shown where somebody looks: on a terminal or in a notebook."""

import multiprocessing
import sys
import threading
import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # tqdm's advice to install ipywidgets: without them the bar is one of text
    from tqdm.auto import tqdm  # here, since a Ctrl-C during the first import would leave it half done
    from tqdm.std import tqdm as plain_tqdm

__all__ = ["progress_bar"]


def progress_bar(total: int | None, what: str, unit: str, shown: bool = True) -> Any:
    """Return a tqdm bar on stderr; silent where there is neither a terminal nor a notebook."""
    _lock_without_a_name()
    in_notebook = "ipykernel" in sys.modules
    disable = not shown or not (in_notebook or sys.stderr.isatty())
    return tqdm(total=total, desc=what, unit=unit, disable=disable, leave=in_notebook)


def _lock_without_a_name() -> None:
    """Where children are not forked, tqdm's lock for them has a name in /dev/shm, which `kill -9` of all leaves there.

    Such children have no part in it, so that a lock for threads is as good.
    """
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    if method != "fork" and not hasattr(plain_tqdm, "_lock"):
        plain_tqdm.set_lock(threading.RLock())
