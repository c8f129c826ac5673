"""Analysis: a worker and a reducer of the user's, on every line, live or replayed, with the same numbers.

`streams` makes numbered events of captures, cubes and slots, `work` lets workers process batches of them and the
reducer their results, `replaying` and `live` are the two ways to run that.
Names are imported on first access (PEP 562).
"""

from typing import TYPE_CHECKING

from openhsi_shared.lazy_names import lazy_names

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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "analysis.live.analysis": "Analysis",
        "analysis.parameters": "BinaryParameter BoolParameter FloatParameter IntParameter StrParameter",
        "analysis.replaying.replay": "replay",
        "analysis.replaying.session": "Replayed",
        "errors": "AnalysisError CaptureError ParameterError",
    },
)
