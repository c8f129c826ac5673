"""Final rescue of the cubes in memory: by the writers that are left, by a new one, or else by this process itself."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from openhsi_shared.buffers.slot_memory import Word
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.errors import OpenHSIError, SaveError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.liveness import GONE
from openhsi_shared.writer.cube_channels import CubeChannels
from openhsi_shared.writer.directories import DirectoriesInTurn, directory_in_use
from openhsi_shared.writer.messages import CubeKind, Dumped, Failed, Label, Rescue, Saved, Stop
from openhsi_shared.writer.rescue_directory import directories_of, rescue_directories
from openhsi_shared.writer.slot_cubes import cube_in, cube_on_disk, slots_to_rescue, unchecked, with_channels
from openhsi_shared.writer.writer_process import START_TIMEOUT_S, WriterProcess

__all__ = ["Rescued", "rescue"]

logger = safe_logger(__name__)

POLL_INTERVAL_S = 0.25


@dataclass
class Rescued:
    """What a final rescue has saved, and what is lost."""

    files: dict[str, Path] = field(default_factory=dict)
    """By names of cubes."""
    dumps: dict[str, Path] = field(default_factory=dict)
    """Raw bytes, of which `openhsi-shared recover` makes files."""
    lost: dict[int, SaveError] = field(default_factory=dict)
    """By slots."""

    @property
    def failures(self) -> list[OpenHSIError]:
        """One error for each cube that is lost."""
        return list(self.lost.values())

    def where(self, cube: str) -> str:
        """A sentence: what has happened to a cube."""
        if cube in self.files:
            return f"{cube}: saved as {self.files[cube]}"
        if cube in self.dumps:
            return f"{cube}: its lines are safe in {self.dumps[cube]}: `openhsi-shared recover` converts it to a file"
        return f"{cube}: its lines are lost"


def rescue(
    writers: Sequence[WriterProcess],
    slots: SlotOwner,
    kind: CubeKind,
    are_safe: Collection[int] = (),
    avoid: Collection[str] = (),
    *,
    timeout_s: float = START_TIMEOUT_S,
) -> Rescued:
    """Let the writers save every cube still in memory, and exit. Blocks until done.

    A writer that makes no progress for `timeout_s` is killed. If they die, one more writer is started; cubes that none
    of them saved are dumped here, except slots that `are_safe`. If there are directories to `avoid`, which do not
    respond, no writer is started, since it would hang.
    """
    done = _Answers(slots, timeout_s, avoid)
    for writer in writers:
        done.ask(writer)
    hung = {*avoid, *_hung_in(writers, slots, kind)}
    if done.left() and not hung:
        hung |= _ask_new_writer(slots, kind, done)
    rescued = Rescued(done.files, done.dumps)
    for name in {**done.files, **done.dumps}:
        logger.warning("%s", rescued.where(name))
    for slot in slots_to_rescue(slots):
        name = _name(slots, slot)
        if name not in done.files and name not in done.dumps and slot not in are_safe:
            _dump(slots, kind, slot, hung, rescued)
    return rescued


class _Answers:
    """What writers have answered about the cubes in memory."""

    def __init__(self, slots: SlotOwner, timeout_s: float, avoid: Collection[str]) -> None:
        self.files: dict[str, Path] = {}
        self.dumps: dict[str, Path] = {}
        self.failed: set[str] = set()
        self._slots, self._timeout_s, self._avoid = slots, timeout_s, tuple(avoid)

    def left(self) -> set[str]:
        """Cubes about which no writer has answered: it died."""
        names = {_name(self._slots, slot) for slot in slots_to_rescue(self._slots)}
        return names - self.files.keys() - self.dumps.keys() - self.failed

    def ask(self, writer: WriterProcess) -> None:
        """Request the rescue, unless all cubes are answered for, and block until the writer exits."""
        writer.heartbeat.expect()
        if not writer.child.send(Rescue(self._avoid) if self.left() else Stop()):
            writer.child.kill()  # dead, or its pipe was closed by other code: it would wait for this process to die
        while (answer := writer.child.receive(POLL_INTERVAL_S)) is not GONE:
            if answer is not None:
                writer.heartbeat.expect()
                self._note(answer)
            elif self._is_hung(writer):
                break
        writer.child.hang_up()
        while not writer.child.join(POLL_INTERVAL_S) and not self._is_hung(writer):
            pass

    def _is_hung(self, writer: WriterProcess) -> bool:
        """Whether the writer makes no progress; then it is killed."""
        if writer.heartbeat.silent_s() <= self._timeout_s:
            return False
        logger.error("writer made no progress for %.0f s at the end: killing it", self._timeout_s)
        writer.has_hung = True
        writer.child.end()
        return True

    def _note(self, answer: object) -> None:
        match answer:
            case Saved(cube, path):
                self.files[f"cube {cube}"] = path
            case Dumped(cube, path):
                self.dumps[f"cube {cube}"] = path
            case Failed(cube, _, message):
                self.failed.add(f"cube {cube}")
                logger.error("cube %d could not be rescued by its writer: %s", cube, message)


def _name(slots: SlotOwner, slot: int) -> str:
    return f"cube {slots.word(slot, Word.CUBE)}"


def _ask_new_writer(slots: SlotOwner, kind: CubeKind, done: _Answers) -> set[str]:
    """Returns the directory in which the new writer hung, if it did."""
    logger.warning("no writer is left: starting a new one for the cubes still in memory")
    writer = None
    try:
        writer = WriterProcess(slots, kind)
        writer.wait_until_ready()
        done.ask(writer)
        if done.left():
            logger.error("the new writer died, exit code %s", writer.child.exit_code)
    except (OpenHSIError, OSError, RuntimeError) as error:  # the system may refuse one more process
        logger.error("%s", error)
    if writer is None:
        return set()
    writer.end()  # not reached after Ctrl-C: then the writer continues
    return _hung_in([writer], slots, kind)


def _hung_in(writers: Sequence[WriterProcess], slots: SlotOwner, kind: CubeKind) -> set[str]:
    """Directories in which writers hung."""
    return {directory_in_use(writer.heartbeat.counter, slots, kind) for writer in writers if writer.has_hung} - {""}


def _dump(slots: SlotOwner, kind: CubeKind, slot: int, avoid: Collection[str], rescued: Rescued) -> None:
    """Save only the raw bytes, with as little code as possible."""
    from openhsi_shared.files.dumping import write_dump

    name = _name(slots, slot)
    label = Label.from_bytes(slots.label(slot))
    places = [place for place in directories_of(label, kind) if place not in avoid]
    on_disk = cube_on_disk(slots, kind, slot, label, DirectoriesInTurn(places, label, kind, create=False))
    first: Exception | None = None
    try:
        if (path := on_disk.find(recovered=True)) is not None:
            rescued.files[name] = path
        elif (path := on_disk.dumped()) is not None:
            rescued.dumps[name] = path
        if path is not None:
            logger.warning("%s", rescued.where(name))
            return
    except Exception as error:  # noqa: BLE001 - not swallowed: the cube must be dumped, wherever else it may be
        logger.warning("%s: whether it is in a file already cannot be seen: %s", name, error)
        first = error
    for directories in rescue_directories(label, kind, avoid):
        try:
            may_be_saved = unchecked(slots, kind, slot, label, avoid)
            cube = cube_in(slots, kind, slot, label, recovered=True, unchecked=may_be_saved)
            rescued.dumps[name] = write_dump(
                with_channels(cube, slots, kind, slot, label, CubeChannels.of(kind.channels)),
                DirectoriesInTurn(directories, label, kind),
                prefix=label.prefix,
                suffix=label.suffix,
                old_style=label.old_style,
                durability=kind.options.durability,
            )
        except Exception as error:  # noqa: BLE001 - not swallowed: it sets the exit status; the next must be tried
            first = first or error
        else:
            logger.warning("%s", rescued.where(name))
            return
    number, message = (first.errno, first.strerror) if isinstance(first, OSError) else (None, str(first))
    failure = SaveError(number, f"{message}: the lines of {name} are lost", label.directory)
    failure.__cause__ = first
    logger.error("%s", failure)
    rescued.lost[slot] = failure
