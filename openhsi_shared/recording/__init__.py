"""Nonstop recording: the camera lives in a process of its own, the user's process only watches.

`run` is the user's side, `process` the recording's, `messages` what they say, `space` asks whether the disk is large
enough.
"""
