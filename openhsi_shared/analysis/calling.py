"""Which of our values a function of a user takes, by its signature: inspected once, called often."""

import inspect
from collections.abc import Callable, Sequence
from inspect import Parameter as Argument
from typing import Any

from openhsi_shared.errors import AnalysisError

__all__ = ["calling"]

IN_ORDER = (Argument.POSITIONAL_ONLY, Argument.POSITIONAL_OR_KEYWORD)


def calling(
    function: Callable[..., Any], *names: str, n_given: int = 0, is_constructor: bool = False, what: str = ""
) -> Callable[..., Any]:
    """Return a function that takes `n_given` values and those of `names`, and calls `function` with what it takes.

    An argument that has one of the names gets that value. Further ones get, by position, what is given, and then the
    values that no argument is named for, in order, as many as there are. What is left goes to `*args`; where there is
    none, or an argument that must be passed by name, to `**kwargs`. A constructor is called by name, as dranspose does
    it: `**kwargs` comes first, and an argument with a default and another name keeps that. AnalysisError if a required
    argument is left over; `what` is its function.

    >>> calling(lambda event, *, tick: (event, tick), "parameters", "tick", n_given=1)("event", "parameters", True)
    ('event', True)
    """
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # compiled code without a signature
        return function
    given = [f"given_{k}" for k in range(n_given)]
    try:
        positional, by_name = _arranged(list(signature.parameters.values()), given, names, is_constructor)
    except AnalysisError as error:
        offered = "; what it may take: " + ", ".join([*["the event or result"][:n_given], *names])
        raise AnalysisError(f"{what}{signature}: {error}{offered}") from None
    if positional == [*given, *names] and not by_name:
        return function
    passed = ", ".join([*positional, *(f"{name}={value}" for name, value in by_name.items())])
    code = f"lambda {', '.join([*given, *names])}: function({passed})"
    adapted: Callable[..., Any] = eval(code, {"function": function})
    return adapted


def _arranged(
    arguments: Sequence[Argument], given: list[str], names: Sequence[str], is_constructor: bool
) -> tuple[list[str], dict[str, str]]:
    """Return what is passed by position, and what by name."""
    kinds = {argument.kind for argument in arguments}
    named = {a.name for a in arguments if a.name in names and a.kind in (*IN_ORDER, Argument.KEYWORD_ONLY)}
    left = [*given, *(name for name in names if name not in named)]
    positional: list[str] = []
    by_name: dict[str, str] = {}
    is_full = False  # an argument keeps its default: those behind it are passed by name
    for argument in (argument for argument in arguments if argument.kind in IN_ORDER):
        is_optional = argument.default is not Argument.empty
        if argument.name in named:
            value = argument.name
        elif left and not (is_constructor and is_optional):
            value = left.pop(0)
        elif is_optional:
            is_full = True
            continue
        else:
            raise AnalysisError(f"there is no value for the argument {argument.name!r}")
        if is_full:
            by_name[argument.name] = value
        else:
            positional.append(value)
    only_by_name = [argument for argument in arguments if argument.kind is Argument.KEYWORD_ONLY]
    missing = [a.name for a in only_by_name if a.name not in named and a.default is Argument.empty]
    if missing:
        raise AnalysisError(f"there is no value for the argument {missing[0]!r}")
    needs_names = [argument.name for argument in only_by_name if argument.name in named]
    by_name.update(zip(needs_names, needs_names, strict=True))
    if Argument.VAR_POSITIONAL in kinds and not is_full:
        takes_given_only = needs_names or (is_constructor and Argument.VAR_KEYWORD in kinds)
        n_taken = len([value for value in left if value in given]) if takes_given_only else len(left)
        positional, left = positional + left[:n_taken], left[n_taken:]
    if set(left) & set(given):
        raise AnalysisError("it does not take what it is called with")
    if Argument.VAR_KEYWORD in kinds:
        by_name.update({name: name for name in left})
    return positional, by_name
