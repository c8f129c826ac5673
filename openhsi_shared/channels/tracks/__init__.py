"""Tracks: where the lines of saved cubes were taken, as files for programs that lay them on a map."""
