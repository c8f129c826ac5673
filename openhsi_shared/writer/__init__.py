"""The spawned process that writes full slots to files, and its supervision.

`loop` runs in the child, `supervisor` and `handle` in the parent; `messages` has what they send each other.
"""
