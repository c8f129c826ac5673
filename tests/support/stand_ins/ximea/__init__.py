"""A stand-in for XIMEA's Python package."""
