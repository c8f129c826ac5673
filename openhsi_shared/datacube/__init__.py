"""Datacubes: the user-facing double-buffered cube, and the camera that fills it.

`shared_data_cube` is the cube, `shared_openhsi` the camera loop for classes of users, `driver_camera` the same for
drivers. `engine` keeps slots, filler and writer together; `control_server` answers requests of other programs.
"""
