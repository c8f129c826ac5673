"""flight.toml: read, checked, written."""

from pathlib import Path

import click
import pytest

from openhsi_shared.cli.configured import key_of
from openhsi_shared.cli.record import record
from openhsi_shared.errors import ArgumentError, SettingsError, SettingsNotFound, UnknownKeyword
from openhsi_shared.flight.config import KEYS, PIN, RATE, TEXTS, FlightConfig, read_config, write_config

OF_THE_ISSUE = """
[record]
camera = "simulated"
out = "flight"
lines = 256
buffers = 6
compression = "none"
seconds = 60
[camera]
rate = 200.0
exposure_ms = 2.0
[channels.gps]
source = "gpsd:127.0.0.1:2947"
clock = "fit"
[channels.lamp]
source = "ca:HSI:lamp"
unit = "W"
required = false
[event]
save_when = "lamp > 3.5"
keep_before_s = 10
keep_after_s = 2
"""


def test_every_option_of_record_has_a_key_of_its_type() -> None:
    kinds = {type(click.INT): int, click.IntRange: int, click.FloatRange: float, type(click.BOOL): bool}
    options = {key_of(option): option for option in record.params if option.name not in ("config", "help")}
    assert KEYS["record"].keys() == options.keys()
    for key, option in options.items():
        kind = KEYS["record"][key]
        if option.multiple:
            assert kind is TEXTS, key
        else:
            special = {"rate": RATE, "button": PIN, "lamp": PIN}
            assert kind is special.get(key, kinds.get(type(option.type), str)), key


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "flight.toml"
    path.write_text(OF_THE_ISSUE)
    config = read_config(path)
    assert config.channels["lamp"] == {"source": "ca:HSI:lamp", "unit": "W", "required": False}
    odd = FlightConfig(
        record={"prefix": 'a "b" \\ \x1f \x7f é 𝄞', "fallback": ["x", "y"], "seconds": 1.5, "view": True},
        camera={"nodes": {"Gain Auto": "Off", "x": [1, 2.5]}, "rate": "any", "queue": None},
        channels={"a b": {"source": "sim:1"}},
        cameras={"vnir": {"lines": 3, "nodes": {"Gain": 1}}, "swir": {}},
        view={},
    )
    for one in (config, odd, FlightConfig()):
        read = read_config(write_config(one, path))
        assert read.tables == {
            name: {key: value for key, value in table.items() if value is not None}
            for name, table in one.tables.items()
        }
    assert (tmp_path / "flight.toml~").read_text().startswith("[record]")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("[record]\nlinse = 3", UnknownKeyword, r"\[record\] has no key 'linse' \(did you mean lines\?\)"),
        ("[recrod]\nlines = 3", UnknownKeyword, r"unknown table \[recrod\] \(did you mean record\?\)"),
        ("lines = 3", UnknownKeyword, r"unknown key 'lines' outside of a table"),
        ("[event]\nkeep_befor_s = 3", UnknownKeyword, "did you mean keep_before_s"),
        ("[record]\nlines = 2.5", ArgumentError, "lines must be a whole number, got 2.5"),
        ("[record]\nlines = true", ArgumentError, "lines must be a whole number, got True"),
        ("[record]\nview = 1", ArgumentError, "view must be true or false, got 1"),
        ("[record]\nseconds = 'x'", ArgumentError, "seconds must be a number, got 'x'"),
        ("[record]\nfallback = 'x'", ArgumentError, "fallback must be a list of texts, got 'x'"),
        ("[record]\nrate = []", ArgumentError, "rate must be a number of lines/s"),
        ("record = 3", ArgumentError, r"record must be a table \[record\], got 3"),
        ("[cameras.swir]\nout = 'x'", ArgumentError, r"\[cameras.swir\] out holds for all cameras"),
        ("[cameras.swir]\nlines = 'x'", ArgumentError, r"\[cameras.swir\] lines must be a whole number"),
        ("[cameras]\nswir = 3", ArgumentError, r"\[cameras.swir\] must be a table, got 3"),
        ("[record]\nrate = 3\n[camera]\nrate = 3", ArgumentError, "rate is in"),
        ("[record", SettingsError, "is no TOML"),
        (None, SettingsNotFound, "there is no .*flight.toml"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str | None, error: type[Exception], words: str) -> None:
    path = tmp_path / "flight.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=words):
        read_config(path)
