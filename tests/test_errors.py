"""Errors travel between processes, whatever pickles them."""

import copy
import pickle

import pytest

from openhsi_shared import errors

NAMES = [name for name in errors.__all__ if name != "JobError"]


@pytest.mark.parametrize("name", NAMES)
def test_an_error_can_be_copied_in_the_ways_of_pickle_and_of_dask(name):
    kind = getattr(errors, name)
    error = kind(5, "why", "where") if issubclass(kind, OSError) else kind("why")
    for found in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(found) is kind
        assert found.args == error.args
    assert type(kind.__new__(kind, *error.args)) is kind  # tblib's, before it sets the attributes
