"""Code of users that forks: a child that comes back from it would send each result a second time."""

import os

__all__ = ["ForkGuard"]

_n_forks = 0
"""Between the first process and this one."""


def _count() -> None:
    global _n_forks  # noqa: PLW0603 - of this process
    _n_forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count)


class ForkGuard:
    """Ends a process that was forked since this object was made."""

    def __init__(self) -> None:
        self._n_forks = _n_forks

    def end_if_forked(self) -> None:
        """End this process, at once, if it is such a child."""
        if _n_forks != self._n_forks:
            os.write(2, b"a worker or reducer forked, and the child came back from it: the child ends\n")
            os._exit(1)
