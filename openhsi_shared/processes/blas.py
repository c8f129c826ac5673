"""The threads of OpenBLAS, numpy's library for linear algebra: they do not use a processor while they have no work."""

import os

__all__ = ["quieten_blas"]


def quieten_blas() -> None:
    """Let them sleep as soon as they have no work. For processes of this library; call it before numpy is imported.

    The import starts a thread for each further processor. By default each spins for 2^26 ticks, some 30 ms, before it
    sleeps: at the import, when nothing is to be computed yet, and after each product of large matrices. What the user
    has set in the environment stays as it is.
    """
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # 2^4 ticks, the shortest
