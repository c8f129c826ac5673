"""Files that are whole and have their name, although their folder cannot be synced: they count as saved."""

from pathlib import Path

from openhsi_shared.durable import Durability, PartFile
from openhsi_shared.errors import SaveError
from openhsi_shared.loggers import safe_logger

__all__ = ["publish_whole", "warn_not_synced"]

logger = safe_logger(__name__)


def publish_whole(part: PartFile, target: Path, *, durability: Durability = "fsync") -> None:
    """Publish as `PartFile.publish_as`; that the folder cannot be synced afterwards is a warning. SaveError."""
    try:
        part.publish_as(target, durability=durability)
    except SaveError as error:
        if not part.is_published:
            raise
        warn_not_synced(target, error)


def warn_not_synced(path: Path, error: OSError) -> None:
    """Report that a whole file has its name, but that its folder cannot be synced. It counts as saved."""
    logger.warning(
        "%s is saved, but not synced (%s): if its name is gone after a power cut, `openhsi-shared recover` restores it",
        path,
        error,
    )
