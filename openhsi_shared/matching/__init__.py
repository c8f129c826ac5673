"""Values that were sampled at their own times, matched to the lines of a cube or to one another.

`lines` matches a series to times, `rows` updates of several channels shot by shot; `clocks` finds the offset of a
source's clock, `delays` constant delays, `states` names what is known of each line. Pure functions of arrays.
"""

from openhsi_shared.matching.camera_times import interp2camera_times
from openhsi_shared.matching.clocks import ClockFit
from openhsi_shared.matching.lines import Matched, in_order, match, match_ids
from openhsi_shared.matching.states import State, overlay

__all__ = ["ClockFit", "Matched", "State", "in_order", "interp2camera_times", "match", "match_ids", "overlay"]
