"""`openhsi-shared cameras`: list the available cameras, and why the others are unavailable."""

import click

from openhsi_shared.cli import in_one_line
from openhsi_shared.cli.output import echo
from openhsi_shared.errors import OpenHSIError
from openhsi_shared.loggers import safe_logger

__all__ = ["cameras"]

logger = safe_logger(__name__)


@click.command()
def cameras() -> None:
    """List the available cameras, and why the others are unavailable.

    Each camera is opened and closed, so one that is ready can also record. The names are those of `record --camera`.
    """
    from openhsi_shared.drivers import driver_names

    for name in driver_names():
        is_ready, details = _probe(name)
        echo(f"{name:12}{'ready' if is_ready else 'unavailable':12}{details}")


def _probe(name: str) -> tuple[bool, str]:
    """Whether a camera can be opened, and its frame shape or the reason why not."""
    from openhsi_shared.drivers import driver_class, needed_options
    from openhsi_shared.settings import CameraSettings

    try:
        make = driver_class(name)
        needed = needed_options(make)
        if needed:
            return True, "needs " + " ".join(f"--option {option}=..." for option in needed)
        driver = make(CameraSettings())
        driver.open()
        try:
            rows, bands = driver.frame_shape
            return True, f"{rows} x {bands} pixels, {driver.frame_dtype}"
        finally:
            driver.close()
    except OpenHSIError as error:
        logger.info("%s: camera unavailable", name, exc_info=True)
        return False, in_one_line(error)
