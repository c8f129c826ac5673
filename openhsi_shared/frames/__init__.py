"""The account of frames: ids that only grow, and which of them were lost.

`ids` unwraps a camera's counter, `losses` counts what was offered and never committed.
"""
