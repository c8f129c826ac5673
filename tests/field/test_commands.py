"""What people type wrong, and what the commands say: `~` behind `=`, files of other programs, names, options.

Reports: folders called "~" in the working directory; ENVI headers, .nc.gz and Git LFS pointers "cannot be opened";
"Invalid argument" on memory cards; a batch that ends at the first bad file; windows retitled by a file's name.
"""

import bz2
import gzip
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import openhsi_shared
from openhsi_shared import SharedSimulatedCamera
from openhsi_shared.errors import ArgumentError, FileError, SaveError
from openhsi_shared.files import CubeWriter, open_cube
from openhsi_shared.paths import given_path
from openhsi_shared.recording.space import check_names, check_space
from openhsi_shared.save_options import SaveOptions
from tests.support.commands import run_here
from tests.support.cubes import make_cube
from tests.support.faulty_calls import FaultyCalls
from tests.support.helpers import wait_for
from tests.support.products import some

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(openhsi_shared.__file__).parent.parent), "COLUMNS": "200"}
SMALL = ("--option", "resolution=[16,48]", "--option", "row_slice=[2,14]", "--lines", "8", "--cubes", "1")
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    """In this process; `tests/cli` runs most commands in their own."""

    def run_command(*arguments: object, **environment: str) -> Any:
        ended = run_here(tmp_path, *arguments, **environment)
        return subprocess.CompletedProcess(arguments, ended.code, ended.out, ended.err)

    return run_command


@pytest.fixture
def run_apart(tmp_path: Path) -> Callable[..., Any]:
    def run_command(*arguments: object, **environment: str) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "openhsi_shared", *map(str, arguments)],
            cwd=tmp_path,
            env=ENVIRONMENT | environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run_command


def _cube(directory: Path) -> Path:
    directory.mkdir()
    with CubeWriter(6, (5, 7), np.uint16) as writer:
        return writer.write(make_cube(), [directory]).path


# ---- ~ ----


def test_a_tilde_behind_an_equals_sign_is_the_home_directory(run, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    assert run("record", *SMALL, "--out=~/flight", HOME=str(home)).returncode == 0
    (cube,) = (home / "flight").rglob("*.nc")
    assert run("preview", "--out=~/pictures", "--sheet=~/sheet.png", "~/flight", HOME=str(home)).returncode == 0
    assert (home / "pictures" / f"{cube.stem}.png").exists()
    assert (home / "sheet.png").exists()
    for command in ("info", "verify", "recover"):
        assert run(command, "~/flight", HOME=str(home)).returncode == 0
    assert not (tmp_path / "~").exists()


def test_a_tilde_in_python_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meta.json").write_text('{"pilot": "Ada"}')
    (tmp_path / "settings.json").write_text('{"resolution": [8, 16], "row_slice": [0, 8]}')
    assert SaveOptions(fallback_dirs=["~/spare"]).fallback_dirs == (str(tmp_path / "spare"),)
    with SharedSimulatedCamera(n_lines=4, json_path="~/settings.json", processing_lvl=-1) as camera:
        camera.collect(progress=False)
        path = camera.save("~/flight", preconfig_meta_path="~/meta.json").result(60).path
    assert path.is_relative_to(tmp_path / "flight")
    with open_cube(f"~/{path.relative_to(tmp_path)}") as cube:
        assert cube.attributes["pilot"] == "Ada"
    assert not (tmp_path / "~").exists()


def test_the_home_directory_of_an_unknown_user_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match="of a user 'nosuchuser' who is unknown here"):
        given_path("~nosuchuser/flight")
    done = run("record", *SMALL, "--out=~nosuchuser/flight")
    assert done.returncode != 0
    assert "'./~nosuchuser/flight' for a name that begins with ~" in done.stderr
    assert given_path("./~backup.nc").name == "~backup.nc"
    assert not list(tmp_path.iterdir())


# ---- files that are no cubes ----

