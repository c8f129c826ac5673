"""Start several cameras that record together, such as VNIR and SWIR on one mount."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from openhsi_shared.cameras import camera_class
from openhsi_shared.channels.attached import CONNECT_TIMEOUT_S
from openhsi_shared.drivers import driver_class, driver_names
from openhsi_shared.errors import ArgumentError, OpenHSIError
from openhsi_shared.flight.together.recordings import Recordings, with_name
from openhsi_shared.recording.conditions import conditions_of
from openhsi_shared.recording.plan import RecordingPlan

__all__ = ["record_all"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
OF_ALL = ("save_dir", "until", "toggle", "progress", "channels", "connect_timeout_s")
"""Arguments that one camera cannot have of its own."""
OF_ONE = ("capture",)
"""Arguments that cameras cannot share."""


def record_all(
    cameras: Mapping[str, Any],
    save_dir: str | Path,
    *,
    until: Callable[[], bool] | None = None,
    toggle: Any = None,
    progress: bool = True,
    channels: Mapping[str, Any] | str | Path | None = None,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    **keywords: Any,
) -> "Recordings":
    """Record several cameras at once, nonstop, each in a process of its own; returns the handle of all of them.

    `cameras` are by name: {"vnir": (SharedXimeaCamera, {"n_lines": 512, "exposure_ms": 5}), "swir": ...}. Each is a
    class, a pair of class and keywords, or a mapping of keywords with the class, or the name of a driver, as `camera`.
    `keywords`, as of `record`, hold for all cameras, except where one has its own. The name is in the names of its
    files, before `.nc`, in their attribute `joint_name`, and in its entries of the log; its references are in the
    folder `NAME/references` of `save_dir`.

    One camera is opened after the other; when all are streaming, each takes its next frame as the first line: the first
    lines are less than a line period of the slower camera apart. All have one anchor from the monotonic clock to UTC,
    so that their times can be compared: see `Flight.pairs`. `channels` are opened once, and matched to the lines of
    each. Marks and pauses hold for all, also those by the live page or by `openhsi-shared mark`; so does a stop.

    Blocks until all are streaming. A camera that fails, at the start or later, is logged and named in `status`, and
    ends none of the others; `wait` raises it at the end. ArgumentError and what else `record` raises for
    what is given, SaveError or MemoryShortage if cubes or slots of all cameras together do not fit on the disk or into
    memory, and ChannelError for required channels that do not deliver, come at once, with the name of the camera, and
    nothing is recorded. RecordingError if no camera can be started.
    """
    common = {"connect_timeout_s": connect_timeout_s, **keywords}
    plans = _plans_of(cameras, save_dir, common, {} if channels is None else channels)
    return Recordings(plans, conditions_of(until, toggle), progress)


def _plans_of(
    cameras: Mapping[str, Any], save_dir: str | Path, common: Mapping[str, Any], channels: Any
) -> dict[str, RecordingPlan]:
    if not isinstance(cameras, Mapping) or not cameras:
        raise ArgumentError(f"record_all needs a mapping of names to cameras, got {cameras!r:.80}")
    for name in common.keys() & set(OF_ONE):
        raise ArgumentError(f"{name} is one file: give it to one camera, not to all")
    plans = {}
    for name, given in cameras.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ArgumentError(f"the name of a camera is of letters, digits, _ and -, as in file names; got {name!r}")
        try:
            camera, own = _camera_of(given)
            driver = getattr(camera, "driver_name", None)
            if driver and driver not in driver_names():
                driver_class(driver)  # which says what there is
            for key in own.keys() & set(OF_ALL):
                raise ArgumentError(f"{key} holds for all cameras: give it to record_all")
            keywords = {**common, **own}
            keywords["suffix"] = f"{keywords.get('suffix', '')}_{name}"
            plans[name] = RecordingPlan.of(camera, save_dir, **keywords, channels=channels)
        except OpenHSIError as error:
            raise with_name(error, name) from None
    return plans


def _camera_of(given: Any) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Class and keywords. ArgumentError for anything else."""
    own: Mapping[str, Any] = {}
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Mapping):
        given, own = given
    elif isinstance(given, Mapping):
        own = {key: value for key, value in given.items() if key != "camera"}
        given = given.get("camera")
    camera = camera_class(given) if isinstance(given, str) else given
    if not callable(camera):
        raise ArgumentError(
            "a camera is a class, (class, keywords), or keywords with `camera`, the class or the name of its driver; "
            f"got {given!r:.80}"
        )
    return camera, dict(own)
