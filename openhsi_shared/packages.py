"""Packages that are missing: those that a small installation omits (docs/platforms.md), and those of extras."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from openhsi_shared.errors import PackageMissing

__all__ = ["needed_by", "require"]


def require(what: str, *packages: str) -> None:
    """Check that `what` has the `packages` that it imports, without importing them.

    PackageMissing, an ImportError, that names `what`, the packages that are not installed, and how to install them.

    >>> require("this example", "numpy")
    """
    missing = [name for name in packages if name not in sys.modules and not _is_installed(name)]
    if missing:
        raise PackageMissing(f"{what} needs {' and '.join(missing)}, not installed: pip install {' '.join(missing)}")


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # an import hook that refuses it; a module without a specification
        return False


@contextmanager
def needed_by(what: str, extra: str) -> Iterator[None]:
    """Around the import of a package: PackageMissing names `what`, the package, and its extra."""
    try:
        yield
    except ImportError as error:
        raise PackageMissing(f"{what} needs the package {error.name}: pip install 'openhsi_shared[{extra}]'") from error
