from functools import partial

import pytest

from openhsi_shared.analysis.calling import calling
from openhsi_shared.errors import AnalysisError

EVENT = [
    (lambda event: (event,), ("e",)),
    (lambda event, parameters=None: (event, parameters), ("e", "p")),
    (lambda event, parameters, tick: (event, parameters, tick), ("e", "p", "t")),
    (lambda event, tick, parameters: (event, tick, parameters), ("e", "t", "p")),
    (lambda event, tick=None: (event, tick), ("e", "t")),
    (lambda event, *, parameters, tick: (event, parameters, tick), ("e", "p", "t")),
    (lambda event, *, tick: (event, tick), ("e", "t")),
    (lambda event, a, b, c=1: (event, a, b, c), ("e", "p", "t", 1)),
    (lambda event, a, /, c=1, d=2, *, tick: (event, a, c, d, tick), ("e", "p", 1, 2, "t")),
    (lambda event, a, c=1, tick=None: (event, a, c, tick), ("e", "p", 1, "t")),
    (lambda event, *args: (event, args), ("e", ("p", "t"))),
    (lambda *args: args, ("e", "p", "t")),
    (lambda event, **kwargs: (event, kwargs), ("e", {"parameters": "p", "tick": "t"})),
    (lambda event, *args, **kwargs: (event, args, kwargs), ("e", ("p", "t"), {})),
    (lambda event, *args, parameters=None, **kwargs: (event, args, parameters, kwargs), ("e", (), "p", {"tick": "t"})),
    (lambda event, parameters, *args: (event, parameters, args), ("e", "p", ("t",))),
    (lambda parameters, event: (parameters, event), ("p", "e")),
    (partial(lambda a, event, tick: (a, event, tick), "a"), ("a", "e", "t")),
]


def test_values_are_passed_by_name_then_by_position():
    for function, got in EVENT:
        assert calling(function, "parameters", "tick", n_given=1)("e", "p", "t") == got


CONSTRUCTORS = [
    (lambda: (), ()),
    (lambda parameters, state: (parameters, state), ("p", "s")),
    (lambda *, context: context, "c"),
    (lambda *args, **kwargs: (args, kwargs), ((), {"parameters": "p", "context": "c", "state": "s"})),
    (
        lambda threshold=5, state=None, **kwargs: (threshold, state, kwargs),
        (5, "s", {"parameters": "p", "context": "c"}),
    ),
    (lambda p, c: (p, c), ("p", "c")),
    (lambda *args: args, ("p", "c", "s")),
]


def test_constructors_are_called_by_name():
    for function, got in CONSTRUCTORS:
        assert calling(function, "parameters", "context", "state", is_constructor=True)("p", "c", "s") == got


def test_an_argument_without_a_value_is_an_error_with_the_signature():
    for function in (lambda event, a, b, c: 0, lambda event, *, threshold: 0, lambda: 0, lambda *, event: 0):
        with pytest.raises(AnalysisError, match=r"W\.process_event\(.*\).*parameters, tick"):
            calling(function, "parameters", "tick", n_given=1, what="W.process_event")
