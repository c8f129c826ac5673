"""Analysis: a worker and a reducer of the user's, on every line, live or replayed, with the same numbers.

`streams` makes numbered events of captures, cubes and slots, `work` lets workers process batches of them and the
reducer their results, `replay` and `live` are the two ways to run that. Names are imported on first access (PEP 562).
"""
