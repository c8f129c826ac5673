"""Processing levels: transforms from a frame to a line.

| level | what                                                     | numbers                    |
|-------|----------------------------------------------------------|----------------------------|
| -1    | raw: the unchanged frame                                 | as the camera's            |
| 0     | cropped to the rows of `row_slice`                       | as the camera's            |
| 1     | and smile corrected                                      | as the camera's            |
| 2, 3  | and binned: bands of equal column count, of equal nm     | float32, digital numbers   |
| 4     | radiance of the bands of level 2                         | float32, uW/cm^2/sr/nm     |
| 5, 7  | radiance, averaged over the bands of level 2, of level 3 | float32, uW/cm^2/sr/nm     |
| 6, 8  | reflectance, from level 4, from level 7                  | float32, ratio (0 to 1)    |

The differences between levels are in the table of `openhsi_shared.processing_levels`. `plan` is the interface for other
packages; `fused` and its `kernels` compute lines in one pass, `transforms` step by step, as openhsi does.
"""

from openhsi_shared.levels.copying import copy_pixels
from openhsi_shared.levels.plan import Functions, LevelPlan, check_functions, check_level
from openhsi_shared.levels.recognising import is_our_radiance, quantity_of, recognise_level
from openhsi_shared.levels.transforms import Transforms

__all__ = [
    "Functions",
    "LevelPlan",
    "Transforms",
    "check_functions",
    "check_level",
    "copy_pixels",
    "is_our_radiance",
    "quantity_of",
    "recognise_level",
]
