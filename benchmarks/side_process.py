"""Another program that gets requests one after the other: JSON lines on its input, JSON lines on its output."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

__all__ = ["SideProcess"]

ROOT = Path(__file__).parent.parent


class SideProcess:
    """A program that is compared with this library. It lives until the `with` ends."""

    def __init__(self, name: str, command: Sequence[str | Path], **environment: str) -> None:
        """`name`: for errors. It runs in the root of this checkout."""
        self._name, self._command = name, " ".join(map(str, command))
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "MPLBACKEND": "agg", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Send a request and block until it is done. RuntimeError if the program ends instead."""
        request = json.dumps({"do": do, **order})
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError(f"{self._name}'s process has no pipes")
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            line = ""
        else:
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"{self._name}'s process ended with {self._process.wait()} at {do!r}: send the request to "
                f"`{self._command}` by hand: {request}"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._process.communicate(timeout=60)
        except BrokenPipeError:  # it has ended, which `ask` has reported
            self._process.wait(60)
