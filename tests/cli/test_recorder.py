"""`openhsi-shared recorder`: rows of channels of a file, on a page."""

import re
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import run_here
from tests.support.products import some

URL = re.compile(r"http://127\.0\.0\.1:\d+/[\w-]+")
CONFIG = """
maxlen = 20
reference = "position"
[channels.screen]
source = "sim:spot"
shape = [32, 40]
expand = [2, 2]
[channels.position]
source = "sim:sine"
"""


@pytest.mark.parametrize("argument", some("mine.toml", all_of=("mine.toml", "--demo")))
def test_it_serves_a_page_until_ctrl_c(start: Callable[..., Any], tmp_path: Path, argument: str) -> None:
    (tmp_path / "mine.toml").write_text(CONFIG)
    with start("recorder", argument, "--no-browser") as process:
        url = process.stdout.readline().strip()
        assert URL.fullmatch(url)
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert b"recorder</title>" in answer.read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert (out, err) == ("", "recorder stopped\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "give a CONFIG, or --demo"),
        ("maxlne = 3", "mine.toml: unknown key 'maxlne' (did you mean maxlen?)"),
        ("maxlen = 3", "mine.toml has no channels"),
        (
            "maxlen = 0\n[channels.a]\nsource = 'sim:sine'",
            "mine.toml: maxlen must be a whole number of rows > 0, got 0",
        ),
        ("reference = 'b'\n[channels.a]\nsource = 'sim:sine'", "mine.toml: reference 'b' is no channel"),
        ("[channels.a]\nsource = 'sim:sine'\nthreshhold = 1", "did you mean threshold"),
        ("[channels.a]\nshape = [3, 4]\nsource = 3", "source"),
    ],
)
def test_what_is_no_configuration_is_one_line(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "mine.toml").write_text(text)
    ended = run_here(tmp_path, "recorder", *(["mine.toml"] if text is not None else []), "--no-browser")
    assert ended.code != 0
    assert words in ended.err
    assert "Traceback" not in ended.err
