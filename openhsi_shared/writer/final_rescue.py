"""Cubes that are rescued at the end although no writer is left: by a new one, or else by this process itself."""

from collections.abc import Collection, Sequence

from openhsi_shared.buffers.slot_memory import Word
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.errors import OpenHSIError, SaveError
from openhsi_shared.processes.logs import safe_logger
from openhsi_shared.writer.messages import CubeKind, Label
from openhsi_shared.writer.slot_cubes import cube_in, make_ready, rescue_directories, slots_to_rescue
from openhsi_shared.writer.writer_process import WriterProcess

__all__ = ["hang_up", "rescue"]

logger = safe_logger(__name__)


def hang_up(writers: Sequence[WriterProcess]) -> bool:
    """Let writers believe that this process has died, and block until they have ended. Whether one rescued the rest."""
    for writer in writers:
        writer.child.hang_up()
    for writer in writers:
        writer.child.join()
    return any(writer.child.exit_code == 0 for writer in writers)


def rescue(
    slots: SlotOwner, kind: CubeKind, are_safe: Collection[int] = (), avoid: Collection[str] = ()
) -> list[OpenHSIError]:
    """Have one more writer rescue every cube that is still in memory; if that dies, too, write down their bytes here.

    Then slots that `are_safe` are left out. Where there are directories to `avoid`, which do not answer, bytes are
    written at once, and elsewhere: a writer would hang there. Blocks until it is done. Returns why, for each cube that
    is gone even so.
    """
    if not slots_to_rescue(slots) or (not avoid and _another_writer_does(slots, kind)):
        return []
    failures = (_dump(slots, kind, slot, avoid) for slot in slots_to_rescue(slots) if slot not in are_safe)
    return [failure for failure in failures if failure is not None]


def _another_writer_does(slots: SlotOwner, kind: CubeKind) -> bool:
    logger.warning("no writer is left: another one is started, for the cubes that are still in memory")
    writer, has_done = None, False
    try:
        writer = WriterProcess(slots, kind)
        writer.wait_until_ready()
        has_done = hang_up([writer])
        if not has_done:
            logger.error("the new writer died, exit code %s", writer.child.exit_code)
    except (OpenHSIError, OSError, RuntimeError) as error:  # whatever the system says to one more process
        logger.error("%s", error)
    if writer is not None:  # after Ctrl-C it is left alone: it goes on
        writer.end()
    return has_done


def _dump(slots: SlotOwner, kind: CubeKind, slot: int, avoid: Collection[str]) -> OpenHSIError | None:
    """Save only the bytes, with as little code as possible."""
    from openhsi_shared.files.dumping import write_dump

    name = f"cube {slots.word(slot, Word.CUBE)}"
    label = Label.from_bytes(slots.label(slot))
    directories = [directory for directory in rescue_directories(label, kind) if directory not in avoid]
    try:
        path = write_dump(
            cube_in(slots, kind, slot, label, recovered=True),
            make_ready(directories, label),
            prefix=label.prefix,
            suffix=label.suffix,
            old_style=label.old_style,
            durability=kind.options.durability,
        )
    except Exception as error:  # noqa: BLE001 - not swallowed: it ends in the exit status; the next cube must be tried
        number, words = (error.errno, error.strerror) if isinstance(error, OSError) else (None, str(error))
        gone = SaveError(number, f"{words}: the lines of {name} are lost", label.directory)
        gone.__cause__ = error
        logger.error("%s", gone)
        return gone
    logger.warning("%s: its lines are safe in %s, of which `openhsi-shared recover` makes a file", name, path)
    return None
