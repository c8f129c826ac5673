"""A directory in which a writer hung is avoided: until its process exits, or for a pause that grows."""

import itertools

from openhsi_shared.writer.avoided_directories import FIRST_PAUSE, AvoidedDirectories
from tests.support.helpers import wait_for


def test_another_directory_is_used_and_without_one_the_avoided_one_is_tried():
    avoided = AvoidedDirectories(100.0, lambda _: True)
    avoided.add("/a")
    assert avoided.among(["/a", "/b"]) == ("/a",)
    assert avoided.among(["/a"]) == ()
    avoided.add("/b", until_released=True)
    assert avoided.among(["/a", "/b"]) == ("/b",)
    assert avoided.among(["/b"]) == ("/b",)
    assert avoided.all() == ("/a", "/b")


def test_one_where_a_process_hangs_is_avoided_until_that_exits():
    avoided = AvoidedDirectories(1e-6, lambda _: True)
    avoided.add("/a", until_released=True)
    assert avoided.refresh() == []
    avoided.release("/a")
    assert avoided.all() == ()


def test_one_that_responds_is_tried_again_after_a_pause():
    responds = []
    avoided = AvoidedDirectories(0.001, lambda _: bool(responds))
    avoided.add("/a")
    assert avoided.refresh() == []
    responds.append(True)
    wait_for(lambda: avoided.refresh() == ["/a"], 100 * FIRST_PAUSE * 0.001)
    assert avoided.all() == ()


def test_the_pause_doubles_with_each_time():
    avoided = AvoidedDirectories(1.0, lambda _: True)
    pauses = []
    for _ in range(3):
        avoided.add("/a")
        pauses.append(avoided._until["/a"])
    assert [round((after - before) / FIRST_PAUSE) for before, after in itertools.pairwise(pauses)] == [1, 2]
