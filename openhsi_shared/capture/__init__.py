"""How frames become lines in slots: the hot loop, and what it does when there is no room.

`filler` owns the slot being filled, `loop` takes frames from a driver, `temperature` reads the sensor's beside it.
"""
