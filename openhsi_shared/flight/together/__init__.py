"""Several cameras that record together.

`starting` has `record_all`, `recordings` the handle of all of them, `status` their status and summary.
"""
