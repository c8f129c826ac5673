"""States of sources and of lines."""

import numpy as np

from openhsi_shared.matching import State, overlay


def test_states_have_words_and_fit_into_a_byte():
    assert [State.NO_FIX.words, State.GOOD.words] == ["no fix", "good"]
    assert [int(state) for state in State] == list(range(12))


def test_a_state_of_the_source_goes_before_that_of_the_matching():
    changes, states = [10, 20, 30, 40], [State.CONNECTING, State.GOOD, State.LOST, State.UNCHANGED]
    at = [5, 10, 19, 20, 25, 30, 39, 40, 45]
    matched = [
        State.GAP,
        State.GAP,
        State.GOOD,
        State.GOOD,
        State.STALE,
        State.EDGE,
        State.GOOD,
        State.GOOD,
        State.STALE,
    ]
    found = [State(state) for state in overlay(matched, changes, states, at)]
    assert found == [
        State.GAP,
        State.CONNECTING,
        State.CONNECTING,
        State.GOOD,
        State.STALE,
        State.LOST,
        State.LOST,
        State.UNCHANGED,
        State.STALE,
    ]


def test_without_changes_states_stay():
    matched = np.array([State.GOOD, State.EDGE], np.int8)
    found = overlay(matched, [], [], [1, 2])
    assert found.tolist() == matched.tolist()
    assert found.dtype == np.int8
