"""`python -m benchmarks.chaos --minutes N`: record at a given rate, inject faults, and account for every frame.

Every 1 to 5 seconds, a process of the recording is killed or frozen, its disk is full, the wall clock is set,
or processes that read its slots are killed. All files are checked as they are published: every frame that the camera
offered must be saved or declared lost, once, with every bit right. As root (mounts of its own) the disk is a small one
that is really full; else its folder loses its write permission. Without a C compiler, the clock is not set.
"""

import argparse
import contextlib
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.flight import Flight, wait_for
from benchmarks.measuring import Plan, machine
from tests.support.clock_shim import SteppedClock

__all__ = ["Chaos"]

RESULTS = Path(__file__).parent / "results" / "chaos.json"
DEATHS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)
DISK_MB = 300


class Chaos:
    """Flights, one after the other, and the faults injected into them."""

    def __init__(self, folder: Path, seed: int, shape: tuple[int, int], rate: float) -> None:
        self.dice = random.Random(seed)
        self.folder, self.shape, self.rate = folder, shape, rate
        self.faults: Counter[str] = Counter()
        self.totals: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.until_saved: dict[str, list[float]] = {"main": [], "writer": []}
        self.stalls_s: list[float] = []
        """The longest one during each replacement of a writer."""
        self.quiet_stalls_s: list[float] = []
        """The longest one in a period of the same length before each of them, for comparison."""
        self.n_flights = 0
        self.left_in_shm: set[str] = set()
        self.disk, self.is_own_disk = folder / "disk", False
        self.disk.mkdir()
        self.clock: SteppedClock | None = None
        with contextlib.suppress(RuntimeError):
            self.clock = SteppedClock(folder)

    # ---- faults ----

    def possible_faults(self) -> list[tuple[int, Callable[[Flight], None]]]:
        """Faults that may be injected, with their weights."""
        found: list[tuple[int, Callable[[Flight], None]]] = [
            (4, self.kill_writer),
            (1, self.kill_writers_in_a_row),
            (2, self.freeze_writer),
            (1, self.freeze_recording),
            (1, self.kill_lookers),
            (1, self.freeze_lookers),
        ]
        if self.is_own_disk or os.geteuid() != 0:
            found.append((2, self.fill_disk))
        if self.clock is not None:
            found.append((2, self.set_clock))
        return found

    def kill_writer(self, flight: Flight) -> None:
        """Measure the time until another one saves, and how long the camera's loop was delayed."""
        if not wait_for(flight.writers):
            raise RuntimeError("there is no writer")
        writer = flight.writers()[-1]
        flight.names()
        since, since_ns = time.monotonic(), time.monotonic_ns()
        writer.send_signal(self.dice.choice(DEATHS))
        seconds = flight.seconds_until_saving(since, writer.pid)
        if seconds is None:
            self.complaints.append("no writer took over within 10 s")
            return
        self.until_saved["writer"].append(seconds)
        now_ns = time.monotonic_ns()
        self.stalls_s.append(flight.longest_stall_s(since_ns, now_ns))
        self.quiet_stalls_s.append(flight.longest_stall_s(2 * since_ns - now_ns, since_ns))

    def kill_writers_in_a_row(self, flight: Flight) -> None:
        """Each as soon as it is started."""
        for _ in range(self.dice.choice([2, 3])):
            if wait_for(flight.writers):
                flight.writers()[-1].send_signal(self.dice.choice(DEATHS))
                time.sleep(self.dice.uniform(0, 0.4))
        flight.seconds_until_saving(time.monotonic())

    def freeze_writer(self, flight: Flight) -> None:
        """Sometimes for longer than the slots last: then lines are lost, and reported."""
        if wait_for(flight.writers):
            self._freeze(flight.writers()[-1], self.dice.uniform(0.2, 2.5))

    def freeze_recording(self, flight: Flight) -> None:
        """The camera's queue overflows."""
        self._freeze(flight.recorder, self.dice.uniform(0.05, 0.6))

    def kill_lookers(self, flight: Flight) -> None:
        """Possibly during an answer of the control socket."""
        lookers = [looker for _ in range(3) if (looker := flight.looker())]
        time.sleep(self.dice.uniform(0.5, 1.0))
        for looker in lookers:
            looker.kill()
            looker.wait()

    def freeze_lookers(self, flight: Flight) -> None:
        """They have sent a request, and never read the answer."""
        lookers = [looker for _ in range(3) if (looker := flight.looker())]
        time.sleep(self.dice.uniform(0.3, 0.6))
        for looker in lookers:
            looker.send_signal(signal.SIGSTOP)
        time.sleep(self.dice.uniform(0.2, 2.5))
        for looker in lookers:
            looker.kill()
            looker.wait()

    def fill_disk(self, _: Flight) -> None:
        """Cubes are saved on the spare one meanwhile."""
        with self._no_room():
            time.sleep(self.dice.uniform(0.3, 1.5))

    def set_clock(self, _: Flight) -> None:
        """By a day, an hour, a second or a millisecond, back or forth."""
        if self.clock is not None:
            self.clock.step(self.dice.choice([-3600, 3600, -1, 1, -0.001, 0.001, 86400, 0]))

    def kill_main(self, flight: Flight) -> None:
        """The process that has the camera and the slots; sometimes while its writer is frozen."""
        flight.read_files()
        flight.names()
        wait_for(flight.writers)
        writers = flight.writers() if self.dice.random() < 0.3 else []
        for writer in writers:
            writer.send_signal(signal.SIGSTOP)
        flight.recorder.send_signal(self.dice.choice(DEATHS))
        since = time.monotonic()
        if writers:
            time.sleep(self.dice.uniform(0, 0.5))
            flight.resume_all()
        elif (seconds := flight.seconds_until_saving(since)) is not None:
            self.until_saved["main"].append(seconds)

    def _freeze(self, process: psutil.Process, seconds: float) -> None:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def _no_room(self) -> Iterator[None]:
        if not self.is_own_disk:
            folders = [self.disk, *(path for path in self.disk.iterdir() if path.is_dir())]
            for folder in folders:
                folder.chmod(0o500)
            try:
                yield
            finally:
                for folder in folders:
                    folder.chmod(0o700)
            return
        balloon = self.disk / "balloon"
        try:
            with balloon.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(1 << 20)):
                    pass
            yield
        finally:
            balloon.unlink()

    # ---- flights ----

    def fly(self, end: float, max_faults: int) -> None:
        """One flight, which is stopped cleanly or ends by the death of its process."""
        self.n_flights += 1
        folder = self.folder / f"flight_{self.n_flights}"
        (folder / "temporary").mkdir(parents=True)
        os.environ["TMPDIR"] = str(folder / "temporary")
        os.environ["XDG_RUNTIME_DIR"] = str(self.folder)
        if self.clock is not None:
            os.environ.update(self.clock.environment)
        flight = Flight(folder, self.disk, folder / "spare", self.shape, self.rate)
        weights, faults = zip(*self.possible_faults(), strict=True)
        n_faults = self.dice.randint(2, 12)
        try:
            for _ in range(n_faults):
                if time.monotonic() > end or self.faults.total() >= max_faults - 1:
                    break
                self._pause(flight)
                fault = self.dice.choices(faults, weights)[0]
                self.faults[fault.__name__] += 1
                fault(flight)
            self._pause(flight)
            if self.dice.random() < 0.7:
                self.faults["kill_main"] += 1
                self.kill_main(flight)
                verdict = flight.verdict_after_death()
            else:
                verdict = flight.end()
        finally:
            flight.resume_all()
            with contextlib.suppress(Exception):  # it may have been killed: see the verdict
                flight.run.stop()
        self._note(flight, verdict)
        shutil.rmtree(folder)
        for path in self.disk.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _pause(self, flight: Flight) -> None:
        until = time.monotonic() + self.dice.uniform(0.3, 3.0)
        flight.read_files()
        time.sleep(max(0.0, until - time.monotonic()))

    def _note(self, flight: Flight, verdict: Any) -> None:
        for name in ("wrong", "doubled", "unaccounted", "strange"):
            self.totals[name] += len(getattr(verdict, name))
        self.totals["offered"] += verdict.offered
        self.totals["saved"] += verdict.saved
        self.totals["declared_lost"] += verdict.declared_lost
        self.totals["recovered_cubes"] += flight.account.n_recovered
        if not verdict.is_exact:
            self.complaints.append(f"flight {self.n_flights}: {verdict}")
        ours = f"pym-{flight.recorder.pid}-"
        self.left_in_shm |= {path.name for path in Path("/dev/shm").iterdir() if path.name.startswith(ours)}
        print(f"flight {self.n_flights}: {verdict}", flush=True)

    def report(self) -> dict[str, Any]:
        """The totals, the times until another writer saves, and what is wrong."""
        return {
            "flights": self.n_flights,
            "faults": dict(self.faults),
            "n_faults": self.faults.total(),
            **{name: self.totals[name] for name in ("offered", "saved", "declared_lost", "recovered_cubes")},
            **{name: self.totals[name] for name in ("wrong", "doubled", "unaccounted", "strange")},
            "main_death_to_saving_ms": _spread(self.until_saved["main"]),
            "writer_death_to_saving_ms": _spread(self.until_saved["writer"]),
            "stall_by_writer_restart_ms": _spread(self.stalls_s),
            "stall_before_it_ms": _spread(self.quiet_stalls_s),
            "longest_stall_by_writer_restart_lines": round(max(self.stalls_s, default=0.0) * self.rate, 2),
            "rate": self.rate,
            "left_in_dev_shm": sorted(self.left_in_shm),
            "complaints": self.complaints,
            "disk": f"{DISK_MB} MB of its own" if self.is_own_disk else "a folder",
            "clock": "set" if self.clock else "not set: no C compiler",
        }


