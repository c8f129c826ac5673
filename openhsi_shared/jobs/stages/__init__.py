"""Stages of jobs, one file for each kind, and their registry."""
