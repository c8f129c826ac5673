"""Whether the saturated pixels of a camera's lines can be counted, and which those are."""

from openhsi_shared.columns import Saturation
from openhsi_shared.errors import SettingsError
from openhsi_shared.levels import LevelPlan
from openhsi_shared.processing_levels import LEVELS, full_scale
from openhsi_shared.settings import CameraSettings

__all__ = ["saturation_of"]


def saturation_of(plan: LevelPlan, settings: CameraSettings, average: int | None = None) -> Saturation | str:
    """How the saturated pixels of lines of this plan are counted; or, in words, why they cannot be.

    Lines must hold the counts of single pixels: bands are sums or radiance, and lines of several frames are means, in
    which a saturated pixel is hidden.
    """
    if average is not None:
        return f"lines are means of {average} frames"
    level = LEVELS[plan.level]
    if plan.custom_tfms is not None:
        return "lines are made by custom_tfms"
    full = full_scale(plan.level, plan.line_dtype.name, settings.full_scale)
    if full is None:
        bands = "sums" if level.quantity == "counts" else level.quantity
        what = f"{bands} of bands" if level.binning else f"of type {plan.line_dtype}"
        return f"lines of level {plan.level} are {what}, not counts of pixels"
    if "crop" in level.steps:
        return Saturation(full, 0, plan.line_shape[0])
    try:
        rows = settings.rows_of(plan.frame_shape[0])
    except SettingsError as error:
        return str(error)
    return Saturation(full, rows.start, rows.stop)
