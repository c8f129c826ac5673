"""`--button` and `--lamp` of `record`: a recording from each press to the next one, and a lamp that shows it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

from openhsi_shared.cli.output import echo

if TYPE_CHECKING:
    from openhsi_shared.channels.gpio import ButtonToggle, RecordingLamp
    from openhsi_shared.flight.together.recordings import Recordings
    from openhsi_shared.recording.run import Recording

__all__ = ["Pins", "pin_from"]


def pin_from(text: Any) -> int | str:
    """A number, or the name of a pin."""
    return int(text) if str(text).isdigit() else str(text)


class Pins:
    """The pins of a command; without any, there is one recording, at once."""

    def __init__(self, button: "ButtonToggle | None" = None, lamp: "RecordingLamp | None" = None) -> None:
        self.button, self._lamp, self._n_pressed = button, lamp, 0

    @classmethod
    @contextmanager
    def of(cls, button: int | str | None, lamp: int | str | None) -> Iterator[Self]:
        """Use these pins in the block. PackageMissing, ChannelError for those that cannot be used."""
        with ExitStack() as opened:
            of_button = of_lamp = None
            if button is not None or lamp is not None:
                from openhsi_shared.channels.gpio import ButtonToggle, RecordingLamp

                of_button = None if button is None else opened.enter_context(ButtonToggle(button))
                of_lamp = None if lamp is None else opened.enter_context(RecordingLamp(lamp))
            yield cls(of_button, of_lamp)

    def wait(self) -> None:
        """Block until the button is pressed, if there is one."""
        if self.button is not None and not self.button.status:
            echo("waiting for the button", err=True)
            self.button.wait()
        self._n_pressed = 0 if self.button is None else self.button.n_pressed

    def show(self, run: "Recording | Recordings") -> None:
        """Let the lamp show a recording, or those of several cameras."""
        if self._lamp is not None:
            self._lamp.follow(run)

    @property
    def go_on(self) -> bool:
        """Whether the button was pressed since `wait`: that ended the recording, another one begins at the next press.

        It may have been pressed again since, while the last cube was saved.
        """
        return self.button is not None and self.button.n_pressed > self._n_pressed
