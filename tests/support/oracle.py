"""Proves a recording by its files alone: `prove` fails unless every frame is accounted for."""

from collections.abc import Iterable
from pathlib import Path

from openhsi_shared.recording.messages import RecordingSummary
from tests.support.account import Account, Verdict
from tests.support.commit_log import CommitLog

__all__ = ["count", "prove", "prove_after_death", "prove_summary"]


def prove(directories: Path | Iterable[Path], offered: int) -> Verdict:
    """Saved and declared lost are exactly the frames 0 to `offered` - 1, disjoint, in order, each CRC right."""
    verdict = count(directories, offered)
    assert verdict.is_exact, str(verdict)
    return verdict


def prove_summary(directory: Path, summary: RecordingSummary) -> Verdict:
    """The same for a finished recording; losses after its last line are only in its summary."""
    account = Account().add(directory)
    last = max(account.saved | account.lost)
    for gap in summary.lost_ids:
        if gap.last > last:
            account.declare_lost(max(gap.first, last + 1), gap.last)
    verdict = account.verdict(summary.lines + summary.lines_lost)
    assert verdict.is_exact, str(verdict)
    assert (verdict.saved, verdict.declared_lost) == (summary.lines, summary.lines_lost)
    return verdict


def prove_after_death(directories: Path | Iterable[Path], commit_log: Path) -> Verdict:
    """The same for a killed process: the committed lines, and at most one that is not in the commit log."""
    account = Account()
    for directory in [directories] if isinstance(directories, Path) else directories:
        account.add(directory)
    logged = CommitLog(commit_log).next_id
    beyond = [frame_id for frame_id in account.saved if frame_id >= logged]
    assert len(beyond) <= 1, f"{len(beyond)} lines were saved that were never committed"
    verdict = account.verdict(max([logged, *(frame_id + 1 for frame_id in beyond)]))
    assert verdict.is_exact, str(verdict)
    return verdict


def count(directories: Path | Iterable[Path], offered: int) -> Verdict:
    """Return the verdict instead of asserting it."""
    account = Account()
    for directory in [directories] if isinstance(directories, Path) else directories:
        account.add(directory)
    return account.verdict(offered)
