"""A flight day: what is done before, around and after recordings.

`config` reads and writes `flight.toml`, `plan` makes one of a plan; `service` starts a recording with the computer.
"""
