"""Processes of our own: how they are spawned, shielded, watched, and knocked at.

`spawning` starts them whatever the user's program looks like; `liveness` notices that the other side is gone; `door`
lets strangers look at a recording.
"""
