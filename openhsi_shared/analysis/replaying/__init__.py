"""Replay: captures and saved cubes as events for a worker and a reducer."""
