"""A flight day: what is done before, around and after recordings.

`config` reads and writes `flight.toml`, `plan` makes one of a plan; `service` starts a recording with the computer;
`together` records several cameras as one; `report` makes a page of what a flight has recorded.
"""
