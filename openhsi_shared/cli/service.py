"""`openhsi-shared service`: a systemd unit that records by a flight.toml."""

from pathlib import Path

import click

from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.output import echo

__all__ = ["service"]


@click.command()
@click.option("--config", type=GivenPath(), required=True, help="The flight.toml of the recording.")
@click.option("--user", help="User who records.  [default: you]")
@click.option("--out", type=GivenPath(), help="File to be written.  [default: standard output]")
def service(config: Path, user: str | None, out: Path | None) -> None:
    """Write a systemd unit that starts `record --config FILE` with the computer, and ends it without loss.

    \b
    openhsi-shared service --config flight.toml | sudo tee /etc/systemd/system/flight.service
    sudo systemctl daemon-reload
    sudo systemctl enable --now flight
    """  # noqa: D301 - click reads a backspace
    from openhsi_shared.flight.service import unit_of

    text = unit_of(config, user)
    if out is None:
        for line in text.rstrip("\n").split("\n"):
            echo(line)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{out} cannot be written: {error.strerror}") from error
