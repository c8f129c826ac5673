"""What a recording must come to, proved by its files alone: `prove` fails unless every frame is accounted for."""

from collections.abc import Iterable
from pathlib import Path

from openhsi_shared.recording.messages import RecordingSummary
from tests.support.account import Account, Verdict
from tests.support.commit_log import Witness

__all__ = ["count", "prove", "prove_after_death", "prove_summary"]


def prove(directories: Path | Iterable[Path], offered: int) -> Verdict:
    """Saved and declared lost are exactly the frames 0 to `offered` - 1, disjoint, in order, each CRC right."""
    verdict = count(directories, offered)
    assert verdict.is_exact, str(verdict)
    return verdict


def prove_summary(directory: Path, summary: RecordingSummary) -> Verdict:
    """The same for a recording that has ended; what was lost after its last line, only its summary can tell."""
    books = Account().add(directory)
    last = max(books.saved | books.lost)
    for gap in summary.lost_ids:
        if gap.last > last:
            books.declare_lost(max(gap.first, last + 1), gap.last)
    verdict = books.verdict(summary.lines + summary.lines_lost)
    assert verdict.is_exact, str(verdict)
    assert (verdict.saved, verdict.declared_lost) == (summary.lines, summary.lines_lost)
    return verdict


def prove_after_death(directories: Path | Iterable[Path], witness: Path) -> Verdict:
    """The same for a process that was killed: what it has committed, and the one line that it may not have noted."""
    account = Account()
    for directory in [directories] if isinstance(directories, Path) else directories:
        account.add(directory)
    noted = Witness(witness).next_id
    beyond = [frame_id for frame_id in account.saved if frame_id >= noted]
    assert len(beyond) <= 1, f"{len(beyond)} lines were saved that were never committed"
    verdict = account.verdict(max([noted, *(frame_id + 1 for frame_id in beyond)]))
    assert verdict.is_exact, str(verdict)
    return verdict


def count(directories: Path | Iterable[Path], offered: int) -> Verdict:
    """The same, told instead of asserted."""
    account = Account()
    for directory in [directories] if isinstance(directories, Path) else directories:
        account.add(directory)
    return account.verdict(offered)
