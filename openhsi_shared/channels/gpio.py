"""A button that starts and stops recordings, and a lamp that shows how they are: pins of a small computer, by gpiozero.

Pins have the names of gpiozero: 17 and "GPIO17" are the same, "BOARD11" is the place on the header.
"""

import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self

from openhsi_shared.errors import ChannelError, RecordingError
from openhsi_shared.packages import needed_by
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["ButtonToggle", "RecordingLamp", "pin_errors"]

BOUNCE_S = 0.05
"""A press so shortly after another one is the same: contacts bounce."""
POLL_INTERVAL_S = 0.25
BLINK_S = 0.1
"""On, and off, while it blinks."""
SHOWN_S = 2.0
"""A loss is shown for so long."""


@contextmanager
def pin_errors(what: str) -> Iterator[None]:
    """Around the import and use of gpiozero: PackageMissing (extra `gpio`), ChannelError with `what` for its errors."""
    with needed_by(what, "gpio"):
        from gpiozero import GPIOZeroError
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # which libraries it has tried
            yield
    except GPIOZeroError as error:
        hint = ": this computer has none, or its library (such as lgpio) is not installed"
        raise ChannelError(f"{what}: {error}{hint if isinstance(error, ImportError) else ''}") from error


class _OnPin:
    """What is on a pin, which is given back at the end of a `with` block."""

    def close(self) -> None:
        """Give the pin back. Idempotent."""
        raise NotImplementedError(f"{type(self).__name__} must define close()")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ButtonToggle(_OnPin):
    """A button between a pin and ground, as `toggle=` of `record`: each press switches `status`, which begins false.

    ::

        with ButtonToggle(17) as button:
            while button.wait():
                with record(SharedSimulatedCamera, "flight", toggle=button) as run:
                    run.wait()
    """

    def __init__(self, pin: int | str) -> None:
        """PackageMissing without gpiozero (extra `gpio`), ChannelError for a pin that cannot be used."""
        self._is_on = threading.Event()
        self._pressed_at = 0.0
        self.n_pressed = 0
        """How often it was pressed."""
        with pin_errors(f"button on pin {pin}"):
            from gpiozero import Button

            self._button = Button(pin)
            self._button.when_pressed = self._press

    def _press(self) -> None:
        now = time.monotonic()
        is_new, self._pressed_at = now - self._pressed_at > BOUNCE_S, now
        if not is_new:
            return
        self.n_pressed += 1
        if self._is_on.is_set():
            self._is_on.clear()
        else:
            self._is_on.set()

    @property
    def status(self) -> bool:
        """Whether one wants to record."""
        return self._is_on.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until it is switched on; false after `timeout_s`."""
        return self._is_on.wait(timeout_s)

    def close(self) -> None:
        """Give the pin back. Idempotent."""
        self._button.close()


class _Run(Protocol):
    """What a lamp reads of a recording."""

    @property
    def is_running(self) -> bool: ...

    def status(self) -> Any: ...


class RecordingLamp(_OnPin):
    """A lamp on a pin: on while a recording runs, blinking fast while it loses lines or does not answer, else off."""

    def __init__(self, pin: int | str) -> None:
        """PackageMissing without gpiozero (extra `gpio`), ChannelError for a pin that cannot be used."""
        with pin_errors(f"lamp on pin {pin}"):
            from gpiozero import LED

            self._lamp = LED(pin)
        self._stopping = threading.Event()
        self._thread: GuardedThread | None = None

    def follow(self, run: _Run) -> None:
        """Show a recording, such as the handle of `record` or `record_all`, until it has ended. Returns at once."""
        self._stop()
        self._stopping.clear()
        self._thread = GuardedThread(
            self._show,
            run,
            name="lamp",
            failure="the lamp does not show the recording any more",
            on_failure=lambda _error: self._lamp.off(),
        )
        self._thread.start()

    def _show(self, run: _Run) -> None:
        n_lost, lost_at, shown = 0, -SHOWN_S, ""
        while run.is_running and not self._stopping.is_set():
            try:
                lost_now = run.status().lines_lost
            except RecordingError:
                lost_now = n_lost + 1  # unknown: it does not answer
            if lost_now > n_lost:
                n_lost, lost_at = lost_now, time.monotonic()
            wanted = "blinking" if time.monotonic() - lost_at < SHOWN_S else "on"
            if wanted != shown:
                shown = wanted
                if wanted == "blinking":
                    self._lamp.blink(BLINK_S, BLINK_S)
                else:
                    self._lamp.on()
            self._stopping.wait(POLL_INTERVAL_S)
        self._lamp.off()

    def _stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None

    def close(self) -> None:
        """Switch it off, and give the pin back. Idempotent."""
        self._stop()
        self._lamp.close()
