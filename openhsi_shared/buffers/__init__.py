"""Arrays, slots, times and rings in shared memory.

`arrays` are the circular arrays that users of openhsi know; `slots` are cubes in shared memory, each with one owner at
a time; `memory` makes both, after asking whether they fit. `ring` is for frames that need not become cubes: one process
puts, any number look.
"""
