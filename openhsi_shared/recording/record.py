"""Start a nonstop recording."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from openhsi_shared.channels.attached import CONNECT_TIMEOUT_S
from openhsi_shared.recording.conditions import conditions_of
from openhsi_shared.recording.messages import RecordingSummary
from openhsi_shared.recording.plan import RecordingPlan
from openhsi_shared.recording.run import Recording

__all__ = ["record", "switched_camera"]


def record(
    camera: Callable[..., Any],
    save_dir: str | Path,
    *,
    n_lines: int = 1024,
    n_cubes: int | None = None,
    seconds: float | None = None,
    until: Callable[[], bool] | None = None,
    toggle: Any = None,
    n_buffers: int = 3,
    when_full: str = "drop",
    progress: bool = True,
    niceness: int = 0,
    cpus: Sequence[int] = (),
    realtime: bool = False,
    channels: Mapping[str, Any] | str | Path | None = None,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    analyse: Any = None,
    capture: str | Path | None = None,
    capture_every: int = 1,
    save_when: Callable[[], bool] | str | None = None,
    keep_before_s: float = 0.0,
    keep_after_s: float = 0.0,
    inside: str | Path | None = None,
    margin_m: float = 20.0,
    at_least_s: float = 1.0,
    **keywords: Any,
) -> Recording:
    """Record cubes of `n_lines` nonstop in a separate process; returns the handle once the camera is running.

    `camera` is a class such as SharedSimulatedCamera, or your own, also one defined in a notebook. The recording ends
    after `n_cubes` or `seconds`, when `until()` is true, when `toggle.status` (property or method) is no longer true,
    or with `stop`, whichever comes first; `until` and `toggle` are polled in this process, 50 times a second.
    `niceness` and `cpus` are for the recording process, if the system allows it. `realtime=True` schedules the thread
    that captures in real time (SCHED_FIFO), before all ordinary processes, for cameras with a short queue on a busy
    machine. `channels` are matched to the lines: a mapping of names to Channels or texts such as "ca:HSI:temp", or the
    path of a TOML file; the first line is taken when each required one has delivered a sample. `analyse` is an
    `Analysis`, (Worker, Reducer), or a list of these: they get every line in processes of their own, and are at
    `analysis` of the handle; a failure of one never ends the recording. `capture` is the path of a new file, .cbors or
    .cbors.gz, into which each `capture_every`-th line is written for dranspose and `replay`, as far as the disk keeps
    up: the recording loses nothing for it, and a full disk ends the capture with a warning.

    With `save_when` or `inside`, only events are saved. `save_when` is polled like `until`, or is a text: a condition
    on channels such as "lamp > 3.5", or "mark", the moment of each mark. `inside` is a GeoJSON or KML file: lines are
    wanted where the position of a GPS channel is in its polygons, or at most `margin_m` away; a crossing counts if it
    lasts `at_least_s`. Full cubes stay in memory, and when an event begins, those of the `keep_before_s` before it are
    saved, whole cubes. `keep_after_s` after the condition has ended the cube is closed, and it waits again; if the
    condition holds again meanwhile, the event goes on. In doubt lines are saved: while the condition raises, or its
    channel has no value. See docs/events.md.

    The keywords of `save` are passed to every save, the others to the camera. Raises what the camera's class raises,
    ArgumentError for other arguments that are not valid, SaveError if there is no space for one cube, RealTimeRefused
    if the system refuses `realtime`, and ChannelError for a required channel that cannot be opened, or delivers nothing
    within `connect_timeout_s`; AnalysisError and ParameterError for an analysis that does not fit, or cannot be
    started.
    """
    plan = RecordingPlan.of(
        camera,
        save_dir,
        n_lines=n_lines,
        n_cubes=n_cubes,
        seconds=seconds,
        n_buffers=n_buffers,
        when_full=when_full,
        niceness=niceness,
        cpus=cpus,
        realtime=realtime,
        channels={} if channels is None else channels,
        connect_timeout_s=connect_timeout_s,
        analyse=analyse,
        capture=capture,
        capture_every=capture_every,
        save_when=save_when,
        keep_before_s=keep_before_s,
        keep_after_s=keep_after_s,
        inside=inside,
        margin_m=margin_m,
        at_least_s=at_least_s,
        **keywords,
    )
    return Recording(plan, conditions_of(until, toggle), progress)


def switched_camera(
    cam_class: Callable[..., Any],
    n_lines: int = 128,
    processing_lvl: int = 0,
    json_path: str | Path | None = None,
    cal_path: str | Path | None = None,
    preconfig_meta: str | Path | None = None,
    ssd_dir: str | Path = "/media/pi/fastssd",
    toggle_interface: Any = None,
) -> RecordingSummary:
    """Record while a switch is on, as openhsi's function of the same name. Blocks until it is off."""
    with record(
        cam_class,
        ssd_dir,
        n_lines=n_lines,
        processing_lvl=processing_lvl,
        json_path=json_path,
        cal_path=cal_path,
        preconfig_meta_path=preconfig_meta,
        toggle=toggle_interface,
    ) as run:
        run.wait()
    return run.wait()
