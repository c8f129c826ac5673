"""What each cube of a job becomes: all that is known, and checked, before anything is touched."""
