"""Calls of the system that fail, kill, or take their time, in programs that are started with an environment."""

import mmap
import os
import shutil
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("iofault.c")
ALL = "open write allocate truncate sync rename renameat2 link unlink mkdir lock close"
KINDS = ALL.split()
"""Kinds of calls, in the order in which the library numbers them."""
KILL, HALF, STOP = -1, -2, -3
"""What may come instead of an errno. HALF: half of a write, then the end; any other call goes well."""

HEAD = struct.Struct("=7q")
SIZE = HEAD.size + 65536
FOR_EVER = 1 << 62


class Control:
    """Chooses the faults of programs that are loaded with the library, by a file that they have mapped."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), SIZE)

    def inject(
        self, what: int, kinds: str = "", first: int = 1, last: int = FOR_EVER, delay_us: int = 0, without: str = ""
    ) -> None:
        """From now on, the `first` to `last` call of these kinds (all, if none is named) meets this fault.

        The system has no calls of the kinds `without`, and they do not count.
        """
        self._memory[: HEAD.size] = HEAD.pack(0, 0, 0, 0, 0, 0, 0)
        self._memory[: HEAD.size] = HEAD.pack(_mask(kinds or ALL), first, last, what, delay_us, _mask(without), 0)

    def stop(self) -> None:
        """No more faults. The calls so far can still be asked for."""
        self._memory[: HEAD.size] = HEAD.pack(0, 0, 0, 0, 0, 0, self.n_calls)

    @property
    def n_calls(self) -> int:
        """Calls of the chosen kinds since the last `inject`."""
        n: int = HEAD.unpack(self._memory[: HEAD.size])[-1]
        return n

    @property
    def calls(self) -> list[str]:
        """What these calls were."""
        return [KINDS[number] for number in self._memory[HEAD.size : HEAD.size + self.n_calls]]

    def __str__(self) -> str:
        return ", ".join(f"{n} {kind}" for kind, n in Counter(self.calls).items())


def _mask(kinds: str) -> int:
    return sum(1 << KINDS.index(kind) for kind in kinds.split())


class FaultyCalls(Control):
    """Faults of all programs with this `environment`, on files whose path holds `mark`; changed at any time."""

    def __init__(self, directory: Path, mark: str) -> None:
        """Compile the library into `directory`; skip the test where that cannot be done."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None or sys.platform != "linux":
            pytest.skip("faulty calls need Linux and a C compiler")
        library, control = directory / "iofault.so", directory / "iofault.control"
        command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", str(library), str(SOURCE), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        control.write_bytes(bytes(SIZE))
        super().__init__(control)
        others = os.environ.get("LD_PRELOAD", "").split()
        preload = " ".join([str(library), *(other for other in others if not other.endswith(library.name))])
        self.environment = {"LD_PRELOAD": preload, "IOFAULT_CONTROL": str(control), "IOFAULT_MARK": mark}
