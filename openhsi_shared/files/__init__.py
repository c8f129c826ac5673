"""How cubes become files, and are opened again.

`writing` for the process that saves, `reading` and `verifying` for everybody; names are resolved when first asked for,
so that the writer's process never pays for what only readers need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openhsi_shared.files.reading import OpenCube, open_cube
    from openhsi_shared.files.saving import Written
    from openhsi_shared.files.upstream import save_shared_datacube
    from openhsi_shared.files.verifying import Report, verify
    from openhsi_shared.files.writing import CubeWriter

__all__ = ["CubeWriter", "OpenCube", "Report", "Written", "open_cube", "save_shared_datacube", "verify"]

_HOMES = {
    "CubeWriter": "writing",
    "OpenCube": "reading",
    "Report": "verifying",
    "Written": "saving",
    "open_cube": "reading",
    "save_shared_datacube": "upstream",
    "verify": "verifying",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
