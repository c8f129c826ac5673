"""How other programs of the same user watch and stop a camera or a recording.

`control_socket` is the Unix socket, `messages` the requests and answers that both ends use, `status` what a status
contains. What a camera answers is decided in `datacube/control_server.py`.
"""
