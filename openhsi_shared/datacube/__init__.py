"""Datacubes: the user-facing double-buffered cube, and the camera that fills it.

`shared_data_cube` is the cube, `displaying` shows it (a `visible_cube`), also later; `shared_openhsi` is the
camera loop for classes of users, `driver_camera` the same for drivers. `engine` keeps slots, filler and writer
together; `saving_later` saves what was left at the end of a block; `control_server` answers other programs' requests.
"""
