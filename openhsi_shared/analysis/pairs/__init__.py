"""Pairs of a worker and a reducer that are ready to be used, and examples to copy."""
