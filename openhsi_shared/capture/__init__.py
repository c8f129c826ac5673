"""Capture: from frames to lines in slots, and what happens when no slot is free.

`slot_filler` owns the slot being filled, `loop` takes frames from a driver, `temperature` reads the sensor temperature
in parallel.
"""
