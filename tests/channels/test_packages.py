"""A source whose package is missing says which extra installs it."""

from pathlib import Path

import pytest

from openhsi_shared.errors import PackageMissing
from openhsi_shared.packages import needed_by
from tests.support.helpers import run_python


def test_a_package_that_is_missing_is_named_with_its_extra() -> None:
    with (
        pytest.raises(PackageMissing, match=r"channel 'a' needs the package nothing_at_all: pip install '.*\[gps\]'"),
        needed_by("channel 'a'", "gps"),
    ):
        import nothing_at_all  # noqa: F401


SOURCES = {
    "ca:PV": ("epics", "epics"),
    "pva:PV": ("p4p", "pva"),
    "gps:/dev/ttyUSB0": ("serial", "gps"),
    "pps:4": ("gpiozero", "gpio"),
}
"""Address to package and extra."""

PROGRAM = """
import sys
for package, _ in SOURCES.values():
    sys.modules[package] = None
from openhsi_shared.channels import channel_from_text
from openhsi_shared.errors import PackageMissing
from openhsi_shared.testing.channel_contract import Delivered
for address in SOURCES:
    channel = channel_from_text(address, "one")
    try:
        channel.open(Delivered())
    except PackageMissing as error:
        print(address, error)
"""


def test_a_source_is_made_without_its_package_and_not_opened(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.replace("SOURCES", repr(SOURCES)))
    done = run_python(str(tmp_path / "program.py"))
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert len(told) == len(SOURCES)
    for words, (address, (_, extra)) in zip(told, SOURCES.items(), strict=True):
        assert words.startswith(f"{address} ")
        assert f"openhsi_shared[{extra}]" in words
