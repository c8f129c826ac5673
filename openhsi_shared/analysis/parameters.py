"""Parameters of a worker and a reducer: what they are, their values, and the versions of these.

Names and encoding as in dranspose 0.2 (`dranspose.parameters`, `protocol.WorkParameter`), whose own are accepted.
"""

import operator
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, ClassVar
from uuid import UUID, uuid5

import numpy as np

from openhsi_shared.errors import AnalysisError, ParameterError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.near_names import nearest_or_all

__all__ = [
    "BinaryParameter",
    "BoolParameter",
    "FloatParameter",
    "IntParameter",
    "Parameter",
    "ParameterValue",
    "Parameters",
    "StrParameter",
    "described_by",
]

logger = safe_logger(__name__)

IDS = UUID("6f1a6c1e-5d0b-4b7e-9a55-3c1f3f3f2a10")
"""Ids of values are made from it (UUID5), so that equal values have equal ids."""


@dataclass(frozen=True)
class Parameter(ABC):
    """What a parameter is. ParameterError if its default does not fit."""

    name: str
    """By which it is read, and changed."""
    description: str | None = None
    """For people."""
    default: Any = None
    """Value, unless another one is given."""
    minimum: Any = None
    """Least value of a number."""
    maximum: Any = None
    """Largest value of a number."""
    choices: Sequence[Any] | None = None
    """The only values, if not None."""
    dtype: ClassVar[str]
    """Name of the type, as in dranspose."""
    expected: ClassVar[str]
    """The type in words."""

    def __post_init__(self) -> None:
        if not self.name or not isinstance(self.name, str):
            raise ParameterError(f"name of a parameter: expected text, got {self.name!r}")
        if self.dtype not in ("int", "float") and (self.minimum, self.maximum) != (None, None):
            raise ParameterError(f"parameter {self.name!r}: only numbers have a minimum and a maximum")
        object.__setattr__(self, "default", self.value_of(self.default))

    def value_of(self, given: Any) -> Any:
        """Return a value of this type; `given` may also be its text. ParameterError if it does not fit."""
        try:
            value = self._converted(given)
        except (TypeError, ValueError, LookupError, OverflowError):
            raise ParameterError(f"parameter {self.name!r}: expected {self.expected}, got {_short(given)}") from None
        is_low = self.minimum is not None and not value >= self.minimum  # also if it is NaN
        if is_low or (self.maximum is not None and not value <= self.maximum):
            limits = (
                f"from {self.minimum}" * (self.minimum is not None),
                f"up to {self.maximum}" * (self.maximum is not None),
            )
            raise ParameterError(
                f"parameter {self.name!r}: {_short(value)} is out of range: {' '.join(filter(None, limits))}"
            )
        if self.choices is not None and value not in self.choices:
            raise ParameterError(f"parameter {self.name!r}: expected one of {list(self.choices)}, got {_short(value)}")
        return value

    @abstractmethod
    def _converted(self, given: Any) -> Any:
        """The value in the type of the parameter. ValueError, TypeError, LookupError or OverflowError."""

    def to_bytes(self, value: Any) -> bytes:
        """Encode a value: its text."""
        return str(value).encode()


@dataclass(frozen=True)
class IntParameter(Parameter):
    """An integer. ParameterError if the default does not fit."""

    default: int = 0
    dtype = "int"
    expected = "an integer"

    def _converted(self, given: Any) -> int:
        if isinstance(given, bool | np.bool_):
            raise TypeError
        return int(_text(given)) if isinstance(given, str | bytes) else operator.index(given)


@dataclass(frozen=True)
class FloatParameter(Parameter):
    """A number. ParameterError if the default does not fit."""

    default: float = 0.0
    dtype = "float"
    expected = "a number"

    def _converted(self, given: Any) -> float:
        if isinstance(given, bool | np.bool_):
            raise TypeError
        return float(_text(given)) if isinstance(given, str | bytes) else float(operator.pos(given))


@dataclass(frozen=True)
class StrParameter(Parameter):
    """Text. ParameterError if the default does not fit."""

    default: str = ""
    dtype = "str"
    expected = "text"

    def _converted(self, given: Any) -> str:
        return _text(given)


@dataclass(frozen=True)
class BoolParameter(Parameter):
    """True or False. ParameterError if the default does not fit."""

    default: bool = False
    dtype = "bool"
    expected = "True or False"

    def _converted(self, given: Any) -> bool:
        if isinstance(given, bool | np.bool_):
            return bool(given)
        return {"true": True, "1": True, "false": False, "0": False}[_text(given).strip().lower()]


