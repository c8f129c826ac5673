"""`python -m benchmarks.whole_flight --log LOG`: one flight as users fly it, and every number of its report.

By the commands of a user: exposure, plan, dark, white, a service that records from a press of a (mock) button to the
next one, marks, a pause, an IOC that dies, an event with the seconds before it, report, track. The position is a log of
NMEA, spoken by a receiver at its own pace to a real gpsd; the lamp is a record of a real IOC. It takes 90 s a camera.
"""

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measuring import Plan, machine
from openhsi_shared.cameras import camera_class
from openhsi_shared.control.control_socket import find_sockets, request
from openhsi_shared.control.messages import AskGlance, Glance, Pause, Resume
from openhsi_shared.errors import OpenHSIError
from openhsi_shared.files.verifying import verify
from openhsi_shared.flight.config import FlightConfig, read_config, write_config
from tests.channels import receivers, servers
from tests.support.helpers import environment, wait_for
from tests.support.report_account import differences

__all__ = ["fly"]

RESULTS = Path(__file__).parent / "results" / "whole_flight.json"
RATE = 200.0
SHAPE = (160, 128)
BEFORE_S, AFTER_S = 10, 2
GPS_EPOCH_S, GPS_MINUS_UTC_S = 315964800, 18
FIX_S = 1.5
"""The last cube of a recording may be saved before the next fix of a receiver with 1 Hz has come."""
CAMERAS = ("simulated", "basler")
SERVICE = """
import runpy, signal, sys, threading
from gpiozero import Device
from gpiozero.pins.mock import MockFactory

Device.pin_factory = MockFactory()

def press():
    for _ in sys.stdin:
        pin = Device.pin_factory.pin(17)
        pin.drive_low()
        pin.drive_high()

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have ignored it, systemd does not
threading.Thread(target=press, daemon=True).start()
runpy.run_module("openhsi_shared", run_name="__main__", alter_sys=True)
"""
"""The program of a service, with a button that is pressed by a line on its standard input."""
SET_LAMP = "import epics, sys; sys.exit(not epics.caput('T:setpoint', float(sys.argv[1]), wait=True, timeout=10))"


class Wrong(AssertionError):
    """Something of the flight is not as it must be."""


def check(holds: object, what: str) -> None:
    """Raise unless it holds; `python -O` checks as well."""
    if not holds:
        raise Wrong(what)


# ---- the cameras ---------------------------------------------------------------------


