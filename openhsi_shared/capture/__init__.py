"""Capture: from frames to lines in slots, and what happens when no slot is free.

`slot_filler` owns the slot being filled, `line_turn` lets one thread at a time work with it, `loop` takes frames from a
driver, `next_frame` hands copies of them to threads that look, `temperature` reads the sensor temperature in parallel.
"""
