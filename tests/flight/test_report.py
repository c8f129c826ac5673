"""The report of a flight: its numbers against the files, its page in a browser, and directories with bad files."""

import json
import os
import re
import shutil
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pytest

from openhsi_shared.columns import COLUMNS, Column
from openhsi_shared.errors import ArgumentError, FileError, SaveError
from openhsi_shared.files import CubeWriter
from openhsi_shared.flight.report.writing import write_report
from openhsi_shared.processes import pool
from tests.support.commands import run_here
from tests.support.cubes import make_cube
from tests.support.flown import GPS_AHEAD_S, MARKS, fly

S = 10**9
BEGIN = 1_700_000_000 * S


@pytest.fixture(scope="module")
def flown(tmp_path_factory, monkeymodule):
    """A recorded flight, and its report as JSON."""
    directory = tmp_path_factory.mktemp("flown") / "flight"
    fly(directory)
    facts, (page, numbers) = write_report(directory, as_json=True)
    assert facts.problems == ()
    return directory, page.read_text(encoding="utf-8"), json.loads(numbers.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def monkeymodule(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        yield patch


@pytest.fixture
def here(monkeypatch):
    """Read files in this process."""
    monkeypatch.setattr(pool, "MAX_PARALLEL", 1)


def cubes_of(directory):
    """Variables and attributes of all cubes in the order of time, read with netCDF4 only."""
    found = []
    for path in sorted(directory.rglob("2*_*/2*.nc")):
        with netCDF4.Dataset(path) as file:
            file.set_auto_mask(False)
            attributes = {name: file.getncattr(name) for name in file.ncattrs()}
            lines = {name: one[:] for name, one in file.variables.items() if one.dimensions == ("y",)}
            found.append((path.relative_to(directory).as_posix(), lines, attributes))
    return found


def test_every_number_is_that_of_the_files(flown):
    directory, _, report = flown
    cubes = cubes_of(directory)
    lines = {name: np.concatenate([one[name] for _, one, _ in cubes]) for name in cubes[0][1]}
    assert report["n_cubes"] == report["n_intact"] == len(cubes)
    assert report["n_lines"] == len(lines["time"])
    assert report["n_lines_lost"] == sum(about["lines_lost"] for *_, about in cubes) == 3
    assert report["n_bytes"] == sum((directory / path).stat().st_size for path, *_ in cubes)
    for cube, (path, own, about) in zip(report["cubes"], cubes, strict=True):
        assert (cube["path"], cube["n_lines"], cube["lines_lost"]) == (path, len(own["time"]), about["lines_lost"])
        assert [cube["first_frame_id"], cube["last_frame_id"]] == own["frame_id"][[0, -1]].tolist()
        assert cube["latitude"] == pytest.approx(np.nanmean(own["gps_latitude"]))
        assert cube["temperature"]["maximum"] == pytest.approx(np.nanmax(own["temperature"]))
    [recording] = report["recordings"]
    assert recording["rate"] == pytest.approx(300, rel=1e-3)
    assert (recording["log_n_lines"], recording["log_n_lines_lost"]) == (len(lines["time"]), 3)
    gaps = [(gap["n_lost"], gap["n_paused"], gap["n_not_wanted"]) for gap in report["gaps"]]
    [pause] = report["pauses"]
    assert gaps == [(2, 0, 0), (1, 0, 0), (0, pause["n_frames"], 0)]
    steps = np.diff(lines["frame_id"])
    assert [gap["n_frames"] for gap in report["gaps"]] == (steps[steps > 1] - 1).tolist()
    channels = {one["name"]: one for one in report["channels"]}
    for name, states in (("gps", lines["gps_state"]), ("lamp", lines["lamp_state"])):
        assert sum(channels[name]["states"].values()) == len(states)
        assert channels[name]["states"]["good"] == np.count_nonzero(states == 0)
    assert channels["lamp"]["n_without_value"] == np.count_nonzero(np.isnan(lines["lamp"]))
    assert channels["lamp"]["values"]["value"]["mean"] == pytest.approx(np.nanmean(lines["lamp"]))
    [clocks] = report["clocks"]
    assert clocks["offset_s"]["mean"] == pytest.approx(np.nanmean(lines["clock_offset"]))
    assert clocks["offset_s"]["mean"] == pytest.approx(GPS_AHEAD_S, abs=0.05)
    references = {one["kind"]: one for one in report["references"]}
    assert {one["n_cubes_embedded"] for one in references.values()} == {len(cubes)}
    with netCDF4.Dataset(directory / references["white"]["path"]) as file:
        assert references["white"]["brightness"] == file.brightness
    assert [mark["text"] for mark in report["marks"]] == list(MARKS)
    marked = [json.loads(about["marks"]) for *_, about in cubes if "marks" in about]
    assert [mark["line"] for mark in report["marks"]] == [mark["line"] for one in marked for mark in one]
    assert (report["plan"]["planned"]["rate"], report["log"]["mark"]) == (300.0, 2)
    assert report["plan"]["came"]["rate"] == recording["rate"]
    assert report["plan"]["came"]["n_buffers"] == report["plan"]["planned"]["n_buffers"] == 4


def test_the_page_is_one_file_in_which_texts_of_the_flight_are_only_texts(flown):
    _, page, report = flown
    assert "&lt;script&gt;document.title" in page
    assert "<script" not in page
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page)
    assert {address.split(",")[0] for address in addresses if address[0] != "#"} == {"data:image/jpeg;base64"}
    for section in (
        "Contact sheet",
        "Track",
        "Over time",
        "Marks",
        "Losses",
        "References",
        "Settings",
        "Plan",
        "Clocks",
    ):
        assert f"<h2>{section}" in page
    assert page.count("data:image/jpeg") == report["n_cubes"] + len(report["references"])


BLANK = """images => images.map(image => {
    const canvas = document.createElement("canvas")
    canvas.width = image.naturalWidth; canvas.height = image.naturalHeight
    const context = canvas.getContext("2d")
    context.drawImage(image, 0, 0)
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data
    const reds = pixels.filter((_, index) => index % 4 === 0).sort()
    return reds[reds.length - 1] - reds[0]
})"""


def test_a_browser_shows_it_from_a_file_without_requests(flown, look):
    directory, _, report = flown
    tab = look((directory / "report.html").as_uri())
    assert [url for url in tab.requests if not url.startswith("data:")] == [(directory / "report.html").as_uri()]
    assert tab.errors == []
    assert tab.page.title() == "flight · flight report"
    ranges = tab.page.locator("img").evaluate_all(BLANK)
    assert len(ranges) == report["n_cubes"] + 2
    assert min(ranges) > 20, "no picture is blank"
    assert tab.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    strokes = tab.page.locator("svg path").evaluate_all("all => all.map(one => getComputedStyle(one).stroke)")
    assert len(set(strokes)) > 3, "the variables of the page are colours"
    tab.picture("report")


# ---- directories of all kinds ----------------------------------------------------------------


def write(directory, number=0, *, n_lines=20, step=10**7, seconds=0.0, columns=None, described=(), **attributes):
    """A cube of a recording, whose lines follow those of the cubes with lower numbers."""
    numbers = np.arange(n_lines)
    times = BEGIN + round(seconds * S) + (number * n_lines + numbers) * step
    cube = make_cube(
        n_lines,
        columns={"time_ns": times, "frame_id": 100 + number * n_lines + numbers, **(columns or {})},
        column_descriptions=(*COLUMNS, *described),
        attributes={"run_id": "one", "lines_lost": 0, "lines_lost_before": 0, "lines_lost_within": 0} | attributes,
    )
    directory.mkdir(parents=True, exist_ok=True)
    with CubeWriter(n_lines, (5, 7), np.uint16) as writer:
        return writer.write(cube, [directory], picture=False).path


@pytest.mark.usefixtures("here")
def test_damaged_foreign_and_unfinished_files_are_named_and_the_others_reported(flown, tmp_path):
    directory = tmp_path / "flight"
    shutil.copytree(flown[0], directory)
    good, *bad = sorted(directory.rglob("2*_*/2*.nc"))
    cut, flipped = bad[:2]
    os.truncate(cut, cut.stat().st_size // 2)
    with h5py.File(flipped) as file:
        position = file["datacube"].id.get_chunk_info(1).byte_offset
    content = bytearray(flipped.read_bytes())
    content[position] ^= 0xFF
    flipped.write_bytes(content)
    folder = good.parent
    (folder / "empty.nc").touch()
    (folder / "notes.nc").write_text("no cube")
    with netCDF4.Dataset(folder / "foreign.nc", "w") as file:
        file.createDimension("n", 3)
        file.createVariable("numbers", "i4", ("n",))[:] = 7
    part = folder / ".2026_01_01-00_00_00_000000.nc.99999.part"
    part.write_bytes(good.read_bytes()[:5000])
    white = next((directory / "references").glob("white*"))
    white.write_bytes(white.read_bytes()[:3000])
    with (directory / "flight_log.jsonl").open("ab") as file:
        file.write(b'{"time": "2026\n[1, 2]\n')
    (directory / "report.json").unlink()
    ended = run_here(tmp_path, "report", "flight", "--json")
    report = json.loads((directory / "report.json").read_text())
    problems = "\n".join(report["problems"])
    for path in (cut, flipped, folder / "empty.nc", folder / "notes.nc", folder / "foreign.nc", part, white):
        assert path.name in problems
        assert str(path) not in problems, "paths are those within the directory"
    assert re.search(r"flight_log.jsonl is damaged: lines \d+, \d+ are no entries", problems)
    assert ended.code == 1
    assert all(problem in ended.out for problem in report["problems"])
    assert report["n_cubes"] == flown[2]["n_cubes"] - 1, "the one that is cut off"
    assert report["n_intact"] == flown[2]["n_cubes"] - 2
    assert [one["n_damaged_lines"] for one in report["cubes"] if not one["is_intact"]] == [1]
    assert report["n_lines_lost"] == sum(one["lines_lost"] for one in report["cubes"])


@pytest.mark.usefixtures("here")
def test_two_recordings_a_copy_and_a_result_are_told_apart(tmp_path):
    flight = tmp_path / "flight"
    for number in range(3):
        path = write(flight, number, lines_lost=number, lines_lost_before=number)
    shutil.copy(path, flight / "again.nc")
    write(flight, seconds=60, run_id="two", exposure_ms=2.0, settings=json.dumps({"gain": 1}))
    write(flight, 1, seconds=60, run_id="two", exposure_ms=3.0, settings=json.dumps({"gain": 1, "mode": "b"}))
    write(flight, 9, run_id="three", source_file="x.nc")
    facts, _ = write_report(flight)
    assert (facts.n_cubes, facts.n_lines, facts.n_lines_lost, facts.problems) == (5, 100, 3, ())
    assert [one.n_cubes for one in facts.recordings] == [3, 2]
    assert len(facts.results) == 1
    assert [(one.name, one.before, one.after) for one in facts.settings_changed] == [
        ("exposure_ms", 2.0, 3.0),
        ("mode", None, "b"),
    ]
    remarks = "\n".join(facts.remarks)
    assert "3 of 103 lines were lost" in remarks
    assert "exposure_ms changed from 2.0 to 3.0" in remarks
    assert "the same cube is in 2 files, and counted once" in remarks
    assert facts.cubes[0].latitude is None, "no GPS"


@pytest.mark.usefixtures("here")
def test_saturation_and_events_are_those_of_the_files(tmp_path):
    saturated = Column("saturated", "float32", "1", "share of saturated pixels")
    for number, event in enumerate([1, 1, 2]):
        shares = np.full(20, 0.01 * number, np.float32)
        lost = {"lines_lost": 1, "lines_lost_before": 1} if number == 2 else {}
        write(tmp_path, 2 * number, columns={"saturated": shares}, described=(saturated,), event=event, **lost)
    facts, [page] = write_report(tmp_path)
    assert [(one.number, one.n_cubes, one.n_lines) for one in facts.events] == [(1, 2, 40), (2, 1, 20)]
    assert [one.saturated.mean for one in facts.cubes] == pytest.approx([0, 0.01, 0.02])
    assert [(one.n_frames, one.n_lost, one.n_not_wanted) for one in facts.gaps] == [(20, 0, 20), (20, 1, 19)]
    assert "saturated (% of pixels)" in page.read_text()


@pytest.mark.usefixtures("here")
def test_frames_of_averaged_lines_are_counted(tmp_path):
    """Of four frames each; the last one of line 2 was lost, and between the cubes four."""
    used = Column("frames_used", "uint64", "1", "frames")
    for number, first in enumerate((0, 24)):
        bits = np.array([15, 15, 7, 15, 15], np.uint64)
        ids = first + 4 * np.arange(5)
        lost = {"lines_lost": 5, "lines_lost_before": 4, "lines_lost_within": 1} if number else {}
        columns = {"frames_used": bits, "frame_id": ids}
        write(tmp_path, number, n_lines=5, columns=columns, described=(used,), average=4, **lost)
    facts, _ = write_report(tmp_path)
    assert (facts.n_lines, facts.n_frames) == (10, 38)
    assert [(one.first_frame_id, one.n_lost) for one in facts.gaps] == [(11, 1), (20, 4), (35, 1)]
    assert "5 of 43 frames were lost" in facts.remarks


@pytest.mark.usefixtures("here")
def test_cubes_of_several_cameras_are_side_by_side_in_pairs(tmp_path):
    for number in range(3):
        for camera in ("vnir", "swir"):
            write(tmp_path / camera, number, run_id=camera, joint_name=camera, seconds=0.03 * (camera == "swir"))
    write(tmp_path / "vnir", 50, run_id="vnir", joint_name="vnir")
    facts, [page] = write_report(tmp_path)
    assert [one.camera for one in facts.recordings] == ["vnir", "swir"]
    sheet = re.search('<div class="sheet pairs".*?</section>', page.read_text(), re.DOTALL)[0]
    titles = re.findall(r'<figure title="(\w+)/[^"]*"|(<div></div>)', sheet)
    assert [name or "none" for name, _ in titles] == ["vnir", "swir"] * 3 + ["vnir", "none"]


@pytest.mark.usefixtures("here")
def test_a_report_can_be_elsewhere_and_replaces_an_earlier_one(tmp_path):
    flight = tmp_path / "flight"
    write(flight)
    _, written = write_report(flight, tmp_path / "out", as_json=True)
    assert written == [tmp_path / "out" / "report.html", tmp_path / "out" / "report.json"]
    assert write_report(flight, tmp_path / "day 1.html")[1] == [tmp_path / "day 1.html"]
    before = written[0].read_bytes()
    write(flight, 1)
    write_report(flight, tmp_path / "out")
    assert written[0].read_bytes() != before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.json"]
    ended = run_here(tmp_path, "report", "flight")
    assert (ended.code, ended.out.splitlines()) == (
        0,
        [str(Path("flight/report.html")), "2 cubes, 40 lines, none lost; 2 cubes are intact"],
    )
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match=r"choose another directory for the report, with out \(--out\)"):
        write_report(flight, tmp_path / "file" / "out")


@pytest.mark.usefixtures("here")
def test_what_is_no_flight_is_one_clear_error(tmp_path):
    with pytest.raises(ArgumentError, match="nowhere is no directory: give the one that a flight was recorded in"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(FileError, match=r"contains no recorded cube that can be read \(\*\.nc\)$"):
        write_report(tmp_path)
    (tmp_path / "cut.nc").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(FileError, match=r"no recorded cube that can be read .*cut\.nc"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()