OTHERS = {
    "header.hdr": (b"ENVI\nsamples = 4\n", "a header of ENVI"),
    "cube.nc.gz": (gzip.compress(b"x" * 100), "compressed by gzip"),
    "cube.nc.bz2": (bz2.compress(b"x" * 100), "compressed by bzip2"),
    "lfs.nc": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    "annex.nc": (b"/annex/objects/SHA256E-s1--0.nc\n", "git annex get"),
    "classic.nc": (b"CDF\x01" + bytes(60), "NetCDF-3"),
    "empty.nc": (b"", "empty"),
    "zeros.nc": (bytes(5000), "zeros"),
    "settings.json": (b'{"resolution": [4, 4]}', "JSON"),
    "login.nc": (b"<!DOCTYPE html><title>Log in</title>", "web page"),
    "numbers.npy": (b"\x93NUMPY\x01\0", "numpy"),
    "other.nc": (b"something else", "not a NetCDF-4 file, or a damaged one"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_another_format_is_named_as_what_it_is(tmp_path, name):
    content, words = OTHERS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match=words):
        open_cube(tmp_path / name)


@pytest.mark.parametrize("name", ["cube.img", "cube.bil", "cube"])
def test_the_data_of_an_envi_file_are_named_by_their_header(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(1000))
    (tmp_path / "cube.hdr").write_bytes(b"ENVI\nsamples = 4\n")
    with pytest.raises(FileError, match=r"the data of an ENVI file \(its header is cube.hdr\)"):
        open_cube(tmp_path / name)


@pytest.mark.parametrize("command", ["info", "verify", "preview"])
def test_the_files_behind_a_bad_one_are_shown_and_the_exit_code_is_1(run, tmp_path, command):
    cube = _cube(tmp_path / "flight")
    (tmp_path / "bad.nc").write_bytes(b"CDF\x01")
    done = run(command, "missing.nc", "bad.nc", cube)
    assert done.returncode == 1
    assert "missing.nc" in done.stdout + done.stderr
    assert "NetCDF-3" in done.stdout + done.stderr
    expected = {"info": "6 lines", "verify": "1 of 3 cubes are intact", "preview": f"{cube.stem}.png"}[command]
    assert expected in done.stdout


# ---- names and directories ----


def _make_file(path: Path) -> None:
    path.write_text("a file")


def _make_circle(path: Path) -> None:
    path.symlink_to(path.with_name("other"))
    path.with_name("other").symlink_to(path)


NO_DIRECTORIES = [
    (_make_file, "flight", "it is a file, not a directory"),
    (_make_file, "flight/sub", "a part of the path is a file"),
    (_make_circle, "flight", "a link that leads nowhere, or in a circle"),
    (None, "/proc", "a file system of the kernel"),
    (None, "", "must be the path of a file or directory, got ''"),
]


@pytest.mark.parametrize(("make", "out", "words"), some(NO_DIRECTORIES[0], NO_DIRECTORIES[-1], all_of=NO_DIRECTORIES))
def test_a_directory_that_is_none_is_refused_before_the_first_line(tmp_path, make, out, words):
    if make is not None:
        make(tmp_path / "flight")
    done = run_here(tmp_path, "record", *SMALL, f"--out={out}")
    assert done.code in (1, 2)
    assert words in done.err
    assert not list(tmp_path.rglob("*.nc"))


@pytest.mark.parametrize(("make", "out", "words"), NO_DIRECTORIES[:-1])
def test_what_is_wrong_with_a_directory_is_told(tmp_path, make, out, words):
    if make is not None:
        make(tmp_path / "flight")
    with pytest.raises(SaveError, match=words):
        check_space(tmp_path / out, 0, None, 1.0)


def test_a_name_that_the_file_system_refuses_is_refused_before_the_first_line(run, tmp_path):
    name = "a?b"
    calls = FaultyCalls(tmp_path, mark=name)
    calls.inject(22, "open mkdir")  # EINVAL, as of FAT
    done = run("record", *SMALL, f"--prefix={name}", **calls.environment)
    assert done.returncode == 1
    assert f"refuses names with the prefix {name!r}" in done.stderr
    done = run("record", *SMALL, f"--out={name}", **calls.environment)
    assert done.returncode == 1
    assert "the file system refuses the name" in done.stderr
    assert not list(tmp_path.rglob("*.nc"))
    calls.stop()
    assert run("record", *SMALL, f"--prefix={name}", **calls.environment).returncode == 0
    assert len(list(tmp_path.rglob("*.nc"))) == 1
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("name", ["a?b", "a*b", 'a"b', "a<b", "a|b"])
def test_each_character_that_fat_refuses_is_told(tmp_path, name, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(22, "Invalid argument")

    check_names(tmp_path, name, "")  # here they are names
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(os, "mkdir", refuse)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(
        SaveError, match=f"prefix {re.escape(repr(name))}.*leave out the characters {re.escape(name[1])}"
    ):
        check_names(tmp_path, name, "")
    with pytest.raises(SaveError, match=f"refuses the name .it contains {re.escape(name[1])}"):
        check_space(tmp_path / name, 0, None, 1.0)


@pytest.mark.parametrize("where", ["save_dir", "prefix", "preconfig_meta_path"])
def test_a_null_character_is_refused(tmp_path, where):
    from openhsi_shared.writer.save_request import SaveRequest

    with pytest.raises(ArgumentError):
        SaveRequest(**({"save_dir": tmp_path} | {where: "a\0b"}))


# ---- options ----


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--option", "mode=counting", "--option", "mode=HgAr"], "given twice, as 'counting' and as 'HgAr'"),
        (["--rate", "1e12"], "rate must be at most 1,000,000 lines/s, or None for unlimited"),
        (["--option", "writers=2.0"], "writers must be one of (1, 2), got 2.0"),
        (["--option", "writers=true"], "writers must be one of (1, 2), got True"),
        (["--option", "savefig=no"], "savefig must be True or False, got 'no'"),
        (["--compression-level", "3"], "but nothing is compressed"),
        (["flight2"], "unexpected extra argument"),
    ],
)
def test_an_option_that_means_nothing_is_refused(tmp_path, options, words):
    done = run_here(tmp_path, "record", *SMALL, *options)
    assert done.code in (1, 2)
    assert words in done.err
    assert not list(tmp_path.rglob("*.nc"))


