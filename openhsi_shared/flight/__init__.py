"""A flight day: what is done before, around and after recordings.

`config` reads and writes `flight.toml`, `plan` makes one of a plan; `service` starts a recording with the computer.
`together` starts several cameras (`record_all`), `recordings` is their handle, `together_status` their status and
summary. `report` makes a page of what a flight has recorded.
"""
