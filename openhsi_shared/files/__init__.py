"""How cubes become files, and are opened again.

`writing` is for the writer process, `reading` and `verifying` for any process. Names are imported lazily, so that the
writer process does not import what only readers need.
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

_MODULES = {
    "CubeWriter": "writing",
    "OpenCube": "reading",
    "Report": "verifying",
    "Written": "saving",
    "open_cube": "reading",
    "save_shared_datacube": "upstream",
    "verify": "verifying",
}


def __getattr__(name: str) -> Any:
    """Import a name on first access (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
