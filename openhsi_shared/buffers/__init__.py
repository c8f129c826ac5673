"""Arrays, slots, times and rings in shared memory.

`arrays` has the circular arrays of openhsi; `slot_*` are cubes in shared memory; `memory` allocates both, after
checking that they fit. `ring` is for frames that need not become cubes: one process puts, any number read.
"""
