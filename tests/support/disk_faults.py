"""A recording camera whose disk gets faults, for the tests of disks."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from openhsi_shared.errors import ArgumentError, SaveError
from openhsi_shared.writer.handle import SaveHandle
from tests.support.account import Account
from tests.support.faulty_calls import STOP, FaultyCalls
from tests.support.helpers import wait_for
from tests.support.process_faults import camera, newest_writer

BAD = "bad_disk"
"""Faults apply to calls on paths that contain this."""
LINES = 8
LARGE = (64, 512)
"""Frames of 64 KiB: they are written past the page cache where supported."""


class Flight:
    """One camera, its writer, and the account of its frames; cubes go to good disks and to bad ones."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch, **keywords: Any) -> None:
        try:
            self._calls: FaultyCalls | None = FaultyCalls(directory, BAD)
        except pytest.skip.Exception:
            self._calls = None
        else:
            for name, value in self._calls.environment.items():
                patch.setenv(name, value)
        self.good = directory / "good"
        self.camera = camera(**{"n_lines": LINES, "n_buffers": 4, "resolution": LARGE, **keywords})
        self.is_damaged = False
        self._n_lines: int = self.camera.n_lines
        self._account, self._paths, self._n_cubes = Account(), set[Path](), 0
        self._failed: SaveHandle | None = None
        self._last: SaveHandle | None = None
        self.save(self.good)
        self._writer = newest_writer()
        self._n_open = self._writer.num_fds()

    @property
    def calls(self) -> FaultyCalls:
        """Faults of calls on bad disks; skips the test where they are not supported."""
        if self._calls is None:
            pytest.skip("faulty calls need Linux and a C compiler")
        return self._calls

    @property
    def writer(self) -> psutil.Process:
        """The writer process."""
        if not self._writer.is_running() or self._writer.status() == psutil.STATUS_ZOMBIE:
            self._writer = newest_writer()
        return self._writer

    def take(self) -> None:
        """Collect a cube, without saving it."""
        self.camera.collect()
        self._n_cubes += 1

    def begin(self, directory: Path, **how: Any) -> SaveHandle:
        """Collect a cube, and start its save."""
        self.take()
        self._last = self.camera.save(directory, **how)
        return self._last

    def end(self, handle: SaveHandle) -> Path:
        """Wait until it is saved, and add its file to the account."""
        path = handle.result(60).path
        assert path is not None
        return self.add_file(path)

    def add_file(self, path: Path) -> Path:
        """Add a file to the account."""
        self._account.read(path)
        self._paths.add(path)
        return path

    def save(self, directory: Path, **how: Any) -> Path:
        """Save a cube, which must succeed."""
        return self.end(self.begin(directory, **how))

    def fail(self, number: int | None, directory: Path, handle: SaveHandle | None = None, **how: Any) -> SaveError:
        """Save a cube in `directory`, which must fail: true errno, path, cube, advice; it is held, nothing leaks."""
        handle = handle or self.begin(directory, **how)
        message = rf": {handle.name} was not saved; it is kept in memory: retry\(directory\) saves it elsewhere"
        with pytest.raises(SaveError, match=message) as caught:
            handle.result(60)
        error = caught.value
        assert error.errno == number, error
        if number is not None:
            assert os.fsdecode(error.filename).startswith(str(directory))
        assert self.camera.status().slots["HELD"] == 1
        assert self.writer.num_fds() <= self._n_open
        self._failed = handle
        return error

    def retry(self, directory: Path) -> None:
        """Save the held cube, if there is one."""
        if self._failed is not None:
            self.end(self._failed.retry(directory))
            self._failed = None

    def go_on(self, *directories: Path, n_restarts: int | None = 0) -> None:
        """Check that the camera records while a cube is held, that a retry saves it, and that no frame is lost.

        `directories`, which had the faults, contain only files that were saved there; no writer crashed.
        """
        if self._calls is not None:
            self._calls.stop()
        self.save(self.good)
        self.retry(self.good.with_name("elsewhere"))
        verdict = self._account.verdict(self._n_cubes * self._n_lines)
        assert verdict.is_exact, str(verdict)
        assert verdict.declared_lost == 0
        for directory in directories:
            assert set(files_in(directory)) <= self._paths
        assert n_restarts is None or self.camera.status().writer_restarts == n_restarts
        assert self.writer.num_fds() <= self._n_open
        self.is_damaged = False

    @contextmanager
    def stopping(self, directory: Path, kind: str, n: int = 1) -> Iterator[SaveHandle]:
        """Save a cube; the writer is stopped before its `n`-th call of that kind, for the length of the block."""
        self.calls.inject(STOP, kind, n, n)
        handle = self.begin(directory)
        wait_for(lambda: self.calls.n_calls >= n and self.writer.status() == psutil.STATUS_STOPPED)
        try:
            yield handle
        finally:
            self.writer.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Close the camera, with or without unsaved cubes."""
        if self._calls is not None:
            self._calls.stop()
        if self._last is not None:
            with suppress(ArgumentError):  # it did not fail, or a retry saved it
                self._last.join(60)
                self._last.discard()
        self.camera.close()


def files_in(directory: Path) -> list[Path]:
    """Every file below `directory` except pictures, including hidden files."""
    return [path for path in directory.rglob("*") if path.is_file() and path.suffix != ".png"]
