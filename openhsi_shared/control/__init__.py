"""Monitoring and stopping of a camera or recording by other programs of the same user.

`control_socket` is the Unix socket, `messages` the requests and answers that both ends use, `status` the status. The
requests are answered in `datacube/control_server.py`.
"""