def _spread(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    ordered = sorted(1e3 * value for value in seconds)
    return {"n": len(ordered), "median": round(ordered[len(ordered) // 2], 1), "highest": round(ordered[-1], 1)}


def main() -> int:
    """Return 1 unless every frame of every flight is accounted for, and nothing was left behind."""
    arguments = _arguments()
    if not arguments.own_mounts and os.geteuid() == 0 and shutil.which("unshare"):
        again = ["unshare", "-m", "--propagation", "private", sys.executable, "-m", "benchmarks.chaos", "--own-mounts"]
        if subprocess.run([*again[:4], "true"], check=False, capture_output=True).returncode == 0:
            return subprocess.run([*again, *sys.argv[1:]], check=False).returncode
    logging.getLogger("openhsi_shared").addHandler(logging.NullHandler())  # its warnings are about injected faults
    with tempfile.TemporaryDirectory(dir=arguments.directory, prefix="openhsi_shared-chaos-") as name:
        chaos = Chaos(Path(name), arguments.seed, tuple(arguments.shape), arguments.rate)
        if arguments.own_mounts:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(chaos.disk)]
            chaos.is_own_disk = subprocess.run(mount, check=False, capture_output=True).returncode == 0
        about, end = machine(Plan(directory=Path(name))), time.monotonic() + 60 * arguments.minutes
        try:
            while time.monotonic() < end and chaos.faults.total() < arguments.faults:
                chaos.fly(end, arguments.faults)
        finally:
            if chaos.is_own_disk:
                subprocess.run(["umount", str(chaos.disk)], check=False)
        report = {
            "seed": arguments.seed,
            "seconds": round(time.monotonic() - end + 60 * arguments.minutes),
            **chaos.report(),
        }
    print(json.dumps(report, indent=1))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"machine": about, "report": report}, indent=1, default=str))
    bad = [report[name] for name in ("wrong", "doubled", "unaccounted", "strange", "left_in_dev_shm", "complaints")]
    return int(any(bad))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="duration; the last flight is stopped cleanly")
    parser.add_argument("--faults", type=int, default=10**9, help="maximum number of faults")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the random faults")
    parser.add_argument("--rate", type=float, default=500.0, help="lines per second")
    parser.add_argument("--shape", type=int, nargs=2, default=(128, 200), help="cross-track, wavelength")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file for the report")
    parser.add_argument("--directory", type=Path, help="folder for cubes")
    parser.add_argument("--own-mounts", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
