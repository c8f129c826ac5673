"""`flight.toml`: a recording as a file, in tables, of which every key and the type of its value is known.

::

    [record]            options of `openhsi-shared record`, by their names
    [camera]            keywords of the camera, and keys of its settings
    [cameras.NAME]      one of several cameras: keys of [record] and of [camera], before those of these tables
    [channels.NAME]     a source of values, as in a file of channels
    [references], [event], [view]
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openhsi_shared.errors import ArgumentError, SettingsError, SettingsNotFound, UnknownKeyword
from openhsi_shared.near_names import nearest_name
from openhsi_shared.paths import given_path
from openhsi_shared.renaming import replace_file

__all__ = ["KEYS", "FlightConfig", "read_config", "write_config"]

TEXTS = list[str]
RATE = float | str
"""Lines/s, or "any", "recorded"."""
PIN = int | str
"""17 or "GPIO17"."""

KEYS: Mapping[str, Mapping[str, Any]] = {
    "record": {
        "camera": str,
        "settings": str,
        "calibration": str,
        "lines": int,
        "cubes": int,
        "seconds": float,
        "level": int,
        "compat": str,
        "out": str,
        "rate": RATE,
        "compression": str,
        "compression_level": int,
        "buffers": int,
        "when_full": str,
        "average": int,
        "realtime": bool,
        "prefix": str,
        "suffix": str,
        "meta": str,
        "fallback": TEXTS,
        "channel": TEXTS,
        "channels": str,
        "analyse": TEXTS,
        "lossless": bool,
        "parameters": str,
        "port": int,
        "save_when": str,
        "keep_before": float,
        "keep_after": float,
        "inside": str,
        "margin": float,
        "at_least": float,
        "view": bool,
        "button": PIN,
        "lamp": PIN,
        "allow_loss": bool,
        "option": TEXTS,
    },
    "references": {"dark": str, "white": str, "embed_references": bool},
    "event": {
        "save_when": str,
        "keep_before_s": float,
        "keep_after_s": float,
        "inside": str,
        "margin_m": float,
        "at_least_s": float,
    },
    "view": {"port": int, "browser": bool},
}
"""Tables whose keys are known, with the types of their values. [record] has a key for each option of the command."""
OPEN = ("camera", "cameras", "channels")
"""Tables whose keys are checked by the camera, and by the channels."""
OF_ALL = ("out", "seconds", "channel", "channels", "view", "allow_loss")
"""Keys of [record] that hold for all cameras."""

IN_WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    TEXTS: "a list of texts",
    PIN: 'the number of a pin, or its name such as "GPIO17"',
    RATE: 'a number of lines/s, "any" or "recorded"',
}
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
ESCAPED = re.compile(r"[\x7f-\x9f]")


@dataclass(frozen=True, kw_only=True)
class FlightConfig:
    """The tables of a `flight.toml`. Paths in it are relative to the working directory, as on the command line."""

    record: Mapping[str, Any] = field(default_factory=dict)
    """Options of `record`, by their names with `_`."""
    camera: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the camera."""
    cameras: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of several cameras, by name, what differs from `record` and `camera`."""
    channels: Mapping[str, Any] = field(default_factory=dict)
    """Tables of channels by name, as `record(channels=...)` takes them."""
    references: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of `record`."""
    event: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of `record`."""
    view: Mapping[str, Any] | None = None
    """Keywords of the live page; None: no such table, and no page."""

    @property
    def tables(self) -> dict[str, Mapping[str, Any]]:
        """All of it, as in the file; tables without keys are left out."""
        named = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: table for name, table in named.items() if table or (name == "view" and table is not None)}


def read_config(path: str | Path) -> FlightConfig:
    """Read a `flight.toml`.

    SettingsNotFound, SettingsError if it cannot be read or is no TOML; UnknownKeyword, with the nearest name, for other
    tables and keys; ArgumentError for values of other types.
    """
    path = given_path(path)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsNotFound(f"there is no {path}: `openhsi-shared plan` writes one") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is no TOML: {error}") from error
    known = [*KEYS, *OPEN]
    for name, table in found.items():
        if name not in known:
            what = f"table [{name}]" if isinstance(table, dict) else f"key {name!r} outside of a table"
            tables = ", ".join(f"[{one}]" for one in known)
            raise UnknownKeyword(f"{path}: unknown {what}{nearest_name(name, known)}: expected {tables}")
        if not isinstance(table, dict):
            raise ArgumentError(f"{path}: {name} must be a table [{name}], got {table!r:.80}")
        if name in KEYS:
            _check_table(f"{path}: [{name}]", table, KEYS[name])
    for name, table in found.get("cameras", {}).items():
        _check_camera(f"{path}: [cameras.{name}]", table)
    if "rate" in found.get("record", {}) and "rate" in found.get("camera", {}):
        raise ArgumentError(f"{path}: rate is in [record] and in [camera]: give it once")
    return FlightConfig(**found)


def _check_camera(where: str, table: Any) -> None:
    if not isinstance(table, dict):
        raise ArgumentError(f"{where} must be a table, got {table!r:.80}")
    for key in table.keys() & set(OF_ALL):
        raise ArgumentError(f"{where} {key} holds for all cameras: it belongs into [record]")
    of_record = {key: value for key, value in table.items() if key in KEYS["record"]}
    _check_table(where, of_record, KEYS["record"])


def _check_table(where: str, table: Mapping[str, Any], keys: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if key not in keys:
            raise UnknownKeyword(f"{where} has no key {key!r}{nearest_name(key, keys)}: expected {', '.join(keys)}")
        if not _is_of(value, keys[key]):
            raise ArgumentError(f"{where} {key} must be {IN_WORDS[keys[key]]}, got {value!r:.80}")


def _is_of(value: Any, kind: Any) -> bool:
    if kind is TEXTS:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else (int | kind if kind is RATE else kind))


# ---- writing ----


def write_config(config: FlightConfig, path: str | Path) -> Path:
    """Write a `flight.toml`; one that exists is kept as `flight.toml~`. Returns its path. SettingsError if it fails."""
    path = given_path(path)
    text = "\n".join(_lines_of((name,), table) for name, table in config.tables.items())
    try:
        if path.exists():
            replace_file(path.with_name(f"{path.name}~"), path.read_bytes())
        replace_file(path, text.encode())
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error
    return path


def _lines_of(name: tuple[str, ...], table: Mapping[str, Any]) -> str:
    """A table and the tables in it, in TOML."""
    has_tables = name in (("channels",), ("cameras",))
    inner = {key: one for key, one in table.items() if isinstance(one, Mapping) and has_tables}
    own = {key: one for key, one in table.items() if key not in inner and one is not None}
    head = f"[{'.'.join(map(_key, name))}]\n" if own or not inner else ""
    return (
        head
        + "".join(f"{_key(key)} = {_value(one)}\n" for key, one in own.items())
        + "".join(_lines_of((*name, key), one) for key, one in inner.items())
    )


def _key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(str(key))} = {_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    text = json.dumps(str(value), ensure_ascii=False)  # a text of JSON is one of TOML, but for these characters
    return ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
