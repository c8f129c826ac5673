"""Averaging: several frames become one line, their mean.

`sums` adds up frames, `loop` takes them from the camera, `filler` commits the mean and accounts for each frame.
"""
