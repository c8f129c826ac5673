"""Processing levels: what is done to a frame before it becomes a line.

| level | what                                                     | numbers                    |
|-------|----------------------------------------------------------|----------------------------|
| -1    | nothing: the frame as it is                              | as the camera's            |
| 0     | cropped to the rows of `row_slice`                       | as the camera's            |
| 1     | and smile taken out                                      | as the camera's            |
| 2, 3  | and summed in bands of equally many columns, of equal nm | float32, digital numbers   |
| 4     | radiance of the bands of level 2                         | float32, uW/cm^2/sr/nm     |
| 5, 7  | radiance, averaged over the bands of level 2, of level 3 | float32, uW/cm^2/sr/nm     |
| 6, 8  | reflectance, from level 4, from level 7                  | float32, ratio (0 to 1)    |

What differs between levels is in the table of `openhsi_shared.processing_levels`. `plan` is what others need; `fused`
and its `kernels` make lines fast, `transforms` makes them as openhsi does.
"""

from openhsi_shared.levels.copying import copy_pixels
from openhsi_shared.levels.plan import LevelPlan, check_functions, check_level
from openhsi_shared.levels.recognising import quantity_of, recognise_level
from openhsi_shared.levels.transforms import Transforms

__all__ = [
    "LevelPlan",
    "Transforms",
    "check_functions",
    "check_level",
    "copy_pixels",
    "quantity_of",
    "recognise_level",
]
