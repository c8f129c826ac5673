"""Final rescue of cubes in memory when no writer process is left: by a new writer, or else by this process itself."""

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
    """Close the pipes, as if this process had died, and block until the writers exit. True if one rescued all cubes."""
    for writer in writers:
        writer.child.hang_up()
    for writer in writers:
        writer.child.join()
    return any(writer.child.exit_code == 0 for writer in writers)


def rescue(
    slots: SlotOwner, kind: CubeKind, are_safe: Collection[int] = (), avoid: Collection[str] = ()
) -> list[OpenHSIError]:
    """Start one more writer, which rescues every cube still in memory; if it dies as well, dump the cubes here.

    A dump skips slots that `are_safe`. If there are directories to `avoid`, which do not respond, cubes are dumped at
    once into other directories: a writer would hang. Blocks until done. Returns one error for each cube that is lost.
    """
    if not slots_to_rescue(slots) or (not avoid and _rescue_by_new_writer(slots, kind)):
        return []
    failures = (_dump(slots, kind, slot, avoid) for slot in slots_to_rescue(slots) if slot not in are_safe)
    return [failure for failure in failures if failure is not None]


def _rescue_by_new_writer(slots: SlotOwner, kind: CubeKind) -> bool:
    logger.warning("no writer is left: starting a new one for the cubes still in memory")
    writer, is_done = None, False
    try:
        writer = WriterProcess(slots, kind)
        writer.wait_until_ready()
        is_done = hang_up([writer])
        if not is_done:
            logger.error("the new writer died, exit code %s", writer.child.exit_code)
    except (OpenHSIError, OSError, RuntimeError) as error:  # the system may refuse one more process
        logger.error("%s", error)
    if writer is not None:  # not reached after Ctrl-C: then the writer continues
        writer.end()
    return is_done


def _dump(slots: SlotOwner, kind: CubeKind, slot: int, avoid: Collection[str]) -> OpenHSIError | None:
    """Save only the raw bytes, with as little code as possible."""
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
    except Exception as error:  # noqa: BLE001 - not swallowed: it sets the exit status; the next cube must be tried
        number, message = (error.errno, error.strerror) if isinstance(error, OSError) else (None, str(error))
        failure = SaveError(number, f"{message}: the lines of {name} are lost", label.directory)
        failure.__cause__ = error
        logger.error("%s", failure)
        return failure
    logger.warning("%s: its lines are safe in %s: `openhsi-shared recover` converts it to a file", name, path)
    return None
