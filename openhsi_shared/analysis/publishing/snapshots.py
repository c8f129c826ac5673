"""Copies of all that is published at one time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from openhsi_shared.analysis.publishing.published import ReadPublish, held
from openhsi_shared.analysis.publishing.tree import Member, array_of, attributes_of, find, members
from openhsi_shared.control.snapshot import Dataset, Group, Snapshot

__all__ = ["take_snapshot"]

MAX_MEMBERS = 100_000
"""Of a snapshot, in all groups."""
MAX_PROBLEMS = 20
"""That are named; further ones are counted."""


def take_snapshot(published: ReadPublish, thin_to: int | None = None, max_members: int = MAX_MEMBERS) -> Snapshot:
    """Copy what is published, holding its lock. AnalysisError if the reducer does not release it in time.

    With `thin_to`, arrays that are longer than this along an axis are thinned by whole steps.
    What is beyond `max_members` is missing, which `problems` tells, as all else that cannot be published.
    """
    taking = _Taking(thin_to, max_members)
    with held(published.lock):
        publish: Any = published.publish
        if not isinstance(publish, Mapping):
            return Snapshot(Group(), (f"publish is a {type(publish).__name__}: expected a dict",))
        root = taking.group(find(publish, ()), (), "")
    return Snapshot(root, taking.named())


class _Taking:
    def __init__(self, thin_to: int | None, max_members: int) -> None:
        self._thin_to, self._n_left = thin_to, max_members
        self._problems: list[str] = []

    def named(self) -> tuple[str, ...]:
        """The problems; what is beyond a limit is counted."""
        n_more = len(self._problems) - MAX_PROBLEMS
        return (*self._problems[:MAX_PROBLEMS], *((f"and {n_more:,} more",) if n_more > 0 else ()))

    def group(self, group: Member, above: Sequence[Any], path: str) -> Group:
        within = (*above, group.value)
        found, problems = members(group.value, above, self._n_left)
        self._note(path, problems)
        self._n_left -= len(found)
        taken: dict[str, Group | Dataset] = {}
        for name, member in found.items():
            if member.is_group:
                taken[name] = self.group(member, within, f"{path}{name}/")
                continue
            try:
                taken[name] = self._dataset(member, f"{path}{name}: ")
            except TypeError as error:
                self._note(path, [f"{name}: {error}"])
        return Group(taken, self._attributes(group, path))

    def _dataset(self, member: Member, path: str) -> Dataset:
        array = array_of(member.value)
        if self._thin_to is None:
            return Dataset(np.array(array), self._attributes(member, path))
        steps = tuple(max(1, -(-n // self._thin_to)) for n in array.shape)
        thinned = np.array(array[tuple(slice(None, None, step) for step in steps)])
        return Dataset(thinned, self._attributes(member, path), steps)

    def _attributes(self, member: Member, path: str) -> dict[str, Any]:
        found, problems = attributes_of(member)
        self._note(path, problems)
        return {name: np.array(value) for name, value in found.items()}

    def _note(self, path: str, problems: Sequence[str]) -> None:
        self._problems += [path + problem for problem in problems]
