"""Calls that keep the document of a browser up to date, with an outermost handler."""

from collections.abc import Callable
from typing import Any

from openhsi_shared.loggers import safe_logger

__all__ = ["update_periodically"]

logger = safe_logger(__name__)


def update_periodically(
    document: Any, update: Callable[[], object], interval_ms: int, show_failure: Callable[[str], object]
) -> None:
    """Call `update()` in the server's thread at this interval, until it raises.

    Then the failure is logged, and `show_failure(text)` must show in the document that it is no longer updated: bokeh
    would log the same failure at each interval, beside a page that looks alive.
    """

    def call() -> None:
        try:
            update()
        except Exception as error:
            document.remove_periodic_callback(callback)
            logger.error("a page is no longer updated: %s: %s", type(error).__name__, error, exc_info=error)
            show_failure(f"no longer updated ({type(error).__name__}: {error}): open another page")

    callback = document.add_periodic_callback(call, interval_ms)
