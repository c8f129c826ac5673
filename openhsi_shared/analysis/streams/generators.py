"""Events of a class of the user's, as the `-s module:Source` of dranspose: `get_source_generators()`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from openhsi_shared.analysis.importing import class_of
from openhsi_shared.analysis.streams.carried import CarriedRanges
from openhsi_shared.analysis.streams.decoding import TimedEvent, event_of
from openhsi_shared.analysis.streams.merged import MergedRanges, MergedReader
from openhsi_shared.analysis.streams.source import Source
from openhsi_shared.errors import AnalysisError, OpenHSIError

__all__ = ["GeneratorSource"]


@dataclass(frozen=True)
class GeneratorSource(Source):
    """A class, or "module:Class", whose `get_source_generators()` returns generators of events.

    Events are those of dranspose (`InternalWorkerMessage`) or of this package, in any case with `event_number` and
    `streams`. Several generators are merged by event number.
    """

    made_by: type | str

    def ranges(self) -> MergedRanges:
        """Make the object and its generators. AnalysisError if that fails."""
        of = class_of(self.made_by, "source")
        if not callable(getattr(of, "get_source_generators", None)):
            raise AnalysisError(f"source {of.__name__} has no method get_source_generators()")
        name = f"{of.__module__}:{of.__qualname__}"
        try:
            generators = [iter(generator) for generator in of().get_source_generators()]
        except Exception as error:
            raise AnalysisError(f"source {name} failed at its start: {error!r}") from error
        if not generators:
            raise AnalysisError(f"source {name}: get_source_generators() returned no generator")
        names = [f"generator {index} of {name}" for index in range(len(generators))]
        sources = [CarriedRanges(_events(*pair), pair[1]) for pair in zip(generators, names, strict=True)]
        return MergedRanges(sources, names)

    def reader(self) -> MergedReader:
        """Ranges carry their events."""
        return MergedReader()

    def __getstate__(self) -> dict[str, Any]:
        """Workers need not import the class."""
        return {"made_by": str(self.made_by)}


def _events(generator: Iterator[object], name: str) -> Iterator[TimedEvent]:
    n = 0
    while True:
        try:
            message = next(generator)
        except StopIteration:
            return
        except OpenHSIError:
            raise
        except Exception as error:
            raise AnalysisError(f"{name} failed after {n} events: {error!r}") from error
        try:
            yield event_of(message)
        except (TypeError, AttributeError, ValueError) as error:
            raise AnalysisError(f"{name}: event {n}: {error}") from error
        n += 1