def keywords_of(camera: str, folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Keywords of a camera, and what differs for its references (a cover, a white target)."""
    common = {"resolution": list(SHAPE), "pixel_format": "Mono12", "exposure_ms": 1.0}
    if camera == "simulated":
        light = {"light": 1200.0, "dark": [60.0, 1.0], "noise": 3.0, "celsius": [31.0, 1.0], "rate": RATE}
        return {**common, **light}, {"dark": {"light": 0.001}, "white": {"mode": "flat"}}

    def nodes(scene: str) -> dict[str, Any]:
        pictures = {"TestImageSelector": "Off", "ImageFileMode": "On", "ImageFilename": str(folder / scene)}
        return {"nodes": {"AcquisitionFrameRateEnable": True, "AcquisitionFrameRateAbs": RATE, **pictures}}

    _draw(folder)
    return {**common, **nodes("scene")}, {kind: nodes(kind) for kind in ("dark", "white")}


def _draw(folder: Path) -> None:
    """Pictures that pylon's emulated camera plays: a scene at 60 % of full scale, a cover, a white target."""
    random = np.random.default_rng(1)
    across, bands = np.linspace(0, 6, SHAPE[0])[:, None], np.sin(np.linspace(0.3, 2.8, SHAPE[1]))
    for kind, n in (("scene", 40), ("dark", 8), ("white", 8)):
        (folder / kind).mkdir()
        for number in range(n):
            level = {"scene": 1200 + 1200 * np.sin(across + number / 6), "dark": 0.0, "white": 3300.0}[kind]
            counts = level * bands + 60 + random.normal(0, 3, SHAPE)
            image = Image.fromarray((np.clip(counts, 0, 4095).astype(np.uint16)) << 4)
            image.save(folder / kind / f"{number:03}.png")


# ---- the commands --------------------------------------------------------------------


class Commands:
    """Commands of this library, run in one folder, with control sockets of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (runtime := folder / "run").mkdir(mode=0o700)
        os.environ.update(XDG_RUNTIME_DIR=str(runtime), PYLON_CAMEMU="1", GPIOZERO_PIN_FACTORY="mock", COLUMNS="160")

    def run(self, *arguments: object) -> str:
        """Output of a command that must succeed."""
        command = [sys.executable, "-m", "openhsi_shared", *map(str, arguments)]
        done = subprocess.run(command, cwd=self.folder, env=environment(), capture_output=True, text=True, check=False)
        print(f"$ openhsi-shared {shlex.join(map(str, arguments))}\n{done.stdout}{done.stderr}", flush=True)
        check(done.returncode == 0, f"{arguments}: exit code {done.returncode}")
        return done.stdout

    @contextmanager
    def service(self, *more: object) -> Iterator[subprocess.Popen[str]]:
        """Start what a systemd unit starts, with more arguments; it is killed if it does not end."""
        unit = self.run("service", "--config", "flight.toml")
        [line] = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
        python, _, _, *arguments = shlex.split(line)
        command = [python, "-c", SERVICE, *arguments, *map(str, more)]
        print(f"$ {shlex.join(arguments)} {shlex.join(map(str, more))}", flush=True)
        log = self.folder / "service.log"
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with (
            log.open("w") as errors,
            subprocess.Popen(command, cwd=self.folder, env=environment(), stderr=errors, **pipes) as process,
        ):
            try:
                wait_for(lambda: "waiting for the button" in log.read_text(), 60)
                yield process
            finally:
                process.kill()
                print(log.read_text(), flush=True)


def press(service: subprocess.Popen[str]) -> None:
    """Press its button."""
    assert service.stdin is not None
    service.stdin.write("press\n")
    service.stdin.flush()


def glance() -> Glance | None:
    """The state of the recording that runs; None if there is none."""
    for path in find_sockets():
        try:
            return request(Path(path), AskGlance()).answer
        except OpenHSIError:
            return None
    return None


def wait_for_lines(n: int) -> None:
    """Wait until so many lines were taken."""
    wait_for(lambda: (now := glance()) is not None and now.status.lines >= n, 60)


def end_of(service: subprocess.Popen[str], *, is_pressed: bool) -> None:
    """End its recording, by its button or by a signal, and the service; check that it lost nothing."""
    if is_pressed:
        press(service)
        wait_for(lambda: not find_sockets(), 60)
    service.send_signal(signal.SIGINT)
    out, _ = service.communicate(timeout=120)
    print(out, flush=True)
    check(service.returncode in (0, 130), f"the service ended with {service.returncode}")
    check(re.search(r"^lost +0$", out, re.MULTILINE), "lines were lost")


# ---- the flight ----------------------------------------------------------------------


def fly(camera: str, log: Path, folder: Path) -> dict[str, Any]:
    """Fly once in a folder; returns what was found. Wrong if anything is."""
    commands = Commands(folder)
    of_camera, of_references = keywords_of(camera, folder)
    with ExitStack() as stack:
        ioc = stack.enter_context(servers.running(servers.softioc()))
        receiver = stack.enter_context(receivers.receiver(folder))
        gpsd = stack.enter_context(receivers.gpsd(receiver.port))
        options = _prepare(commands, camera, of_camera, gpsd.port)
        for kind in ("dark", "white"):
            commands.run("reference", kind, "--camera", camera, *_as_options({**options, **of_references[kind]}))
        stack.enter_context(receivers.playing(receiver, log))
        with commands.service() as service:
            press(service)
            wait_for_lines(1)
            _first_leg(commands, ioc)
            end_of(service, is_pressed=True)
        ioc.start()
        of_event = ("--save-when", "lamp > 6", "--keep-before", BEFORE_S, "--keep-after", AFTER_S)
        with commands.service(*of_event, "--lines", 256, "--buffers", 14) as service:
            press(service)
            wait_for_lines(1)
            begun_at, ended_at = _second_leg()
            end_of(service, is_pressed=False)
    commands.run("report", "flight", "--json")
    commands.run("track", "flight", "--to", "lcf", "--level", "--out", "track")
    report = json.loads((folder / "flight" / "report.json").read_text())
    found = _check_flight(folder / "flight", report, begun_at, ended_at)
    return {**found, **_check_track(folder, log)}


def _prepare(commands: Commands, camera: str, of_camera: Mapping[str, Any], port: int) -> dict[str, Any]:
    """Exposure, flight.toml and plan; returns the keywords of the camera with its exposure."""
    with camera_class(camera)(n_lines=16, **of_camera) as opened:
        exposure = opened.auto_exposure(rate=RATE)
    print(f"auto_exposure: {exposure}", flush=True)
    options = {**of_camera, "exposure_ms": exposure.exposure_ms}
    channels = {
        "gps": {"source": f"gpsd:127.0.0.1:{port}", "clock": "fit"},
        "lamp": {"source": "ca:T:setpoint", "unit": "W", "required": False},
    }
    config = FlightConfig(record={"button": 17}, channels=channels)
    write_config(config, commands.folder / "flight.toml")
    commands.run("plan", "--camera", camera, "--out", "flight", "--for", 5, *_as_options(options))
    check(read_config(commands.folder / "flight.toml").channels == channels, "the plan has changed the channels")
    return options


def _as_options(keywords: Mapping[str, Any]) -> list[str]:
    return [text for key, value in keywords.items() for text in ("--option", f"{key}={json.dumps(value)}")]


def _first_leg(commands: Commands, ioc: servers.Server) -> None:
    """Three marks, a pause, and the IOC killed."""
    commands.run("mark", "start of line 1")
    wait_for_lines(400)
    commands.run("mark", "a boat")
    socket = Path(find_sockets()[0])
    request(socket, Pause())
    time.sleep(2)
    request(socket, Resume())
    wait_for_lines(800)
    ioc.kill()
    wait_for_lines(1500)
    commands.run("mark", "end of line 1")
    wait_for_lines(1700)


def _second_leg() -> tuple[float, float]:
    """Wait for as long as is to be kept, and longer; the event, and some time after it. Returns its begin and end."""
    time.sleep(BEFORE_S + 2)
    begun_at = _set_lamp(7.0)
    time.sleep(3)
    ended_at = _set_lamp(5.0)
    time.sleep(AFTER_S + 4)
    return begun_at, ended_at


def _set_lamp(watt: float) -> float:
    subprocess.run([sys.executable, "-c", SET_LAMP, str(watt)], env=environment(), check=True, capture_output=True)
    return time.time()


# ---- the account ---------------------------------------------------------------------


def _check_flight(directory: Path, report: Mapping[str, Any], begun_at: float, ended_at: float) -> dict[str, Any]:
    wrong = differences(directory, report)
    check(not wrong, "\n".join(["the report differs from the files:", *wrong]))
    for cube in report["cubes"]:
        checked = verify(directory / cube["path"])
        check(checked.ok, f"{cube['path']}: {checked.problems}")
    check(report["n_lines_lost"] == 0, f"{report['n_lines_lost']} lines were lost")
    check(all(gap["n_lost"] == 0 for gap in report["gaps"]), f"gaps: {report['gaps']}")
    first, second = report["recordings"]
    marks = [mark["text"] for mark in report["marks"]]
    check(marks == ["start of line 1", "a boat", "end of line 1"], f"marks: {marks}")
    [pause] = report["pauses"]
    check(pause["n_frames"] >= 0.5 * 2 * RATE, f"pause: {pause}")
    lamp = next(one for one in report["channels"] if (one["recording"], one["name"]) == (1, "lamp"))
    check({"unchanged", "lost"} <= lamp["states"].keys(), f"the lamp does not change, and is lost: {lamp['states']}")
    [event] = report["events"]
    begin, end = (datetime.fromisoformat(event[name]).replace(tzinfo=UTC).timestamp() for name in ("begin", "end"))
    check(begin <= begun_at - BEFORE_S, f"the event begins {begun_at - begin:.2f} s before the lamp")
    check(end >= ended_at + AFTER_S - 0.5, f"the event ends {end - ended_at:.2f} s after the lamp")
    of_event = [cube for cube in report["cubes"] if cube["event"]]
    joins = [after["first_frame_id"] - before["last_frame_id"] for before, after in pairwise(of_event)]
    check(joins == [1] * (len(of_event) - 1), f"the event has gaps: {joins}")
    check({one["n_cubes_embedded"] for one in report["references"]} == {report["n_cubes"]}, "references are missing")
    return {
        "cubes": report["n_cubes"],
        "lines": report["n_lines"],
        "lost": 0,
        "rate": [round(first["rate"], 2), round(second["rate"], 2)],
        "paused_s": round(pause["seconds"], 2),
        "lamp": lamp["states"],
        "seconds_before_the_event": round(begun_at - begin, 2),
        "seconds_after_the_event": round(end - ended_at, 2),
        "remarks": report["remarks"],
    }


def _check_track(folder: Path, log: Path) -> dict[str, Any]:
    """Every row of the `.lcf` files is a position of the log, at its time."""
    positions = _positions_in(log)
    rows = np.concatenate([np.loadtxt(path, ndmin=2) for path in sorted((folder / "track").rglob("*.lcf"))])
    check(len(rows), "there is no track")
    for gps_s, roll, pitch, _yaw, longitude, latitude, _altitude in rows:
        second = round(gps_s - GPS_MINUS_UTC_S + GPS_EPOCH_S, 2) % 86400
        check(second in positions, f"the log has no fix at {second}")
        expected = positions[second]
        check(np.allclose([latitude, longitude], expected, rtol=0, atol=1e-7), f"{second}: {latitude}, {longitude}")
        check(roll == pitch == 0, "it is not level")
    n_lines, n_after = 0, 0
    for path in sorted((folder / "track").rglob("*.times")):
        times, track = np.loadtxt(path), np.loadtxt(path.with_suffix(".lcf"), ndmin=2)
        late_s = times[-1] - track[-1, 0]
        what = f"{path.name}: {times[0]:.3f} to {times[-1]:.3f}, the track {track[0, 0]} to {track[-1, 0]}"
        check(track[0, 0] <= times[0] < times[-1] and late_s <= FIX_S, what)
        n_lines, n_after = n_lines + len(times), n_after + int(np.count_nonzero(times > track[-1, 0]))
    return {"rows of lcf": len(rows), "lines with a track": n_lines, "lines after its last fix": n_after}


def _positions_in(log: Path) -> dict[float, tuple[float, float]]:
    """Second of the day: latitude and longitude of GGA."""
    found = {}
    for line in log.read_text(encoding="ascii", errors="replace").splitlines():
        fields = line.split(",")
        if fields[0].endswith("GGA") and fields[2]:
            second = (int(fields[1][:2]) * 60 + int(fields[1][2:4])) * 60 + float(fields[1][4:])
            latitude, longitude = (_degrees(fields[at], fields[at + 1]) for at in (2, 4))
            found[round(second, 2)] = latitude, longitude
    return found


def _degrees(text: str, side: str) -> float:
    whole = text.index(".") - 2
    return (float(text[:whole]) + float(text[whole:]) / 60) * (-1 if side in "SW" else 1)


def main(given: Sequence[str] | None = None) -> int:
    """Return 1 if something was not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whole_flight", description=__doc__)
    parser.add_argument("--log", type=Path, required=True, help="NMEA of a receiver, such as gpsd's test logs")
    parser.add_argument("--camera", choices=CAMERAS, action="append", help="may be repeated; all if none is given")
    parser.add_argument("--directory", type=Path, help="keep the flights in this folder")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file for the report")
    arguments = parser.parse_args(given)
    about, report = machine(Plan(directory=arguments.directory or Path(tempfile.gettempdir()))), dict[str, Any]()
    for camera in arguments.camera or CAMERAS:
        with tempfile.TemporaryDirectory(prefix="openhsi_shared-flight-") as name:
            folder = Path(name) if arguments.directory is None else arguments.directory / camera
            folder.mkdir(parents=True, exist_ok=True)
            try:
                report[camera] = fly(camera, arguments.log, folder)
                print(json.dumps({camera: report[camera]}, indent=1), flush=True)
            except Wrong as error:
                report[camera] = {"wrong": str(error)}
                print(f"WRONG {camera}: {error}", flush=True)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"machine": about, "report": report}, indent=1, default=str))
    return int(any("wrong" in found for found in report.values()))


if __name__ == "__main__":
    raise SystemExit(main())
