"""Nonstop recording: the camera runs in a separate process, which the user's process monitors.

`plan` has the validated arguments, `run` the user's side, `loop` the recording process, `messages` what they send each
other, `space` the check of disk space.
"""
