"""Options of the commands that open a camera: `--option KEY=VALUE`, and `--rate`."""

import json
from collections.abc import Callable, Container, Sequence
from typing import Any, TypeVar

import click

__all__ = ["WITH_RATE", "given_options", "keyword_options", "option_from", "rate_of"]

WITH_RATE = ("simulated", "replay")
"""Cameras whose line rate can be set."""

Command = TypeVar("Command", bound=Callable[..., Any])


def rate_of(text: Any) -> float | str | None:
    """Lines/s, "recorded", or None for "any"."""
    if text in ("recorded", "any"):
        return text if text == "recorded" else None
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a number of lines/s, nor 'any', nor 'recorded'") from None


def keyword_options(command: Command) -> Command:
    """Add `--option KEY=VALUE`, which may be repeated; the command gets the pairs as `options`."""
    add = click.option(
        "--option",
        "options",
        multiple=True,
        type=option_from,
        metavar="KEY=VALUE",
        help="Any keyword of the camera, or key of its settings; may be repeated.",
    )
    return add(command)


def option_from(text: str) -> tuple[str, Any]:
    """Parse KEY=VALUE; the value is JSON if it is valid JSON (keys of digits become integers), else text."""
    key, sign, value = text.partition("=")
    if not key.isidentifier() or not sign:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE, such as mode=HgAr or exposure_ms=2")
    try:
        return key, json.loads(
            value, object_pairs_hook=lambda pairs: {int(k) if k.isdecimal() else k: v for k, v in pairs}
        )
    except ValueError:
        return key, value


def given_options(pairs: Sequence[tuple[str, Any]], dedicated: Container[str]) -> dict[str, Any]:
    """Keywords of --option. UsageError for one that has its own option, or is given twice."""
    options: dict[str, Any] = {}
    for key, value in pairs:
        if key in dedicated:
            raise click.UsageError(f"--option {key}: use the dedicated option for this; see --help")
        if key in options:
            raise click.UsageError(f"--option {key} is given twice, as {options[key]!r} and as {value!r}: give one")
        options[key] = value
    return options
