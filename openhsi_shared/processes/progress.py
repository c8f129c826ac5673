"""Progress bars, shown on a terminal or in a notebook."""

import multiprocessing
import sys
import threading
import warnings
from typing import Any

from openhsi_shared.processes.child import is_in_child
from openhsi_shared.standard_streams import TolerantStream, is_terminal

__all__ = ["progress_bar"]


def _tqdm() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm's advice to install ipywidgets: without them the bar is text
        from tqdm.autonotebook import tqdm
    return tqdm


if not is_in_child():  # which shows none, and starts sooner without it
    _tqdm()  # now, since Ctrl-C during a later first import would leave it incomplete


def progress_bar(total: int | None, what: str, unit: str, shown: bool = True) -> Any:
    """Return a tqdm bar on stderr; disabled if there is neither a terminal nor a notebook."""
    tqdm = _tqdm()
    _use_unnamed_lock()
    in_notebook = "ipykernel" in sys.modules
    if in_notebook:
        return tqdm(total=total, desc=what, unit=unit, disable=not shown)
    disable, stream = not (shown and is_terminal(sys.stderr)), TolerantStream(sys.stderr)
    return tqdm(total=total, desc=what, unit=unit, disable=disable, leave=False, file=stream)


def _use_unnamed_lock() -> None:
    """Replace tqdm's process lock, a named semaphore in /dev/shm that `kill -9` leaves behind, by a thread lock.

    Only if children are not forked: they do not share the lock then, so a thread lock is sufficient.
    """
    from tqdm.std import tqdm as plain_tqdm

    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    if method != "fork" and not hasattr(plain_tqdm, "_lock"):
        plain_tqdm.set_lock(threading.RLock())
