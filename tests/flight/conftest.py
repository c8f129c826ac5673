"""A real browser for the page of a report."""

from tests.viewer.conftest import browser, look, shared_browser

__all__ = ["browser", "look", "shared_browser"]
