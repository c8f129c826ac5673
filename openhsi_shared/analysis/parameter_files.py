"""Files with values of parameters: JSON, CBOR, or a pickle that is trusted.

As in dranspose 0.2 (`replay.get_parameters`): a list of `{"name": .., "data": ..}`. A plain object with values, and
`{"name": .., "file": ..}`, whose bytes are those of another file, are ours.
"""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openhsi_shared.analysis.parameters import Parameter, Parameters
from openhsi_shared.errors import ParameterError
from openhsi_shared.paths import given_path

__all__ = ["parameters_of", "read_values"]

PICKLE_STARTS = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
"""A pickle begins with its protocol; CBOR that begins with the same byte is an empty list, and ends there."""


def parameters_of(
    described: Mapping[str, Parameter],
    given: Mapping[str, Any] | str | Path | None,
    trust_pickles: bool = False,
) -> Parameters:
    """Return the parameters of a run: values by name, or a file of them; what is missing has its default.

    ParameterError if the file cannot be read, or if a value does not fit, or has no name that is described.
    """
    values = read_values(given, trust_pickles) if isinstance(given, str | Path) else given
    if not isinstance(values, Mapping | None):
        raise ParameterError(f"parameters: expected values by name, or the path of a file, got {values!r}")
    return Parameters(described, values)


def read_values(path: str | Path, trust_pickles: bool = False) -> dict[str, Any]:
    """Return the values of a file by name. ParameterError if it cannot be read, or is a pickle that is not trusted."""
    path = given_path(path, "parameters", "the path of a file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ParameterError(f"parameters: {path} cannot be read: {error.strerror or error}") from error
    decoded = _decoded(content, path, trust_pickles)
    if isinstance(decoded, Mapping):
        return {str(name): value for name, value in decoded.items()}
    if not isinstance(decoded, list | tuple):
        raise ParameterError(f"{path}: expected a list of {{'name': .., 'data': ..}}, or values by name")
    values: dict[str, Any] = {}
    for k, entry in enumerate(decoded):
        name, value = _entry(entry, path, k)
        if name in values:
            raise ParameterError(f"{path}: parameter {name!r} is in it twice")
        values[name] = value
    return values


def _decoded(content: bytes, path: Path, trust_pickles: bool) -> Any:
    if content.startswith(PICKLE_STARTS):
        if not trust_pickles:
            raise ParameterError(
                f"{path} is a pickle, which may execute code: if you trust it, allow pickles (--trust-pickles)"
            )
        try:
            return pickle.loads(content)
        except Exception as error:
            raise ParameterError(f"{path}: the pickle cannot be read: {type(error).__name__}: {error}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:  # every list and map of CBOR
        return _cbor(content, path)
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _without_repeats(pairs, path))
    except json.JSONDecodeError as error:
        raise ParameterError(f"{path} is no JSON: {error}") from error


def _without_repeats(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ParameterError(f"{path}: a name is in it twice: {[name for name, _ in pairs]}")
    return values


def _cbor(content: bytes, path: Path) -> Any:
    import cbor2

    try:
        return cbor2.loads(content)
    except Exception as error:
        raise ParameterError(f"{path} is neither JSON nor CBOR: {type(error).__name__}: {error}") from error


def _entry(entry: Any, path: Path, k: int) -> tuple[str, Any]:
    """Return name and value of an entry: a mapping, or an object of dranspose in a pickle."""
    fields = entry if isinstance(entry, Mapping) else getattr(entry, "__dict__", {})
    name = fields.get("name")
    if not isinstance(name, str) or ("data" in fields) == ("file" in fields):
        raise ParameterError(
            f"{path}, entry {k}: expected 'name', and either 'data' or 'file', got {sorted(map(str, fields))}"
        )
    if "data" in fields:
        return str(name), fields["data"]
    file = path.parent / str(fields["file"])
    try:
        return str(name), file.read_bytes()
    except OSError as error:
        raise ParameterError(
            f"{path}: the file of parameter {name!r}, {file}, cannot be read: {error.strerror}"
        ) from error
