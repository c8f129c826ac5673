"""A recorder of rows, without a camera: scalars and images of several sources, matched shot by shot."""

from openhsi_shared.channels.recorder.recorder import Recorder, Unmatched

__all__ = ["Recorder", "Unmatched"]
