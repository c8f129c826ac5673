"""Final rescue of cubes in memory when no writer process is left: by a new writer, or else by this process itself."""

from collections.abc import Collection, Sequence

from openhsi_shared.buffers.slot_memory import Word
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.errors import OpenHSIError, SaveError
from openhsi_shared.processes.logs import safe_logger
from openhsi_shared.writer.directories import DirectoriesInTurn, directory_in_use
from openhsi_shared.writer.messages import CubeKind, Label, Rescue
from openhsi_shared.writer.slot_cubes import (
    cube_in,
    cube_on_disk,
    directories_of,
    rescue_directories,
    slots_to_rescue,
)
from openhsi_shared.writer.writer_process import START_TIMEOUT_S, WriterProcess

__all__ = ["hang_up", "hung_in", "rescue"]

logger = safe_logger(__name__)


POLL_INTERVAL_S = 0.25


def hang_up(writers: Sequence[WriterProcess], timeout_s: float, avoid: Collection[str] = ()) -> bool:
    """Let the writers rescue what is in memory, and block until they exit. True if one rescued all cubes.

    One that makes no progress for `timeout_s` is killed.
    """
    unheard = [writer for writer in writers if not writer.child.send(Rescue(tuple(avoid)))]
    for writer in writers:
        writer.child.hang_up()
    for writer in unheard:  # dead, or its pipe was closed by other code: it would wait for this process to die
        writer.child.kill()
    for writer in writers:  # the primary writer first: a standby writer waits for it
        writer.heartbeat.expect()
        while not writer.child.join(POLL_INTERVAL_S):
            if writer.heartbeat.silent_s() > timeout_s:
                logger.error("writer made no progress for %.0f s at the end: killing it", timeout_s)
                writer.has_hung = True
                writer.child.end()
                break
    return any(writer.child.exit_code == 0 for writer in writers)


def rescue(
    slots: SlotOwner,
    kind: CubeKind,
    are_safe: Collection[int] = (),
    avoid: Collection[str] = (),
    *,
    timeout_s: float = START_TIMEOUT_S,
) -> list[OpenHSIError]:
    """Start one more writer, which rescues every cube still in memory; if it dies as well, dump the cubes here.

    A dump skips slots that `are_safe`. If there are directories to `avoid`, which do not respond, cubes are dumped at
    once into other directories: a writer would hang. Blocks until done. Returns one error for each cube that is lost.
    """
    if not slots_to_rescue(slots):
        return []
    hung = set(avoid)
    if not hung and _rescue_by_new_writer(slots, kind, timeout_s, hung):
        return []
    failures = (_dump(slots, kind, slot, hung) for slot in slots_to_rescue(slots) if slot not in are_safe)
    return [failure for failure in failures if failure is not None]


def _rescue_by_new_writer(slots: SlotOwner, kind: CubeKind, timeout_s: float, hung: set[str]) -> bool:
    """Whether all cubes are rescued. Adds the directory in which the writer hung, if it did, to `hung`."""
    logger.warning("no writer is left: starting a new one for the cubes still in memory")
    writer, is_done = None, False
    try:
        writer = WriterProcess(slots, kind)
        writer.wait_until_ready()
        is_done = hang_up([writer], timeout_s)
        if not is_done:
            logger.error("the new writer died, exit code %s", writer.child.exit_code)
            hung |= hung_in([writer], slots, kind)
    except (OpenHSIError, OSError, RuntimeError) as error:  # the system may refuse one more process
        logger.error("%s", error)
    if writer is not None:  # not reached after Ctrl-C: then the writer continues
        writer.end()
    return is_done


def hung_in(writers: Sequence[WriterProcess], slots: SlotOwner, kind: CubeKind) -> set[str]:
    """Directories in which writers hung."""
    return {directory_in_use(writer.heartbeat.counter, slots, kind) for writer in writers if writer.has_hung} - {""}


def _dump(slots: SlotOwner, kind: CubeKind, slot: int, avoid: Collection[str]) -> OpenHSIError | None:
    """Save only the raw bytes, with as little code as possible."""
    from openhsi_shared.files.dumping import write_dump

    name = f"cube {slots.word(slot, Word.CUBE)}"
    label = Label.from_bytes(slots.label(slot))
    directories = [directory for directory in rescue_directories(label, kind) if directory not in avoid]
    try:
        places = [place for place in directories_of(label, kind) if place not in avoid]
        on_disk = cube_on_disk(slots, kind, slot, label, DirectoriesInTurn(places, label, kind, create=False))
        if (saved := on_disk.find(recovered=True) or on_disk.dumped()) is not None:
            logger.warning("%s: its lines are in %s", name, saved)
            return None
        path = write_dump(
            cube_in(slots, kind, slot, label, recovered=True),
            DirectoriesInTurn(directories, label, kind),
            prefix=label.prefix,
            suffix=label.suffix,
            old_style=label.old_style,
            durability=kind.options.durability,
        )
    except Exception as error:  # noqa: BLE001 - not swallowed: it sets the exit status; the next cube must be tried
        number, message = (error.errno, error.strerror) if isinstance(error, OSError) else (None, str(error))
        failure = SaveError(number, f"{message}: the lines of {name} are lost", label.directory)
        failure.__cause__ = error
        logger.error("%s", failure)
        return failure
    logger.warning("%s: its lines are safe in %s: `openhsi-shared recover` converts it to a file", name, path)
    return None
