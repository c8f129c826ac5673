"""What code of users raised, as text and as one of our errors."""

import traceback

from openhsi_shared.analysis.work.messages import EventFailure
from openhsi_shared.errors import AnalysisError

__all__ = ["failed", "failure_of"]

MAX_LENGTH = 1000
"""Of the text of an error, in characters: it may contain a whole array."""


def failure_of(event_number: int, error: BaseException, is_first: bool = True) -> EventFailure:
    """Describe what an event raised; only the first one of several with its traceback."""
    return EventFailure(event_number, _text(error), "".join(traceback.format_exception(error)) if is_first else "")


def failed(what: str, error: BaseException, event_number: int | None = None) -> AnalysisError:
    """Return an error of ours for what code of a user raised, with its traceback."""
    where = "".join(traceback.format_exception(error))
    return AnalysisError(f"{what}: {_text(error)}", event_number=event_number, where=where)


def _text(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except BaseException as second:  # noqa: BLE001 - an error of a user whose text fails is still reported
        text = f"(its text cannot be made: {type(second).__name__})"
    return f"{type(error).__name__}: {text}"[:MAX_LENGTH] if text else type(error).__name__
