"""Pictures of saved cubes, which the writer makes when no cube waits to be saved: a slot is more urgent."""

from collections import deque
from collections.abc import Callable, MutableSequence
from typing import NamedTuple

from openhsi_shared.files.preview import preview_of, write_preview
from openhsi_shared.files.saving import Written
from openhsi_shared.writer.directories import PLACE, SLOT
from openhsi_shared.writer.messages import PreviewDone

__all__ = ["LatePreviews", "picture_written"]

MAX_WAITING = 4
"""Pictures that may wait: if the writer dies, they are not written; and each needs memory, 1 MB for 128 lines."""


class _Waiting(NamedTuple):
    cube: int
    written: Written
    slot: int
    """In the note that names the directory in use, like the place."""
    place: int


class LatePreviews:
    """The pictures that are still to be written, oldest first; `tell` sends the parent what became of each.

    `note` is the heartbeat's counter: while a picture is written, it names the directory that its cube was saved in.
    """

    def __init__(self, note: MutableSequence[int], tell: Callable[[PreviewDone], object]) -> None:
        self._note, self._tell = note, tell
        self._waiting = deque[_Waiting]()

    def add(self, cube: int, written: Written) -> None:
        """A cube was saved in the directory that is noted now. If too many pictures wait, the oldest is written."""
        self._waiting.append(_Waiting(cube, written, self._note[SLOT], self._note[PLACE]))
        while len(self._waiting) > MAX_WAITING:
            self.write_next()

    def write_next(self) -> bool:
        """Write the oldest one; False if there is none."""
        if not self._waiting:
            return False
        cube, written, self._note[SLOT], self._note[PLACE] = self._waiting.popleft()
        self._tell(picture_written(cube, written))
        self._note[PLACE] = 0
        return True

    def write_all(self) -> None:
        """Write all of them."""
        while self.write_next():
            pass


def picture_written(cube: int, written: Written) -> PreviewDone:
    """Write the picture of a saved cube; returns the message about it for the parent."""
    path = written.path.with_suffix(".png")
    try:
        if written.picture is not None:
            write_preview(written.picture, path)
        elif not path.exists():  # an earlier try saved the cube, and its writer died before the picture
            preview_of(written.path)
    except Exception as error:  # noqa: BLE001 - the data are saved; the parent warns of the missing preview
        return PreviewDone(cube, None, f"{type(error).__name__}: {error}")
    return PreviewDone(cube, path, "")
