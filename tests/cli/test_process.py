"""Whether `process` and `jobs` do what they are told, and their exit codes say so."""

import gc
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openhsi_shared import open_cube, verify
from openhsi_shared.errors import FileError
from openhsi_shared.jobs import PipelineJob
from openhsi_shared.jobs.workers.surveying import surveys_of
from tests.support.commands import run_here
from tests.support.helpers import wait_for
from tests.support.job_cubes import save_cube, save_raw_cube

Run = Callable[..., Any]


def results_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in (".nc", ".zarr", ".hdr"))


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    """Two cubes in folders of two days."""
    for day in ("2026_11_01", "2026_11_02"):
        (tmp_path / "flight" / day).mkdir(parents=True)
        save_cube(tmp_path / "flight" / day / f"{day}.nc", 6, (5, 7))
    return tmp_path / "flight"


def test_all_cubes_of_a_folder_are_processed_its_folders_kept_and_skipped_the_next_time(
    run: Run, flight: Path, tmp_path: Path
) -> None:
    command = ("process", "flight", "--stage", "crop:rows=1-4", "--stage", "bin_bands:n=2", "--out", "out")
    ended = run(*command)
    assert ended.code == 0, ended.err
    assert len(ended.out.splitlines()) == 2
    made = results_in(tmp_path / "out")
    assert [path.relative_to(tmp_path / "out") for path in made] == [
        path.relative_to(flight) for path in results_in(flight)
    ]
    for path, source in zip(made, results_in(flight), strict=True):
        with open_cube(path) as cube, open_cube(source) as raw:
            expected = raw.lines[:, 1:4, :6].reshape(6, 3, 3, 2).astype(np.float64).mean(-1)
            np.testing.assert_array_equal(cube.lines[:], expected.astype(np.float32))
    before = {path: path.stat().st_mtime_ns for path in made}
    again = run(*command)
    assert again.code == 0
    assert again.out.count("there already") == 2
    assert {path: path.stat().st_mtime_ns for path in results_in(tmp_path / "out")} == before


@pytest.mark.parametrize(("to", "ending"), [("zarr", ".zarr"), ("envi", ".hdr")])
def test_each_format_is_written(run: Run, flight: Path, tmp_path: Path, to: str, ending: str) -> None:
    ended = run("process", "flight", "--to", to, "--out", "out")
    assert ended.code == 0, ended.err
    assert [path.suffix for path in results_in(tmp_path / "out")] == [ending] * 2


def test_a_cube_that_fails_is_reported_and_the_other_is_made(run: Run, flight: Path, tmp_path: Path) -> None:
    bad = flight / "2026_11_01" / "2026_11_01.nc"
    bad.write_bytes(bad.read_bytes()[:2000])
    ended = run("process", "flight", "--out", "out")
    assert ended.code == 1
    assert ended.err.count(str(bad)) == 1, ended.err
    assert "1 made, 1 failed" in ended.err
    assert len(results_in(tmp_path / "out")) == 1


def test_a_result_of_a_function_of_this_folder_is_made_again_like_it(
    run_apart: Run, flight: Path, tmp_path: Path
) -> None:
    (tmp_path / "doubling.py").write_text("def double(line):\n    return line * 2\n")
    first = run_apart("process", "flight", "--function", "doubling:double", "--out", "one")
    assert first.code == 0, first.err
    like = sorted((tmp_path / "one").rglob("*.nc"))
    again = run_apart("process", "--like", like[0], "flight", "--out", "two", "--allow-functions", PYTHONSAFEPATH="1")
    assert again.code == 0, again.err
    for path in like:
        with open_cube(path) as cube, open_cube(tmp_path / "two" / path.relative_to(tmp_path / "one")) as made:
            assert np.array_equal(cube.lines[:], made.lines[:])
            assert cube.attributes["pipeline_hash"] == made.attributes["pipeline_hash"]


def test_a_function_of_a_file_in_this_folder_gives_a_table(
    run_apart: Run, run: Run, flight: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def first(line):\n"
        "    rows = np.zeros(1, [('value', 'f4')])\n"
        "    rows['value'] = line[0, 0]\n"
        "    return rows\n"
    )
    ended = run_apart("process", "flight", "--function", "mine:first", "--to", "table", "--out", "out")
    assert ended.code == 0, ended.err
    assert ended.out.count("6 rows") == 2
    assert all(verify(path).ok for path in results_in(tmp_path / "out"))
    for text, problem in (("mine", "MODULE:NAME"), ("json:second", "no second"), ("nowhere:f", "cannot be imported")):
        assert problem in run("process", "flight", "--function", text, "--out", "other").err


def test_a_recipe_is_taken_from_a_file_and_from_a_result(run: Run, flight: Path, tmp_path: Path) -> None:
    job = PipelineJob(flight, tmp_path / "one", stages=["crop:rows=0-2"])
    (tmp_path / "job.json").write_text(job.to_json())
    assert run("process", "--job", "job.json").code == 0
    (like, _) = results_in(tmp_path / "one")
    ended = run("process", "--like", like, "flight", "--out", "two")
    assert ended.code == 0, ended.err
    for one, two in zip(results_in(tmp_path / "one"), results_in(tmp_path / "two"), strict=True):
        with open_cube(one) as first, open_cube(two) as second:
            assert first.attributes["pipeline_hash"] == second.attributes["pipeline_hash"]
            np.testing.assert_array_equal(first.lines[:], second.lines[:])
    assert "give the cubes" in run("process", "--like", like).err
    broken = json.loads((tmp_path / "job.json").read_text()) | {"colour": "blue"}
    (tmp_path / "job.json").write_text(json.dumps(broken))
    assert "colour" in run("process", "--job", "job.json").err


