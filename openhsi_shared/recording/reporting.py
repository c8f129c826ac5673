"""Errors and names of cubes as the parent of a recording needs them."""

from openhsi_shared.errors import OpenHSIError, RecordingError, SaveError
from openhsi_shared.recording.messages import Ended
from openhsi_shared.writer.pending import KEPT

__all__ = ["error_of", "number_of", "picklable", "without_handle_hint"]


def number_of(name: str) -> int:
    """Number of a cube, by the name of its handle: "cube 5"."""
    return int(name.rsplit(maxsplit=1)[-1])


def without_handle_hint(error: OpenHSIError) -> OpenHSIError:
    """The same error without the hint at `retry`: the user's process has no handle for that."""
    if not isinstance(error, SaveError):
        return error
    stripped = SaveError(error.errno, str(error.strerror).replace(f"; {KEPT}", ""), error.filename)
    for note in getattr(error, "__notes__", []):
        stripped.add_note(note)
    return stripped


def picklable(error: BaseException) -> BaseException:
    """The error itself, if it can be pickled, else a RecordingError with its text."""
    import pickle

    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever a user's exception does when pickled
        return RecordingError(f"{type(error).__name__}: {error}")
    return error


def error_of(ended: Ended) -> BaseException:
    """The error of a recording that has ended early, with the traceback of its process."""
    error = ended.error or RecordingError("the recording ended without a result")
    if ended.traceback:
        error.add_note(f"in the recording's process:\n{ended.traceback}")
    return error
