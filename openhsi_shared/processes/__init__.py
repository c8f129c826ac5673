"""Child processes: how they are spawned, heard, supervised and ended.

`spawning` starts them whatever the user's program looks like; `child` is one as its parent sees it, `liveness` the
parent as a child sees it; `supervision` has the threads that watch children; `logs` carries what children log;
`pool` works on many items at once; `at_exit` finishes what is pending when the interpreter ends.
"""
