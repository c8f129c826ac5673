"""A field for a text, and a button that marks the line being taken with it."""

from typing import Any

from openhsi_shared.viewer.feed import Feed

__all__ = ["MarkField"]


class MarkField:
    """Button and field."""

    def __init__(self, feed: Feed, style: Any) -> None:
        from bokeh.models import Button, TextInput

        self._feed = feed
        self.field: Any = TextInput(placeholder="text of a mark", stylesheets=[style], width=200)
        self.button: Any = Button(label="Mark", button_type="primary", stylesheets=[style], width=100)
        self.button.on_click(self._mark)

    def _mark(self) -> None:
        self._feed.mark(str(self.field.value))
        self.field.value = ""

    def update(self) -> None:
        """A recording that is over takes no marks."""
        is_over = self._feed.is_over
        if self.button.disabled != is_over:
            self.button.disabled = self.field.disabled = is_over
