"""Nonstop recording: the camera lives in a process of its own, the user's process only watches.

`plan` is what was asked for, `run` the user's side, `loop` the recording's, `messages` what they say, `space` asks
whether the disk is large enough.
"""
