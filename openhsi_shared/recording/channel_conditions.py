"""Conditions as texts: comparisons of channels with numbers, such as "lamp > 3.5 and gps.altitude >= 100".

Python's parser reads the text; only comparisons, `and`, `or`, `not`, numbers, and names of channels are accepted. No
code of the text is executed.
"""

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping

from openhsi_shared.channels.properties import ChannelProperties
from openhsi_shared.errors import ArgumentError
from openhsi_shared.near_names import nearest_name

__all__ = ["MARK", "ChannelCondition", "values_of"]

MAX_CHARACTERS = 1000
OPERATORS: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
EXPECTED = (
    "expected comparisons of channels with numbers, such as 'lamp > 3.5' or 'gps.altitude >= 100 and not lamp < 2', or "
    "'mark'"
)
MARK = "mark"

Read = Callable[[str], float | None]
"""Value of a channel, by the name in the condition; None if it is not known."""


class ChannelCondition:
    """A condition of a text, or "mark". ArgumentError for a text that is none."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise ArgumentError(f"save_when must be a callable, or a text: {EXPECTED}; got {text!r}")
        self.text = text.strip()
        self.is_mark = self.text == MARK
        """It is true at the moment of each mark."""
        try:
            if len(text) > MAX_CHARACTERS:
                raise ArgumentError(f"it has {len(text)} characters, {MAX_CHARACTERS} at most")
            self._tree = ast.parse(self.text, mode="eval").body
            if not self.is_mark:
                _check(self._tree)
        except (SyntaxError, ValueError, RecursionError, MemoryError, ArgumentError) as error:
            why = error.msg if isinstance(error, SyntaxError) else str(error)
            raise ArgumentError(f"save_when={text[:200]!r} is no condition: {why}; {EXPECTED}") from None

    @property
    def names(self) -> set[str]:
        """Names of channels, or of their values as CHANNEL.FIELD or CHANNEL_FIELD."""
        return set() if self.is_mark else set(_names_in(self._tree))

    def check(self, channels: Mapping[str, ChannelProperties]) -> None:
        """Raise ArgumentError, with the nearest name, for a name that is no value of these channels."""
        known = values_of(channels)
        unknown = sorted(self.names - known.keys())
        if unknown:
            name = unknown[0]
            what = f"save_when={self.text!r}: there is no channel {name!r}{nearest_name(name, known)}"
            if name in channels:
                what = f"save_when={self.text!r}: channel {name!r} has several values"
            raise ArgumentError(
                f"{what}; expected one of {', '.join(known) or 'the channels, of which there are none'}"
            )

    def holds(self, read: Read) -> bool | None:
        """Whether it is true; None if that depends on values that are not known."""
        return _value(self._tree, read)


def values_of(channels: Mapping[str, ChannelProperties]) -> dict[str, tuple[str, int]]:
    """Names of all values: channel, and which of its fields. They have two, if the channel has several."""
    found = {}
    for name, properties in channels.items():
        for which, (field, variable) in enumerate(zip(properties.fields, properties.variables, strict=False)):
            found[variable] = name, which
            if not properties.is_single:
                found[f"{name}.{field.name}"] = name, which
    return found


def _name_of(node: ast.expr) -> str | None:
    match node:
        case ast.Name(name) | ast.Constant(str(name)):
            return str(name)
        case ast.Attribute(ast.Name(name), field):
            return f"{name}.{field}"
    return None


def _number_in(node: ast.expr) -> float | None:
    sign = 1
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        sign, node = (-sign if isinstance(node.op, ast.USub) else sign), node.operand
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return sign * float(node.value)
    return None


def _check(node: ast.expr) -> None:
    """Raise ArgumentError for what is no condition."""
    match node:
        case ast.BoolOp(_, values):
            for value in values:
                _check(value)
        case ast.UnaryOp(ast.Not(), operand):
            _check(operand)
        case ast.Compare(left, ops, comparators):
            sides = [left, *comparators]
            for op in ops:
                if type(op) not in OPERATORS:
                    raise ArgumentError("it has another comparison than <, <=, >, >=, == and !=")
            for side in sides:
                if _name_of(side) is None and _number_in(side) is None:
                    raise ArgumentError(f"{ast.unparse(side)!r:.100} is neither a channel nor a number")
            if not any(map(_name_of, sides)):
                raise ArgumentError(f"{ast.unparse(node)!r:.100} compares no channel")
        case _:
            raise ArgumentError(f"{ast.unparse(node)!r:.100} is no comparison")


def _names_in(node: ast.expr) -> Iterator[str]:
    name = _name_of(node)
    if name is not None:
        yield name
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield from _names_in(child)


def _value(node: ast.expr, read: Read) -> bool | None:
    match node:
        case ast.BoolOp(op, values):
            return _joined([_value(value, read) for value in values], is_and=isinstance(op, ast.And))
        case ast.UnaryOp(_, operand):
            answer = _value(operand, read)
            return None if answer is None else not answer
        case ast.Compare(left, ops, comparators):
            sides = [_number(side, read) for side in (left, *comparators)]
            pairs = zip(ops, sides, sides[1:], strict=False)
            answers = [None if a is None or b is None else OPERATORS[type(op)](a, b) for op, a, b in pairs]
            return _joined(answers, is_and=True)
        case _:  # never: it was checked
            return None


def _number(node: ast.expr, read: Read) -> float | None:
    name = _name_of(node)
    value = _number_in(node) if name is None else read(name)
    return None if value is None or math.isnan(value) else value


def _joined(answers: list[bool | None], *, is_and: bool) -> bool | None:
    """True, False, or None where it depends on answers that are None (Kleene's logic of three values)."""
    if (not is_and) in answers:
        return not is_and
    return None if None in answers else is_and
