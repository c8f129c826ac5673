"""The recordings that run on this machine, and which one a command means."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from openhsi_shared.cli.output import echo
from openhsi_shared.errors import RecordingError

if TYPE_CHECKING:
    from openhsi_shared.control.messages import Glance

__all__ = ["choose_recording", "choose_together"]


def choose_recording(name: str | None) -> Path:
    """Return the only control socket, or that of `name`. Several are listed, with exit code 1.

    RecordingError if there is none, or if it answered with an error.
    """
    return _only(_found(name))


def choose_together(name: str | None) -> dict[str, Path]:
    """As `choose_recording`, but of cameras that record together all control sockets, by the names of the cameras."""
    from openhsi_shared.control.messages import Glance

    found = _found(name)
    names = {answer.joint_name: path for path, answer in found.items() if isinstance(answer, Glance)}
    programs = {answer.program_id for answer in found.values() if isinstance(answer, Glance)}
    if len(found) > 1 and len(names) == len(found) and len(programs) == 1 and all(names):
        return dict(sorted(names.items()))
    return {"": _only(found)}


def _found(name: str | None) -> "dict[Path, Glance | RecordingError]":
    from openhsi_shared.control.control_socket import find_sockets, request
    from openhsi_shared.control.messages import AskGlance, Glance

    found: dict[Path, Glance | RecordingError] = {}
    for path in find_sockets():
        try:
            answer: Glance | RecordingError = request(path, AskGlance()).answer
        except OSError:
            answer = RecordingError("no response")
        except RecordingError as error:
            answer = error
        names = [path.stem, path.stem.split("-")[1]]
        if isinstance(answer, Glance):
            names += [str(answer.program_id), answer.joint_name]
        if name is None or name in names:
            found[path] = answer
    if not found:
        which = "of this user runs on this machine" if name is None else f"has the name {name!r}"
        raise RecordingError(f"no recording {which}: start one, for instance with `openhsi-shared record --view`")
    return found


def _only(found: "dict[Path, Glance | RecordingError]") -> Path:
    if len(found) > 1:
        echo("Several recordings are running; select one by its name:", err=True)
        for path, answer in found.items():
            echo(f"  {path.stem}  {_describe(answer)}", err=True)
        raise click.exceptions.Exit(1)
    ((path, answer),) = found.items()
    if isinstance(answer, RecordingError):
        raise RecordingError(f"{path.stem}: {answer}") from answer
    return path


def _describe(answer: "Glance | RecordingError") -> str:
    from openhsi_shared.control.status import RecordingStatus

    if isinstance(answer, RecordingError):
        return str(answer)
    status = answer.status
    what = f"recording for {status.seconds:.0f} s" if isinstance(status, RecordingStatus) else "camera"
    name = f"{answer.joint_name}, " if answer.joint_name else ""
    return f"{name}{answer.camera}, {what}, {status.lines:,} lines, into {answer.save_dir or 'no directory yet'}"
