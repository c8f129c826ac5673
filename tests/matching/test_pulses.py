"""Phase of the second by its pulses: a true clock with drift that wanders, and pulses that have every fault."""

import numpy as np
import pytest

from openhsi_shared.matching.pulses import PulseFit, wrapped

US, MS, S = 1_000, 1_000_000, 10**9
BEGIN = 1_700_000_000 * S
SECONDS = np.arange(0, 900)


def seconds_of_lines(drift=4e-5, wander=2e-8):
    """Times of whole seconds by a clock that is 0.123 s behind, drifts, and changes its drift, as when it warms up."""
    behind = 123 * MS + np.cumsum(S * (drift + wander * np.sin(SECONDS / 300)))
    return BEGIN + SECONDS * S - np.rint(behind).astype(np.int64)


TRUE = seconds_of_lines()
RANDOM = np.random.default_rng(4)


def some(share):
    return RANDOM.random(len(TRUE)) < share


def late(pulses, share, by_ns):
    return pulses + np.where(some(share), RANDOM.exponential(by_ns, len(pulses)), 0).astype(np.int64)


def jittered(by_ns):
    return TRUE + RANDOM.normal(0, by_ns, len(TRUE)).astype(np.int64)


def errors_of(pulses, at, least_ns=10 * US):
    found = PulseFit().phases(np.sort(pulses), at, least_ns)
    true = np.interp(at - BEGIN, TRUE - BEGIN, SECONDS * S)
    return np.abs(wrapped(at - BEGIN + found.phase_ns + BEGIN - np.rint(true).astype(np.int64), S // 2)), found


LINES = TRUE[0] + np.arange(0, 898 * S, 97 * MS)


@pytest.mark.parametrize(
    ("pulses", "most_ns"),
    [
        (TRUE, 100),
        (jittered(2 * US), 2 * US),
        (jittered(100 * US), 80 * US),
        (TRUE[~some(0.5)], 100),
        (np.append(TRUE, TRUE[some(0.9)] + 2 * MS), 100),
        (np.append(TRUE, TRUE[some(0.3)] + 300 * MS), 100),
        (late(TRUE, 0.2, 3 * MS), 100),
        (np.append(TRUE, RANDOM.integers(TRUE[0], TRUE[-1], 300)), 100),
        (np.append(TRUE[:200], TRUE[500:]), 10 * US),
    ],
    ids=["exact", "kernel", "pin", "missing", "bouncing", "doubled", "late", "noise", "gap of 5 minutes"],
)
def test_the_phase_is_true_within_its_uncertainty(pulses, most_ns):
    errors, found = errors_of(pulses, LINES)
    assert np.isfinite(found.uncertainty_ns).all()
    assert (errors <= found.uncertainty_ns).all()
    assert errors.max() <= most_ns


def test_the_uncertainty_is_as_measured_and_grows_away_from_the_pulses():
    assert np.median(errors_of(jittered(200 * US), LINES)[1].uncertainty_ns) == pytest.approx(400 * US, rel=0.2)
    errors, found = errors_of(jittered(2 * US)[:100], LINES)
    assert (errors <= found.uncertainty_ns).all()
    assert found.uncertainty_ns[0] < 11 * US < 500 * US < found.uncertainty_ns[-1] < 2 * MS


@pytest.mark.parametrize(
    "pulses",
    [TRUE[:4], np.append(TRUE, TRUE + 200 * MS), RANDOM.integers(TRUE[0], TRUE[-1], 900), TRUE[:0]],
    ids=["too few", "both edges", "noise", "none"],
)
def test_where_no_pulse_can_be_told_from_others_nothing_is_known(pulses):
    assert np.isinf(errors_of(pulses, LINES)[1].uncertainty_ns).all()


def test_a_step_of_the_phase_is_not_smoothed():
    stepped = TRUE + np.where(SECONDS < 450, 0, 40 * MS)
    found = PulseFit().phases(stepped, LINES, 10 * US)
    is_known = np.isfinite(found.uncertainty_ns)
    errors = np.abs(errors_of(stepped, LINES)[0])
    near = np.abs(errors[:, None] - [0, 40 * MS]).min(axis=1)
    assert (near[is_known] < 10 * US).all()
    assert 0 < (~is_known).sum() * 97 * MS < 60 * S


def test_lines_of_windows_are_kept_until_their_pulses_change():
    fit, fresh = PulseFit(), PulseFit()
    for n in (100, 115, 300):
        found, anew = fit.phases(TRUE[:n], LINES, 1.0), fresh.phases(TRUE[:n], LINES, 1.0)
        assert (found.phase_ns == anew.phase_ns).all()
        fresh = PulseFit()
