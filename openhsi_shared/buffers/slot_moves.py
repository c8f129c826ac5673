"""States of slots, and the legal moves between them.

::

FREE ──begin──▶ FILLING ──close──▶ FULL ──save──▶ SAVING ──free──▶ LENT ──last lease──▶ FREE
│                │               │  ▲             ▲
└──free──▶ LENT  └─recycle─▶ LENT └hold▶ HELD ──free
"""

from collections.abc import Mapping

from openhsi_shared.buffers.slot_memory import SlotState

__all__ = ["FILLING", "FREE", "FULL", "HELD", "LENDABLE", "LENT", "MOVES", "SAVING"]

FREE, FILLING, FULL, SAVING, HELD, LENT = SlotState

MOVES: Mapping[str, Mapping[SlotState, SlotState]] = {
    "begin": {FREE: FILLING},
    "close": {FILLING: FULL},
    "save": {FULL: SAVING, HELD: SAVING},
    "hold": {SAVING: HELD},
    "free": {FILLING: LENT, SAVING: LENT, HELD: LENT},
    "recycle": {FULL: LENT},
    "last lease": {LENT: FREE},
}
"""Transitions of each move, from state to state. All others are errors."""

LENDABLE = (FILLING, FULL, SAVING, HELD)
"""States in which a reader may get a lease."""
