"""The clock of a camera's cubes: which anchor each of them has, and which steps of the wall clock were seen."""

from openhsi_shared.buffers.times import EARLIEST_NS, Anchor, Clock, ClockStep, CubeTimes, read_anchor
from openhsi_shared.loggers import safe_logger

__all__ = ["CubeClock"]

logger = safe_logger(__name__)


class CubeClock(Clock):
    """Converts monotonic times of lines to UTC. A cube that starts after a step of the wall clock has a new anchor.

    Each step is logged once. The clocks are read twice a cube, which takes some microseconds. It outlives the slots of
    a camera, which are recreated by `reinitialise`.
    """

    def __init__(self, anchor: Anchor | None = None) -> None:
        super().__init__(anchor)
        self._before = self._logged = self.anchor
        self._latest_ns = EARLIEST_NS

    def restart(self, anchor: Anchor) -> None:
        """Use this anchor, before the first line."""
        self.anchor = self._before = self._logged = anchor

    @property
    def times(self) -> CubeTimes:
        """What is known of the clock of the cube that was started last."""
        return CubeTimes(self.anchor, self.anchor.since(self._before), self._latest_ns)

    def start_cube(self) -> ClockStep | None:
        """Before the first line of a cube: return the step that its times follow, or None if the anchor is kept."""
        self._before = self.anchor
        return self.start_turn()

    def start_turn(self) -> ClockStep | None:
        """The same, before the lines of a cube that wraps around are overwritten once more."""
        now = read_anchor()
        step = self.follow(now)
        if step is not None:
            self._log(now, "before the next line was taken: times and names follow it from this cube on")
        return step

    def end_cube(self, last_ns: int) -> None:
        """After the last line of a cube, with its time."""
        self._latest_ns = max(self._latest_ns, last_ns)
        now = read_anchor()
        if now.since(self.anchor).is_step:
            self._log(now, "while a cube was filled: its times continue evenly, those of the next one follow the step")

    def _log(self, now: Anchor, when: str) -> None:
        step = now.since(self._logged)
        if step.is_step:
            self._logged = now
            overlap = "; times of cubes may overlap (time_overlap_ns in their files)" if step.is_back else ""
            logger.warning("%s %s%s", step, when, overlap)
