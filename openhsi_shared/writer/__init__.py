"""The spawned process that turns full slots into files, and its supervision.

`process` runs in the child, `supervisor` and `handle` in the parent; `orders` is what they tell each other.
"""
