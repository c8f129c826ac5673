"""Window and exposure of a XIMEA camera, which has a call of its own for each."""

from typing import Any, Protocol

from openhsi_shared.drivers.features import Kind

__all__ = ["Asked", "Exposure", "WindowNumber"]


class Asked(Protocol):
    """An open camera of XIMEA."""

    camera: Any

    def ask(self, method: str, *values: Any, otherwise: Any = None) -> Any:
        """Call what not every camera and version has; None where it is not there."""


class WindowNumber:
    """Width, height or an offset: `name` as in XIMEA's calls, "width" of `get_width`."""

    kind = Kind.INTEGER

    def __init__(self, connection: Asked, name: str) -> None:
        self._connection, self._name = connection, name

    def is_readable(self) -> bool:
        """Always."""
        return True

    def is_writable(self) -> bool:
        """Before the stream begins, which is when it is asked."""
        return True

    def get(self) -> int:
        """The number now."""
        return int(getattr(self._connection.camera, f"get_{self._name}")())

    def set(self, value: Any) -> None:
        """Set it."""
        getattr(self._connection.camera, f"set_{self._name}")(value)

    def limits(self) -> tuple[float, float, float]:
        """Least, greatest, step; the greatest offset depends on the size."""
        step = self._connection.ask(f"get_{self._name}_increment") or 1
        least = 0 if self._name.startswith("offset") else self._connection.ask(f"get_{self._name}_minimum") or step
        return least, getattr(self._connection.camera, f"get_{self._name}_maximum")(), step

    def choices(self) -> list[str]:
        """None: it is a number."""
        return []


class Exposure:
    """The exposure in microseconds, whole ones."""

    kind = Kind.INTEGER

    def __init__(self, connection: Asked) -> None:
        self._connection = connection

    def is_readable(self) -> bool:
        """Always."""
        return True

    def is_writable(self) -> bool:
        """Always."""
        return True

    def get(self) -> int:
        """What the sensor really does."""
        return int(self._connection.camera.get_exposure())

    def set(self, value: Any) -> None:
        """Set it at once, also while frames come."""
        self._connection.camera.set_exposure_direct(value)

    def limits(self) -> tuple[float, float, float]:
        """Least and greatest; the camera rounds to the sensor's own step."""
        low, high = self._connection.ask("get_exposure_minimum"), self._connection.ask("get_exposure_maximum")
        return low or 1, high or 60_000_000, 0

    def choices(self) -> list[str]:
        """None: it is a number."""
        return []
