"""The recipe of a job: what is to be done with which cubes."""

from dataclasses import dataclass

__all__ = ["PipelineJob"]


@dataclass(frozen=True)
class PipelineJob:
    """What is to be done with which cubes."""
