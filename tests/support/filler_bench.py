"""A slot filler with simple parts around it: a fake supervisor, a scripted driver."""

import copy

import numpy as np

from openhsi_shared.buffers.marks import MARKS
from openhsi_shared.buffers.slot_memory import SlotLayout, SlotMemory, Word
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.capture.averaging.filler import AveragingFiller
from openhsi_shared.capture.slot_filler import SlotFiller
from openhsi_shared.columns import COLUMNS, FRAMES_USED
from openhsi_shared.errors import SaveError, SourceEnded
from openhsi_shared.frames.losses import gaps_between


class FakeHandle:
    """A save that failed."""

    def result(self, timeout=None):
        raise SaveError(28, "No space left on device", "/data/cube.nc")


class FakeSupervisor:
    """Fake supervisor of the writer: it keeps full slots until `answer` or `fail` is called."""

    def __init__(self, slots):
        self.slots = slots
        self.changed = slots.changed
        self.pending = []
        self.failed = []
        self.failure = None

    def held(self):
        with self.changed:
            return list(self.failed)

    def n_pending(self):
        with self.changed:
            return len(self.pending)

    def raise_failure(self):
        if self.failure is not None:
            raise self.failure

    def save(self, slot):
        """Take a full slot."""
        self.slots.save(slot)
        self.pending.append(slot)

    def answer(self):
        """The oldest cube is saved."""
        with self.changed:
            self.slots.free(self.pending.pop(0))
            self.changed.notify_all()

    def fail(self):
        """The save of the oldest cube failed."""
        with self.changed:
            self.slots.hold(self.pending.pop(0))
            self.failed.append(FakeHandle())
            self.changed.notify_all()


class Bench:
    """A slot filler with a fake supervisor, fed with frames whose pixels are their id."""

    def __init__(self, when_full="drop", n_slots=2, n_lines=4, line_shape=(2, 3), is_averaged=False):
        columns = (*COLUMNS, FRAMES_USED) if is_averaged else COLUMNS
        layout = SlotLayout(
            n_slots=n_slots,
            n_lines=n_lines,
            line_shape=line_shape,
            dtype="int32",
            columns=columns,
            side_buffers=(MARKS,),
        )
        self.slots = SlotOwner(SlotMemory.make(layout))
        self.supervisor = FakeSupervisor(self.slots)
        make_filler = AveragingFiller if is_averaged else SlotFiller
        self.filler = make_filler(self.slots, self.supervisor, when_full)

    def take(self, frame_id, monotonic_ns=0):
        """Take a frame as the loop does; return whether it was committed."""
        line = self.filler.next_line()
        if line is None:
            self.filler.lose(frame_id)
            return False
        line[...] = frame_id
        return self.filler.commit(frame_id, monotonic_ns, None, 20.0)

    def save(self):
        """Swap and save. Returns (ids in the file, ids declared missing, lines reported as lost by now)."""
        slot, n, n_reported = self.filler.swap()
        if slot is None:
            return [], [], n_reported
        slots = self.slots
        ids = slots.column(slot, "frame_id").tolist()
        first, n_there = slots.extent(slot)
        pixels = [int(slots.lines(slot)[(first + k) % slots.layout.n_lines][0, 0]) for k in range(n_there)]
        assert pixels == ids
        assert n == len(ids)
        gaps = gaps_between(slots.word(slot, Word.EXPECTED_ID), ids)
        missing = [k for gap in gaps for k in range(gap.first, gap.last + 1)]
        if not slots.n_overwritten(slot):  # else some are missing because they were overwritten
            assert slots.word(slot, Word.N_LOST) == len(missing)
        self.supervisor.save(slot)
        return ids, missing, n_reported


class ScriptedDriver:
    """A camera that returns a list of stamps, or raises them; pixels are the id, or the number of frames before."""

    frame_shape = (4, 3)
    frame_dtype = np.dtype("int32")

    def __init__(self, script, frame_id_period=None):
        self.frame_id_period = frame_id_period
        self.timeouts_s = []
        self.out = []
        self._script = list(script)
        self._n_read = 0

    def read_into(self, out, timeout_s):
        self.timeouts_s.append(timeout_s)
        self.out.append(out)
        if self._n_read == len(self._script):
            raise SourceEnded("the script has ended")
        stamp = self._script[self._n_read]
        frame_id = getattr(stamp, "frame_id", None)
        out[...] = self._n_read if frame_id is None else frame_id
        self._n_read += 1
        if isinstance(stamp, Exception):
            raise copy.copy(stamp)  # else the script would keep the traceback, and with it the memory of the bench
        return stamp
