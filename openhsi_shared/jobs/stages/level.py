"""The stage of the processing levels."""

from openhsi_shared.jobs.stages.stage import Stage

__all__ = ["Level"]


class Level(Stage):
    """Processing level of the lines, as of a camera."""

    code = "level"
