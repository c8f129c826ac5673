"""Window and exposure features of a XIMEA camera, which has a separate call for each."""

from typing import Any, Protocol

from openhsi_shared.drivers.features import Kind

__all__ = ["Exposure", "OptionalCalls", "WindowNumber"]


class OptionalCalls(Protocol):
    """An open camera of XIMEA."""

    camera: Any

    def try_call(self, method: str, *values: Any, otherwise: Any = None) -> Any:
        """Call a method that not every camera and version has; None if it is missing."""


class WindowNumber:
    """Width, height or an offset; `name` as in XIMEA's calls, such as "width" in `get_width`."""

    kind = Kind.INTEGER

    def __init__(self, connection: OptionalCalls, name: str) -> None:
        self._connection, self._name = connection, name

    def is_readable(self) -> bool:
        """Always."""
        return True

    def is_writable(self) -> bool:
        """True: only used before the stream starts."""
        return True

    def get(self) -> int:
        """Current value."""
        return int(getattr(self._connection.camera, f"get_{self._name}")())

    def set(self, value: Any) -> None:
        """Set it."""
        getattr(self._connection.camera, f"set_{self._name}")(value)

    def limits(self) -> tuple[float, float, float]:
        """Minimum, maximum, increment; the maximum offset depends on the size."""
        step = self._connection.try_call(f"get_{self._name}_increment") or 1
        least = 0 if self._name.startswith("offset") else self._connection.try_call(f"get_{self._name}_minimum") or step
        return least, getattr(self._connection.camera, f"get_{self._name}_maximum")(), step

    def choices(self) -> list[str]:
        """None: it is a number."""
        return []


class Exposure:
    """Exposure in whole microseconds."""

    kind = Kind.INTEGER

    def __init__(self, connection: OptionalCalls) -> None:
        self._connection = connection

    def is_readable(self) -> bool:
        """Always."""
        return True

    def is_writable(self) -> bool:
        """Always."""
        return True

    def get(self) -> int:
        """Actual exposure of the sensor."""
        return int(self._connection.camera.get_exposure())

    def set(self, value: Any) -> None:
        """Set it at once, also while streaming."""
        self._connection.camera.set_exposure_direct(value)

    def limits(self) -> tuple[float, float, float]:
        """Minimum and maximum; the camera rounds to the increment of the sensor."""
        low, high = (
            self._connection.try_call("get_exposure_minimum"),
            self._connection.try_call("get_exposure_maximum"),
        )
        return low or 1, high or 60_000_000, 0

    def choices(self) -> list[str]:
        """None: it is a number."""
        return []