def test_a_dry_run_says_what_is_expected_and_makes_nothing(run: Run, flight: Path, tmp_path: Path) -> None:
    ended = run("process", "flight", "--stage", "crop:rows=0-2", "--out", "out", "--dry-run", TMPDIR=str(tmp_path))
    assert ended.code == 0, ended.err
    said = dict(line.split(maxsplit=1) for line in ended.out.splitlines())
    assert said["stages"] == "crop"
    assert said["lines"] == "12 of 2 x 7 uint16, in 2 cubes"
    assert Path(said["picture"]).is_file()
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("*dry-run*/"))


def test_a_dry_run_makes_what_the_job_makes_of_its_first_lines(run: Run, tmp_path: Path) -> None:
    source = save_cube(tmp_path / "long.nc", 90, (5, 7))
    recipe = PipelineJob(source, tmp_path / "out", stages=["dark:lines=80-90", "running_background:n=9"], block_lines=8)
    (tmp_path / "job.json").write_text(recipe.to_json())
    ended = run("process", "--job", "job.json", "--dry-run", TMPDIR=str(tmp_path))
    assert ended.code == 0, ended.err
    assert "0 of the first 64" in ended.out
    trial = recipe.plan().of_first_lines(64)
    assert trial.needed(63, 64) == [(59, 68), (59, 68), (63, 64)]  # the halo is not cut off
    assert [len(block) for block in trial.blocks] == [8] * 8
    assert [(at, list(lines)) for at, lines in surveys_of(trial)] == [(0, list(range(80, 90)))]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("nowhere",), "does not exist"),
        (("flight", "--stage", "cropp"), "did you mean crop"),
        (("flight", "--stage", "crop:row=1"), "no parameter 'row'"),
        (("flight", "--compression", "zstd-99"), "zstd-1"),
        (("flight", "--procs", "0"), "n_procs"),
        (("flight", "--level", "4"), "exposure"),
        (("flight", "--out", "out.nc"), "one file"),
        (("flight", "--scheduler", "tcp://127.0.0.1:1"), "does not answer"),
        (("flight", "--scheduler", "tls://127.0.0.1:1"), "TLS"),
        ((), "give cubes"),
        (("flight", "--follow", "--out", "flight/2026_11_01/2026_11_01.nc"), "not a folder"),
    ],
)
def test_bad_input_is_one_clear_error(flight: Path, tmp_path: Path, arguments: tuple[str, ...], problem: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    ended = run_here(tmp_path, "process", *arguments, *(() if "--out" in arguments else ("--out", "out")))
    gc.collect()  # what is left of an attempt says nothing, either
    assert ended.code != 0
    assert problem in ended.err, ended.err
    assert "Traceback" not in ended.err
    assert sorted(tmp_path.rglob("*")) == before


def test_ctrl_c_ends_it_with_what_is_complete(start: Callable[..., Any], flight: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\nfrom pathlib import Path\n"
        "def slow(line):\n    Path('begun').touch()\n    while not Path('sent').exists():\n        time.sleep(0.01)\n"
        "    time.sleep(0.2)\n    return line\n"
    )
    process = start("process", "flight", "--function", "slow:slow", "--workers", "threads", "--out", "out")
    wait_for((tmp_path / "begun").exists)
    process.send_signal(signal.SIGINT)
    (tmp_path / "sent").touch()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert "Traceback" not in err
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.startswith(".")]


def test_the_failure_of_one_cube_is_reported_once(run: Run, flight: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def nothing(line):\n    return None\n")
    ended = run("process", next(flight.rglob("*.nc")), "--function", "mine:nothing", "--out", "out")
    assert ended.code == 1
    assert ended.err.count("returned None") == 1


def test_stages_are_listed_and_described(run: Run) -> None:
    listed = run("jobs")
    assert listed.code == 0
    assert "bin_bands:n=2,how=mean" in listed.out
    assert "Subtract a dark reference" in run("jobs", "dark").out
    assert "did you mean dark" in run("jobs", "darc").err


def test_a_cube_that_is_damaged_fails_or_is_marked(run: Run, tmp_path: Path) -> None:
    path = save_raw_cube(tmp_path / "raw.nc")
    with open_cube(path) as cube:
        line = cube.lines[2].tobytes()
    content = path.read_bytes()
    assert content.count(line) == 1
    path.write_bytes(content.replace(line, bytes([line[0] ^ 1]) + line[1:]))
    ended = run("process", path, "--out", "out")
    assert ended.code == 1
    assert "line 2" in ended.err
    marked = run("process", path, "--on-error", "nan", "--out", "out")
    assert marked.code == 0, marked.err
    assert "1 failed" in marked.out
    (made,) = results_in(tmp_path / "out")
    with open_cube(made) as cube:
        assert cube.column("line_flag").tolist() == [0, 0, 2, 0, 0, 0]
    with pytest.raises(FileError), open_cube(path) as cube:
        cube.lines[2]
