"""Child processes: how they are spawned, heard, supervised, ended, and asked from outside.

`spawning` starts them whatever the user's program looks like; `child` is one as its parent sees it, `liveness` the
parent as a child sees it; `supervision` has the threads that watch children; `logs` carries what children log;
`pool` works on many items at once; `control_socket` lets other programs look at a recording; `at_exit` finishes what
is pending when the interpreter ends.
"""
