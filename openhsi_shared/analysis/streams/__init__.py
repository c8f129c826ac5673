"""Streams of numbered events: captures, saved cubes, generators, and lines of a running recording."""
