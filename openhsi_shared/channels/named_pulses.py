"""Pulses of whole seconds, which the clock of a receiver names: then its offset is known to microseconds.

A receiver sends the number of the second after its pulse, and before the next one. The fit of its clock by arrivals
(`matching.clocks`) is behind by the least of these latencies, of which the pulses show all but whole seconds. A latency
that could as well be one of the second before names nothing: the pulses are then not used, which is logged.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.channels.properties import ChannelProperties
from openhsi_shared.loggers import safe_logger
from openhsi_shared.matching import ClockFit
from openhsi_shared.matching.pulses import SECOND_NS, PulseFit, wrapped

__all__ = ["PULSES", "BeyondFit", "NamedPulses"]

logger = safe_logger(__name__)

Times = NDArray[np.int64]

PULSES = "pps:"
"""Sources whose samples are pulses."""
UNKNOWN_UNCERTAINTY_S = 1e-4
"""Of a source that does not report the uncertainty of its pulses."""
EARLY_S, LATEST_S = 0.02, 0.9
"""A message is never before its second, but for errors of the fit, and not so late that it may be of the one before."""
FIT_S = 0.1
"""The most that the fit may be uncertain."""
AROUND_S = 0.4
"""By how much a latency may differ from the one that is given."""
WITH_FIX_NS = 5 * SECOND_NS
"""Receivers without a fix may send pulses that are no seconds: a fix must have come within once or twice this time."""
EVER_NS = -(2**62)
"""Before all times."""


class BeyondFit(NamedTuple):
    """What pulses show beyond the fit of a clock, at some times."""

    ns: Times
    """Added to the offset of the fit; 0 where it is not known."""
    uncertainty_ns: NDArray[np.float64]
    """Of the offset then; infinite where it is not known."""

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Where it is."""
        return np.isfinite(self.uncertainty_ns)


class NamedPulses:
    """The pulses of one channel, with the fixes of the receiver that names them."""

    def __init__(self, properties: ChannelProperties) -> None:
        self.name = properties.name
        self._latency_ns = round(properties.latency_s * 1e9)
        self._least_ns = UNKNOWN_UNCERTAINTY_S * 1e9
        self._fit = PulseFit()
        self._pulses: list[int] = []
        self._fixes: set[int] = set()
        self._used: Times | None = None
        self._is_warned = False

    def add(self, arrivals_ns: Times, least_uncertainty_s: object) -> None:
        """Add times of pulses, and the uncertainty that their source reports, if it does."""
        self._pulses += (arrivals_ns - self._latency_ns).tolist()
        self._used = None
        if isinstance(least_uncertainty_s, float):
            self._least_ns = least_uncertainty_s * 1e9

    def add_fixes(self, arrivals_ns: Times) -> None:
        """Add times of fixes of the receiver."""
        self._fixes.update(np.unique(arrivals_ns // WITH_FIX_NS).tolist())
        self._used = None

    def beyond(self, fit: ClockFit, receiver: ChannelProperties, at_ns: Times) -> BeyondFit:
        """What the pulses show at times of arrival."""
        pulses = self._with_fix()
        begins, ends = (np.array(times, np.int64) for times in _sections(fit))
        section = np.searchsorted(begins, at_ns, side="right") - 1
        found = BeyondFit(np.zeros(at_ns.shape, np.int64), np.full(at_ns.shape, np.inf))
        for number in np.unique(section):
            chosen = section == number
            first, stop = np.searchsorted(pulses, begins[number]), np.searchsorted(pulses, ends[number], side="right")
            part = self._named(pulses[first:stop], fit, receiver, at_ns[chosen])
            found.ns[chosen], found.uncertainty_ns[chosen] = part
        return found

    def _with_fix(self) -> Times:
        if self._used is None:
            pulses, fixes = np.sort(np.array(self._pulses, np.int64)), np.array(list(self._fixes), np.int64)
            near = np.concatenate([fixes - 1, fixes, fixes + 1])
            self._used = pulses[np.isin(pulses // WITH_FIX_NS, near)]
        return self._used

    def _named(self, pulses: Times, fit: ClockFit, receiver: ChannelProperties, at: Times) -> BeyondFit:
        phase_ns, uncertainty_ns = self._fit.phases(pulses, at, self._least_ns)
        of_fit_ns = np.minimum(fit.uncertainty_at_ns(at), FIT_S * 1e9 + 1).astype(np.int64)
        if receiver.latency_s:
            early_ns = np.full(at.shape, SECOND_NS // 2)
        else:
            early_ns = round(EARLY_S * 1e9) + of_fit_ns
        latency_ns = wrapped(phase_ns - fit.offset_ns(at), early_ns)
        if receiver.latency_s:
            is_clear = np.abs(latency_ns) <= AROUND_S * 1e9
        else:
            is_clear = latency_ns <= LATEST_S * 1e9 - of_fit_ns
        is_seen = np.isfinite(uncertainty_ns) & (of_fit_ns <= FIT_S * 1e9)
        self._warn(receiver, latency_ns[is_seen & ~is_clear])
        is_known = is_seen & is_clear
        return BeyondFit(np.where(is_known, latency_ns, 0), np.where(is_known, uncertainty_ns, np.inf))

    def _warn(self, receiver: ChannelProperties, latencies_ns: Times) -> None:
        if len(latencies_ns) and not self._is_warned:
            self._is_warned = True
            after_s = float(np.median(latencies_ns)) * 1e-9 + receiver.latency_s
            logger.warning(
                "channel %r: its pulses are not used: it is not clear which second each is, as messages of %r come "
                "%.2f s after a pulse and %.2f s before the next one: give %r the latency_s of its manual",
                self.name,
                receiver.name,
                after_s % 1,
                1 - after_s % 1,
                receiver.name,
            )


def _sections(fit: ClockFit) -> tuple[list[int], list[int]]:
    """Begins and ends of times between which the clock of the receiver was not set."""
    begins, ends = [jump.until_ns for jump in fit.jumps], [jump.from_ns for jump in fit.jumps]
    return [EVER_NS, *begins], [*ends, -EVER_NS]
