"""System calls that fail, kill, or are slow, in programs that are started with an environment."""

import mmap
import os
import struct
from collections import Counter
from pathlib import Path

import pytest

from tests.support.compiled_c import compiled, has_compiler

SOURCE = Path(__file__).with_name("iofault.c")
ALL = "open write allocate truncate sync rename renameat2 link unlink mkdir lock close"
KINDS = ALL.split()
"""Kinds of calls, in the order in which the library numbers them."""
KILL, HALF, STOP = -1, -2, -3
"""Faults besides an errno. HALF: half of a write, then kill; any other call succeeds."""

HEAD = struct.Struct("=7q")
SIZE = HEAD.size + 65536
ALWAYS = 1 << 62


class Control:
    """Sets the faults of programs that have preloaded the library, by a file that they have mapped."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), SIZE)

    def inject(
        self, what: int, kinds: str = "", first: int = 1, last: int = ALWAYS, delay_us: int = 0, without: str = ""
    ) -> None:
        """Inject this fault into the `first` to `last` next call of these kinds (default: all).

        Calls of the kinds `without` are not supported (ENOSYS), and do not count.
        """
        self._memory[: HEAD.size] = HEAD.pack(0, 0, 0, 0, 0, 0, 0)
        self._memory[: HEAD.size] = HEAD.pack(_mask(kinds or ALL), first, last, what, delay_us, _mask(without), 0)

    def stop(self) -> None:
        """Inject no more faults. `calls` stays readable."""
        self._memory[: HEAD.size] = HEAD.pack(0, 0, 0, 0, 0, 0, self.n_calls)

    @property
    def n_calls(self) -> int:
        """Number of calls of the chosen kinds since the last `inject`."""
        n: int = HEAD.unpack(self._memory[: HEAD.size])[-1]
        return n

    @property
    def calls(self) -> list[str]:
        """Kinds of these calls."""
        return [KINDS[number] for number in self._memory[HEAD.size : HEAD.size + self.n_calls]]

    def __str__(self) -> str:
        return ", ".join(f"{n} {kind}" for kind, n in Counter(self.calls).items())


def _mask(kinds: str) -> int:
    return sum(1 << KINDS.index(kind) for kind in kinds.split())


class FaultyCalls(Control):
    """Faults of all programs with this `environment`, on files whose path contains `mark`; can change at any time."""

    def __init__(self, directory: Path, mark: str) -> None:
        """Skip the test where the library cannot be compiled. What controls it is in `directory`."""
        if not has_compiler():
            pytest.skip("faulty calls need Linux and a C compiler")
        library, control = compiled(SOURCE), directory / "iofault.control"
        control.write_bytes(bytes(SIZE))
        super().__init__(control)
        others = os.environ.get("LD_PRELOAD", "").split()
        preload = " ".join([str(library), *(other for other in others if not other.endswith(library.name))])
        self.environment = {"LD_PRELOAD": preload, "IOFAULT_CONTROL": str(control), "IOFAULT_MARK": mark}
