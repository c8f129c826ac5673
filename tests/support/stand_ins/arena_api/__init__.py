"""A stand-in for Lucid's Python package."""
