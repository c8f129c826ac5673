"""The systemd unit of a recording."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openhsi_shared.errors import ArgumentError, SettingsNotFound
from openhsi_shared.flight.service import unit_of


def test_a_unit_keeps_the_promises_and_systemd_accepts_it(tmp_path: Path) -> None:
    folder = tmp_path / "a flight 100 %"
    folder.mkdir()
    (folder / "flight.toml").write_text('[record]\nout = "cubes"\nfallback = ["/tmp"]\n')
    text = unit_of(folder / "flight.toml")
    unit = configparser.RawConfigParser(strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    found = unit["Service"]
    assert (found["KillMode"], found["KillSignal"], found["OOMPolicy"]) == ("mixed", "SIGINT", "continue")
    assert int(found["TimeoutStopSec"]) >= 120
    assert found["ExecStart"].startswith(f'"{sys.executable}"')
    assert "PrivateTmp" not in found  # its control socket, and the last resort, may be there
    if shutil.which("systemd-analyze"):
        path = tmp_path / "flight.service"
        path.write_text(text)
        done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
        own = [line for line in (done.stdout + done.stderr).splitlines() if "flight.service" in line]
        assert not own, own


def test_a_unit_of_no_file_or_user_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsNotFound, match=r"there is no .*none\.toml"):
        unit_of(tmp_path / "none.toml")
    (tmp_path / "flight.toml").write_text("")
    with pytest.raises(ArgumentError, match="no user 'nobody-here'"):
        unit_of(tmp_path / "flight.toml", "nobody-here")
