"""Channels given as text (`gps:/dev/ttyUSB0@115200,latency_s=0.05`), as a mapping, or as a TOML file."""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from openhsi_shared.channels.channel import Channel
from openhsi_shared.errors import ArgumentError, ChannelError, OpenHSIError, UnknownKeyword
from openhsi_shared.near_names import nearest_name
from openhsi_shared.paths import given_path

__all__ = ["SOURCES", "channel_from_text", "channels_from", "keywords_of", "source_kinds", "tables_of"]

SOURCES = {
    "ca": "openhsi_shared.channels.epics:EpicsChannel.from_address",
    "pva": "openhsi_shared.channels.pva:PvaChannel.from_address",
    "gps": "openhsi_shared.channels.gps:GpsChannel.from_address",
    "gpsd": "openhsi_shared.channels.gpsd:GpsdChannel.from_address",
    "pps": "openhsi_shared.channels.pulses:PulseChannel.from_address",
    "log": "openhsi_shared.channels.log:LogChannel.from_address",
    "sim": "openhsi_shared.channels.simulated:SimulatedChannel.from_address",
    "sys": "openhsi_shared.channels.system:SystemChannel.from_address",
}
"""Built-in kinds of sources. Those of other packages are found by their entry points: functions
`(rest, name, **keywords)` that return a Channel, where `rest` is the text behind the colon."""
ENTRY_POINT_GROUP = "openhsi_shared.channels"
BEFORE_KEY = re.compile(r",(?=\s*[A-Za-z_]\w*\s*=)")
OF_EVERY_CHANNEL = {
    name for name, one in inspect.signature(Channel.__init__).parameters.items() if one.kind is one.KEYWORD_ONLY
}


def source_kinds() -> list[str]:
    """Kinds of sources, built in or of other packages."""
    return sorted({*SOURCES, *_entry_points()})


def _entry_points() -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=ENTRY_POINT_GROUP)}


def _factory(kind: str, text: str) -> Callable[..., Channel]:
    is_ours = kind in SOURCES
    point = metadata.EntryPoint(kind, SOURCES[kind], ENTRY_POINT_GROUP) if is_ours else _entry_points().get(kind)
    if point is None:
        kinds = source_kinds()
        raise ArgumentError(
            f"source {text!r} begins with no known kind{nearest_name(kind, kinds)}: expected KIND:ADDRESS, such as "
            f"'ca:HSI:temp' or 'gps:/dev/ttyUSB0@115200'; there are {', '.join(kinds)}"
        )
    try:
        loaded: Callable[..., Channel] = point.load()
    except (ImportError, AttributeError) as error:
        raise ChannelError(f"the source of {text!r} cannot be loaded: {error}") from error
    return loaded


def channel_from_text(text: str, name: str, **keywords: Any) -> Channel:
    """The channel `name` of a source given as `KIND:ADDRESS[,key=value...]`; `keywords` are more of them.

    Values are JSON, or else text. ArgumentError for an unknown kind, UnknownKeyword with the nearest name, ChannelError
    if the package of a source cannot be loaded.
    """
    if not isinstance(text, str):
        raise ArgumentError(f"channel {name!r}: a source is a text such as 'ca:HSI:temp', got {text!r}")
    (address, given), (make, rest) = _split(text), _maker(text)
    for key in given.keys() & keywords.keys():
        raise ArgumentError(f"channel {name!r}: {key} is given twice, as {given[key]!r} and as {keywords[key]!r}")
    known = _known_keywords(make)
    for key in (given := given | keywords):
        if key not in known:
            raise UnknownKeyword(f"channel {name!r} ({address}) has no keyword {key!r}{nearest_name(key, known)}")
    try:
        channel = make(rest, name, **given)
    except TypeError as error:
        raise ArgumentError(f"channel {name!r} ({text}): {error}") from error
    if not isinstance(channel, Channel):
        raise ChannelError(f"the source of {text!r} made {channel!r}, expected a Channel")
    return channel


def keywords_of(text: str) -> set[str]:
    """Keywords that the source of a text takes. ArgumentError, ChannelError as `channel_from_text`."""
    return _known_keywords(_maker(text)[0])


