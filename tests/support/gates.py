"""What holds up the lines of a job that threads work on: see `Gated` of `job_programs`."""

import threading

is_open, is_reached = threading.Event(), threading.Event()
