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


@pytest.mark.parametrize(
    ("address", "package", "extra"),
    [
        ("ca:PV", "epics", "epics"),
        ("pva:PV", "p4p", "pva"),
        ("gps:/dev/ttyUSB0", "serial", "gps"),
        ("pps:4", "gpiozero", "gpio"),
    ],
)
def test_a_source_is_made_without_its_package_and_not_opened(
    address: str, package: str, extra: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.modules[{package!r}] = None\n"
        "from openhsi_shared.channels import channel_from_text\n"
        "from openhsi_shared.errors import PackageMissing\n"
        "from openhsi_shared.testing.channel_contract import Delivered\n"
        f"channel = channel_from_text({address!r}, 'one')\n"
        "try:\n    channel.open(Delivered())\n"
        "except PackageMissing as error:\n    sys.exit(str(error))\n"
    )
    done = run_python(str(program))
    assert f"openhsi_shared[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr
