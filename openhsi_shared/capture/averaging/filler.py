"""Puts lines into slots that are means of frames, and accounts for each frame."""

from collections.abc import Sequence

from openhsi_shared.buffers.slot_memory import Word
from openhsi_shared.capture.slot_filler import SlotFiller
from openhsi_shared.columns import FRAMES_USED
from openhsi_shared.frames.averaged import frames_of

__all__ = ["AveragingFiller"]

COLUMNS_OF_FRAMES = ("frame_id", FRAMES_USED.name)
"""Which frames a line is the mean of."""


class AveragingFiller(SlotFiller):
    """Puts means into the slots. Lost frames are counted, not lost lines."""

    def commit(self, frame_id: int, monotonic_ns: int, camera_ns: int | None, temperature: float) -> bool:
        """Commit the filled line, which is one frame."""
        return self.commit_mean([frame_id], 1, monotonic_ns, camera_ns, temperature)

    def commit_mean(
        self, frame_ids: Sequence[int], used: int, monotonic_ns: int, camera_ns: int | None, temperature: float
    ) -> bool:
        """Commit the filled line, the mean of these frames; `used` has a bit for each.

        False if they were accounted for before: then nothing changes.
        """
        ledger, slots, slot = self.ledger, self.slots, self.slot
        if frame_ids[-1] < ledger.next_id:
            return False
        ledger.offer(frame_ids[0])  # the first id of a camera is known with its first frame
        ledger.offer(frame_ids[-1])
        if slot is None or self.turn.is_void:
            self._refuse_commit()
        if ledger.n_committed == 0:
            slots.expect(slot, ledger.expected)
        if self._is_first_line:
            self._start_times(slot)
        time_ns = self.clock.wall_ns(monotonic_ns)
        if not self.times_are_recorded:
            self._last_ns = time_ns = max(time_ns, self._last_ns)
        gap = self._lost_before(frame_ids)
        if gap:
            self._note_committed(slot)
            gap = self._lost_before(frame_ids)
        n_lost = ledger.n_lost_before_last + gap - self._lost_at_swap
        camera_ns = -1 if camera_ns is None else camera_ns
        slots.commit(slot, time_ns, frame_ids[0], camera_ns, temperature, n_lost, (used,))
        ledger.commit_all(frame_ids)
        if gap:
            self._note_gap(frame_ids[-1])
        n_put, n_lines = slots.word(slot, Word.N_PUT), slots.layout.n_lines
        if n_put in self._warn_at:
            self._warn_before_loss(n_put)
        elif n_put >= n_lines:
            self.n_overwritten += n_put > n_lines
            self._is_first_line = n_put % n_lines == 0
        return True

    def _lost_before(self, frame_ids: Sequence[int]) -> int:
        """How many ids are missing between the last line and the last one of these frames."""
        return frame_ids[-1] + 1 - self.ledger.expected - len(frame_ids)

    def _note_committed(self, slot: int) -> None:
        """See `SlotFiller`: here for all frames of the last line."""
        n_put = self.slots.word(slot, Word.N_PUT)
        if n_put:
            ids, used = (self.slots.column_of_lines(slot, n_put - 1, n_put, name) for name in COLUMNS_OF_FRAMES)
            frame_ids: list[int] = frames_of(ids, used).tolist()
            if frame_ids[-1] >= self.ledger.expected:
                self.ledger.commit_all(frame_ids)