def test_a_mistyped_command_is_told_the_nearest(run):
    done = run("rec")
    assert done.returncode == 2
    assert "Did you mean record?" in done.stderr


# ---- the address of the page ----

OPEN = """
import sys
from openhsi_shared.viewer.browser import open_in_browser
open_in_browser("http://127.0.0.1:1/hidden")
sys.stdin.read()
"""


def test_the_secret_address_of_a_page_is_not_on_the_command_line_of_the_browser(tmp_path):
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\nstat -c %a "${1#file://}" > mode; cp "${1#file://}" page; echo "$@" > arguments\n')
    browser.chmod(0o700)
    (tmp_path / "runtime").mkdir()
    environment = ENVIRONMENT | {"BROWSER": f"{browser} %s", "XDG_RUNTIME_DIR": str(tmp_path / "runtime")}
    command = [sys.executable, "-c", OPEN]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdin=subprocess.PIPE):  # ends when stdin is closed
        wait_for(lambda: (tmp_path / "arguments").is_file() and (tmp_path / "arguments").read_text())
    assert "hidden" not in (tmp_path / "arguments").read_text()
    assert (tmp_path / "mode").read_text() == "600\n"
    assert 'content="0; url=http://127.0.0.1:1/hidden"' in (tmp_path / "page").read_text()
    assert not list((tmp_path / "runtime").rglob("*.html"))


# ---- hostile names ----


@pytest.mark.parametrize("command", ["info", "verify", "preview", "recover"])
def test_names_and_attributes_cannot_control_the_terminal(run, run_apart, tmp_path, command):
    directory = tmp_path / ESCAPES
    cube = _cube(directory)
    with h5py.File(cube, "r+") as file:
        file.attrs[f"note {ESCAPES}"] = ESCAPES
        file.create_group(f"group {ESCAPES}").attrs[ESCAPES] = ESCAPES
        file[f"added {ESCAPES}"] = 1
    (directory / f"foreign {ESCAPES}.nc").write_bytes(b"CDF\x01")
    (directory / f".left {ESCAPES}.nc.999999.part").write_bytes(b"CDF\x01")
    done = (run_apart if command == "recover" else run)(command, directory)
    shown = done.stdout + done.stderr
    assert "evil" in shown
    assert set(shown) & set("\x1b\x07\x9b\u202e") == set()


def test_a_name_in_another_encoding_is_shown(run_apart, tmp_path):
    (tmp_path / os.fsdecode(b"stra\xdfe.nc")).write_bytes(b"CDF\x01")
    done = run_apart("verify", tmp_path, PYTHONIOENCODING="ascii")
    assert "0 of 1 cubes are intact" in done.stdout
