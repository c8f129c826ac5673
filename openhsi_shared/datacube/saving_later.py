"""Saves a cube that was collected and not saved before its camera was closed."""

from openhsi_shared.datacube.engine import CubeEngine
from openhsi_shared.errors import ClosedError
from openhsi_shared.levels import LevelPlan
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.messages import Label

__all__ = ["save_kept"]


def save_kept(closed: CubeEngine, plan: LevelPlan, label: Label) -> SaveHandle:
    """Save the lines that were left at the end of a `with` block, in slots and by a writer of their own. Blocks.

    If it fails, the cube stays in memory, for `retry`, until the camera is closed again. ClosedError if there are none.
    """
    if closed.kept is None or not closed.saves_later:
        raise ClosedError("this camera or cube is closed: make a new one")
    kind, layout = closed.kind, closed.slots.layout
    engine = CubeEngine(
        layout.n_lines,
        plan,
        kind.options,
        kind.wavelengths_nm,
        kind.camera,
        kind.groups_from,
        again=kind,
        is_averaged=layout.is_averaged,
    )
    try:
        engine.start()
        engine.filler.slot = engine.slots.fill_from(closed.kept.copy)
        handle = engine.save(label)
        closed.kept, closed.last, closed.last_directory = None, engine.last, engine.last_directory
        handle.join()
    except BaseException:
        engine.close(keep=False)
        raise
    if handle.error is None:
        engine.close()
    else:
        closed.later = engine
    return handle
