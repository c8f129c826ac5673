"""Accounting of frames: increasing ids, and which of them were lost.

`ids` unwraps a camera's counter, `losses` counts frames that were offered and never committed.
"""
