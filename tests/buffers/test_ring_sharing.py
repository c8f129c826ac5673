"""A ring in several processes: who may look, who may write, what is left of it when one of them ends."""

import os
import pickle
import signal
import sys

import numpy as np
import pytest

from openhsi_shared import SharedRing
from openhsi_shared.errors import (
    ClosedError,
    RingNotFound,
)
from tests.support.helpers import child, in_child, receive, run_python, wait_for
from tests.support.rings import look, make_and_wait, path_of

linux = pytest.mark.skipif(sys.platform != "linux", reason="locks that say who lives, /dev/shm")


def some(n, value, dtype=np.uint16):
    return np.full(n, value, dtype)


def test_a_child_that_is_born_with_it_may_look_and_no_more(ring):
    ring.put(np.arange(5, dtype=np.uint16))
    seen = in_child(look, ring)
    assert seen["newest"] == [0, 1, 2, 3, 4]
    assert seen["number"] == 0
    assert "ClosedError: the ring" in seen["put"]
    assert "is read-only here: only the process that created it can put" in seen["put"]
    assert "read-only" in seen["write"]


@linux
def test_a_child_needs_no_name_to_be_born_with_it(ring):
    ring.put(some(2, 4))
    path_of(ring.name).unlink()
    assert in_child(look, ring)["newest"] == [4, 4]


def test_pickled_otherwise_it_attaches_by_name(ring):
    ring.put(some(2, 4))
    with pickle.loads(pickle.dumps(ring)) as other:
        assert other.latest().data.tolist() == [4, 4]
        with pytest.raises(ClosedError, match="read-only here"):
            other.put(some(1, 1))


def test_one_who_attaches_and_ends_destroys_nothing(ring):
    ring.put(some(3, 7))
    code = f"from openhsi_shared import SharedRing; r = SharedRing(None, {ring.name!r}); print(r.latest().data)"
    done = run_python("-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[7 7 7]\n", "")
    with SharedRing(None, ring.name) as other:
        ring.put(some(2, 8))
        assert other.latest().data.tolist() == [8, 8]
    assert path_of(ring.name).exists()
    assert ring.is_live


@linux
def test_a_killed_creator_leaves_nothing_behind(name):
    with child(make_and_wait, name) as (process, connection):
        receive(connection)
        with SharedRing(64, name) as ring:
            assert ring.is_live
            follower = ring.follow(0)
            assert next(follower).data.tolist() == list(range(8))
            process.kill()
            assert list(follower) == []  # it ends
            assert not ring.is_live
            assert not path_of(name).exists()  # any reader removes the name
            assert ring.latest().data.tolist() == list(range(8))  # what was there can still be seen


@linux
@pytest.mark.parametrize("how", ["make", "attach"])
def test_who_comes_later_sweeps_up_after_the_dead(name, how):
    with child(make_and_wait, name) as (process, connection):
        maker = receive(connection)
        assert path_of(name).exists()
        os.kill(maker, signal.SIGKILL)
        process.join()  # from now on, any program that makes or opens a ring sweeps, too
        if how == "make":
            with SharedRing(16, name, create=True) as ring:
                assert ring.latest() is None
        else:
            with pytest.raises(RingNotFound, match="has its creator ended"):
                SharedRing(None, f"{name}-other")
        assert not path_of(name).exists()


@linux
def test_the_living_are_not_swept(ring):
    with SharedRing(16, create=True):
        assert path_of(ring.name).exists()
        assert path_of(ring.name).stat().st_mode & 0o777 == 0o600


@linux
def test_a_file_that_is_no_ring_yet_is_not_attached_to(name):
    path = path_of(name)
    with SharedRing(16, f"{name}-real", create=True) as ring:
        os.link(path_of(ring.name), path)  # held, as one that is just being made
        words = ring._memory.words
        magic, words[0] = words[0], 0
        with pytest.raises(RingNotFound, match="is no ring, or is not initialised yet: try again"):
            SharedRing(None, name)
        words[0] = magic
        path.unlink()


@linux
def test_a_fork_of_the_creator_is_read_only(name):
    code = f"""
import os, numpy as np
from openhsi_shared import SharedRing
ring = SharedRing(16, {name!r}, create=True)
ring.put(np.full(3, 5, np.uint16))
if os.fork() == 0:
    try:
        ring.put(np.zeros(1, np.uint16))
    except ValueError as error:
        print(type(error).__name__, ring.latest().data)
    ring.close()
    raise SystemExit
os.wait()
print(SharedRing(None, {name!r}).latest().data)
"""
    done = run_python("-u", "-c", code)
    assert (done.stdout, done.stderr) == ("ClosedError [5 5 5]\n[5 5 5]\n", "")
    assert not path_of(name).exists()  # although it was not closed


def test_use_after_close_is_an_error_and_no_crash(name):
    code = f"""
import numpy as np
from openhsi_shared import SharedRing
for ring in ((made := SharedRing(1 << 20, {name!r}, create=True)), SharedRing(None, {name!r})):
    made.n_put or made.put(np.arange(1000, dtype=np.uint16))
    view = ring[0:1000]
    items = ring.follow()
    if ring is not made:
        made.close()
    ring.close()
    ring.close()
    for use in (lambda: ring.put(view), lambda: ring[0], lambda: ring.read(0, 1), ring.latest, lambda: next(items),
                lambda: np.asarray(ring), lambda: ring.n_put, lambda: ring.is_live, lambda: ring.follow()):
        try:
            use()
        except ValueError as error:
            assert "is closed" in str(error), error
        else:
            raise AssertionError(use)
    assert view.sum() == 499500, "what was taken before stays readable"
    print(ring)
    if ring is made:
        made = SharedRing(1 << 20, {name!r}, create=True)
        break
second = SharedRing(None, {name!r})
view = made.put(np.ones(5, np.uint16)) and second[0:5]
made.close(), second.close()
print(view)
"""
    done = run_python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"SharedRing(1048576, '{name}', dtype='uint16': closed)\n[1 1 1 1 1]\n"


def test_its_creator_can_write_only_by_put(ring):
    with pytest.raises(ValueError, match="read-only"):
        ring[0:2][0] = 1
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(ring)[0] = 1


def test_a_closed_ring_frees_its_name_and_reports_the_end_to_readers(name):
    ring = SharedRing(16, name, create=True)
    with SharedRing(16, name) as other:
        ring.put(some(1, 3))
        view = ring[0:1]  # which keeps the memory, and with it the lock
        ring.close()
        assert view.tolist() == [3]
        assert not other.is_live
        assert other.latest().data.tolist() == [3]
        with SharedRing(16, name, create=True) as again:
            assert again.is_live
            assert not other.is_live


def test_a_ring_without_references_is_removed(name):
    SharedRing(16, name, create=True)
    wait_for(lambda: not path_of(name).exists())
