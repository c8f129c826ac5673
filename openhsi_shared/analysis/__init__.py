"""Analysis: a worker and a reducer of the user's, on every line, live or replayed, with the same numbers.

`streams` makes numbered events of captures, cubes and slots, `work` lets workers process batches of them and the
reducer their results, `replay` and `live` are the two ways to run that. Names are imported on first access (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openhsi_shared.analysis.live.analysis import Analysis
    from openhsi_shared.analysis.parameters import (
        BinaryParameter,
        BoolParameter,
        FloatParameter,
        IntParameter,
        StrParameter,
    )
    from openhsi_shared.analysis.replaying.replay import replay
    from openhsi_shared.analysis.replaying.session import Replayed
    from openhsi_shared.errors import AnalysisError, CaptureError, ParameterError

__all__ = [
    "Analysis",
    "AnalysisError",
    "BinaryParameter",
    "BoolParameter",
    "CaptureError",
    "FloatParameter",
    "IntParameter",
    "ParameterError",
    "Replayed",
    "StrParameter",
    "replay",
]

_MODULES = {
    "Analysis": "analysis.live.analysis",
    "AnalysisError": "errors",
    "BinaryParameter": "analysis.parameters",
    "BoolParameter": "analysis.parameters",
    "CaptureError": "errors",
    "FloatParameter": "analysis.parameters",
    "IntParameter": "analysis.parameters",
    "ParameterError": "errors",
    "Replayed": "analysis.replaying.session",
    "StrParameter": "analysis.parameters",
    "replay": "analysis.replaying.replay",
}


def __getattr__(name: str) -> Any:
    """Import a name on first access (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"openhsi_shared.{_MODULES[name]}"), name)
