"""The directories of a cube, each touched when its turn comes; shared memory says which one a process is using.

A disk that does not respond blocks what uses it. The process that replaces a blocked writer knows from that note
which directory is to blame, and a directory that is not needed blocks nothing.
"""

from collections.abc import MutableSequence, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, overload

from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.writer.messages import CubeKind, Label
from openhsi_shared.writer.rescue_directory import directories_of

__all__ = ["PLACE", "DirectoriesInTurn", "directory_in_use"]

SLOT, PLACE = 1, 2
"""Words of the heartbeat's counter: slot of the cube; place of the directory among `directories_of`, 0 for none."""


class DirectoriesInTurn(Sequence[Path]):
    """Directories in the order in which they are tried. Taking one notes it; `create`: creates it if it is named first.

    One that existed before and has vanished is not created again: that is an error of the save.
    """

    def __init__(
        self,
        directories: Sequence[str],
        label: Label,
        kind: CubeKind,
        slot: int = 0,
        note: MutableSequence[int] | None = None,
        create: bool = True,
    ) -> None:
        """`note` is the heartbeat's counter of a writer; None in a process that is not replaced."""
        self._directories, self._label, self._slot, self._note = directories, label, slot, note
        self._create = create
        self._all = directories_of(label, kind)
        if note is not None:
            note[PLACE] = 0

    def __len__(self) -> int:
        return len(self._directories)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Path]: ...
    def __getitem__(self, index: Any) -> Any:
        taken = self._directories[index]
        return self._take(taken) if isinstance(taken, str) else [self._take(directory) for directory in taken]

    def _take(self, directory: str) -> Path:
        if self._note is not None and directory in self._all:
            self._note[SLOT], self._note[PLACE] = self._slot, self._all.index(directory) + 1
        if self._create and (self._label.make_directory or directory != self._label.directory):
            with suppress(OSError):  # reported by the write, with its errno
                Path(directory).mkdir(parents=True, exist_ok=True)
        return Path(directory)


def directory_in_use(note: Sequence[int], slots: SlotView, kind: CubeKind) -> str:
    """The directory that a writer uses, by its heartbeat's counter; empty if it uses none."""
    label = Label.from_bytes(slots.label(note[SLOT]))
    directories = directories_of(label, kind)
    return directories[note[PLACE] - 1] if 0 < note[PLACE] <= len(directories) else ""