@dataclass(frozen=True)
class BinaryParameter(Parameter):
    """Bytes, such as a whole file. ParameterError if the default does not fit."""

    default: bytes = b""
    dtype = "binary"
    expected = "bytes"

    def _converted(self, given: Any) -> bytes:
        return given.encode() if isinstance(given, str) else bytes(memoryview(given))

    def to_bytes(self, value: bytes) -> bytes:
        """Return them."""
        return value


TYPES: dict[str, type[Parameter]] = {
    kind.dtype: kind for kind in (IntParameter, FloatParameter, StrParameter, BoolParameter, BinaryParameter)
}


def described_by(*classes: type | None) -> dict[str, Parameter]:
    """Return the parameters that a worker and a reducer describe, by name; the reducer's description counts.

    ParameterError if both describe one of the same name with other types.
    """
    described: dict[str, Parameter] = {}
    for of in filter(None, classes):
        for parameter in _descriptions(of):
            other = described.get(parameter.name, parameter)
            if other.dtype != parameter.dtype:
                text = f"parameter {parameter.name!r} is described as {other.dtype}, and as {parameter.dtype}"
                raise ParameterError(f"{text} by {of.__qualname__}")
            if other.default != parameter.default:
                logger.warning(
                    "parameter %r is described with two defaults: %s of %s counts",
                    parameter.name,
                    _short(parameter.default),
                    of.__qualname__,
                )
            described[parameter.name] = parameter
    return described


def _descriptions(of: type) -> list[Parameter]:
    describe = getattr(of, "describe_parameters", None)
    if describe is None:
        return []
    try:
        return [_ours(parameter) for parameter in describe()]
    except ParameterError:
        raise
    except Exception as error:
        where = traceback.format_exc()
        text = f"{of.__module__}:{of.__qualname__}.describe_parameters failed (is it a static method?)"
        raise AnalysisError(f"{text}: {type(error).__name__}: {error}", where=where) from error


def _ours(given: Any) -> Parameter:
    """Return a parameter of dranspose as one of ours."""
    if isinstance(given, Parameter):
        return given
    kind = TYPES.get(getattr(given, "dtype", ""))
    if kind is None:
        raise ParameterError(f"describe_parameters: expected parameters such as IntParameter, got {_short(given)}")
    return kind(str(given.name), getattr(given, "description", None), given.default)


def _text(given: Any) -> str:
    text: str = bytes(given).decode() if isinstance(given, bytes | bytearray | memoryview) else given
    if not isinstance(text, str):
        raise TypeError
    return text


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass(frozen=True, slots=True)
class ParameterValue:
    """A value, as code of users gets it."""

    name: str
    value: Any
    """Typed."""
    data: bytes
    """Encoded: its text, or the bytes themselves."""

    @property
    def uuid(self) -> UUID:
        """Id of the value: equal for equal values of a parameter."""
        return uuid5(IDS, f"{self.name}={sha256(self.data).hexdigest()}")


class Parameters(Mapping[str, ParameterValue]):
    """The values of all described parameters, of one version."""

    def __init__(
        self, described: Mapping[str, Parameter], values: Mapping[str, Any] | None = None, version: int = 0
    ) -> None:
        """Take values, or their text, by name; the others have their defaults. ParameterError if one does not fit."""
        values = {} if values is None else values
        for name in values:
            _described(described, name)
        self.version = version
        """Grows with each change."""
        self._values = {
            name: _value(parameter, values.get(name, parameter.default)) for name, parameter in described.items()
        }

    def __getitem__(self, name: str) -> ParameterValue:
        try:
            return self._values[name]
        except KeyError:
            raise KeyError(f"no parameter {name!r} is described{nearest_or_all(str(name), self._values)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Parameters {', '.join(f'{name}={_short(one.value)}' for name, one in self._values.items())}>"

    @cached_property
    def hash(self) -> str:
        """SHA-256 over sorted names and values: equal for equal values."""
        digest = sha256()
        for name in sorted(self._values):
            for part in (name.encode(), self._values[name].data):
                digest.update(len(part).to_bytes(8, "little") + part)
        return digest.hexdigest()

    def changed(self, described: Mapping[str, Parameter], name: str, value: Any) -> "Parameters":
        """Return the next version, with another value for `name`. ParameterError if that does not fit."""
        following = Parameters({}, version=self.version + 1)
        following._values = {**self._values, name: _value(_described(described, name), value)}
        return following


def _value(parameter: Parameter, given: Any) -> ParameterValue:
    value = parameter.value_of(given)
    return ParameterValue(parameter.name, value, parameter.to_bytes(value))


def _described(described: Mapping[str, Parameter], name: str) -> Parameter:
    if name not in described:
        none = "" if described else ": worker and reducer describe none"
        raise ParameterError(f"no parameter {name!r} is described{nearest_or_all(str(name), described)}{none}")
    return described[name]
