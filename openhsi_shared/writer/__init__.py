"""The spawned process that turns full slots into files, and its supervision.

`loop` runs in the child, `supervisor` and `handle` in the parent; `messages` is what they tell each other.
"""