def _maker(text: str) -> tuple[Callable[..., Channel], str]:
    """What makes the channel of a text, and its address without the kind."""
    address, _ = _split(text)
    kind, colon, rest = address.partition(":")
    return _factory(kind.strip() if colon else address, text), rest.strip()


def _split(text: str) -> tuple[str, dict[str, Any]]:
    """Address, which may contain commas, and the keywords behind it."""
    address, *pairs = BEFORE_KEY.split(text)
    given: dict[str, Any] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if (key := key.strip()) in given:
            raise ArgumentError(f"source {text!r}: {key} is given twice")
        try:
            given[key] = json.loads(value)
        except ValueError:
            given[key] = value.strip()
    return address.strip(), given


def _known_keywords(make: Callable[..., Channel]) -> set[str]:
    """Keywords of a factory, and of the class whose method it is."""
    owner = getattr(make, "__self__", None)
    classes = owner.__mro__ if isinstance(owner, type) else ()
    functions = [make, *(vars(one)["__init__"] for one in classes if "__init__" in vars(one) and one is not object)]
    parameters = [one for function in functions for one in inspect.signature(function).parameters.values()]
    named = {one.name for one in parameters if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)}
    return (OF_EVERY_CHANNEL | named) - {"self", "name", "rest", "source", "speaks_on_change"}


def channels_from(given: Mapping[str, Any] | str | Path | None) -> dict[str, Channel]:
    """Channels by name: of a mapping to Channels, texts or tables, or of a TOML file with tables `[channels.NAME]`.

    A table has `source`, a text, and any keyword of the channel. ArgumentError or UnknownKeyword for invalid entries,
    ChannelError for a file that cannot be read.
    """
    if given is None:
        return {}
    if isinstance(given, str | Path):
        path = given_path(given)
        return _all_of(tables_of(path)[0], f"{path}: ")
    if not isinstance(given, Mapping):
        raise ArgumentError(
            f"channels must be a mapping of names to Channels or texts, or the path of a TOML file; got {given!r:.80}"
        )
    return _all_of(given, "")


def tables_of(path: Path, *others: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The tables `[channels.NAME]` of a TOML file, by NAME, and those of the keys `others` that it has.

    ChannelError if it cannot be read, UnknownKeyword for another key, ArgumentError without channels.
    """
    import tomllib  # not above: rare

    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ChannelError(f"the file of channels {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ChannelError(f"the file of channels {path} is no TOML: {error}") from error
    for key, value in found.items():
        if key != "channels" and key not in others:
            what = f"table [{key}]" if isinstance(value, dict) else f"key {key!r}"
            expected = "expected [channels.NAME]" + (f", {', '.join(others)}" if others else "")
            raise UnknownKeyword(f"{path}: unknown {what}{nearest_name(key, ['channels', *others])}: {expected}")
    tables = found.pop("channels", {})
    if not isinstance(tables, dict) or not tables:
        raise ArgumentError(f'{path} has no channels: expected tables [channels.NAME] with source = "KIND:ADDRESS"')
    return tables, found


def _all_of(given: Mapping[str, Any], where: str) -> dict[str, Channel]:
    try:
        return {name: _channel(name, one) for name, one in given.items()}
    except OpenHSIError as error:
        if where:
            raise type(error)(f"{where}{error}") from error
        raise


def _channel(name: str, given: Any) -> Channel:
    if isinstance(given, Channel):
        if given.name != name:
            raise ArgumentError(
                f"channels[{name!r}] is a channel with the name {given.name!r}: give both the same name"
            )
        return given
    if isinstance(given, str):
        return channel_from_text(given, name)
    if not isinstance(given, Mapping):
        raise ArgumentError(
            f"channels[{name!r}] must be a Channel, or a text such as 'ca:HSI:temp'; got {given!r:.100}"
        )
    table = dict(given)
    source = table.pop("source", None)
    if source is None:
        near = nearest_name(next(iter(table), ""), ["source"])
        raise ArgumentError(f'channel {name!r} has no source{near}: expected source = "KIND:ADDRESS"')
    return channel_from_text(source, name, **table)
