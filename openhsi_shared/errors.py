"""Everything that can go wrong, as one tree: catch `OpenHSIError` and you catch them all.

Each is also the builtin that a stranger would catch. A message holds the thing, its value, what was expected and the
way out.
"""

__all__ = [
    "ArgumentError",
    "CalibrationError",
    "CameraError",
    "CameraLost",
    "CameraNotFound",
    "ChecksumError",
    "ClosedError",
    "DriverMissing",
    "FileError",
    "FrameError",
    "FrameTimeout",
    "IllegalMove",
    "IncompleteFileError",
    "LevelError",
    "MemoryShortage",
    "NoFreeSlot",
    "NothingToSave",
    "OpenHSIError",
    "OverrunError",
    "PackageMissing",
    "PreviewError",
    "RecordingError",
    "RingExists",
    "RingNotFound",
    "SaveError",
    "SettingsError",
    "SettingsNotFound",
    "SourceEnded",
    "UnknownKeyword",
    "ViewerError",
    "WriterFailed",
]


class OpenHSIError(Exception):
    """Whatever this library raises by itself."""


class ArgumentError(OpenHSIError, ValueError):
    """An argument of a function lies outside what it can do."""


class UnknownKeyword(OpenHSIError, TypeError):
    """A keyword argument that nobody knows: most often a mistyped one."""


class PackageMissing(OpenHSIError, ImportError):
    """A package that is only needed for this is not installed: the message says which extra brings it."""


class SettingsError(OpenHSIError, ValueError):
    """A settings file, or one of its values, cannot be used."""


class SettingsNotFound(SettingsError, FileNotFoundError):
    """There is no such settings file."""


class CalibrationError(OpenHSIError, ValueError):
    """A calibration file cannot be read, or lacks what is needed."""


class LevelError(OpenHSIError, ValueError):
    """A processing level that does not exist, or that the calibration cannot serve."""


class FrameError(OpenHSIError, ValueError):
    """A frame whose shape, type or values do not fit into the cube."""


class CameraError(OpenHSIError, RuntimeError):
    """The camera, or its driver, failed."""


class DriverMissing(CameraError, ImportError):
    """The package of the camera's vendor is not installed, or there is no driver of that name."""


class CameraNotFound(CameraError):
    """The driver works, but the camera is not there."""


class CameraLost(CameraError):
    """The camera was there, and has gone."""


class FrameTimeout(CameraError, TimeoutError):
    """No frame came in the time it should have taken."""


class SourceEnded(CameraError, EOFError):
    """A source that has an end, such as a replayed cube, has reached it."""


class NoFreeSlot(OpenHSIError, RuntimeError):
    """Every slot is being saved or held, and the next line has no home."""


class IllegalMove(OpenHSIError, RuntimeError):
    """A slot was to be used in a way that its state does not allow: a fault of this library, or of a reader's."""


class NothingToSave(OpenHSIError, ValueError):
    """`save` was called, but nothing was collected since the last one."""


class ClosedError(OpenHSIError, ValueError):
    """The camera or cube is closed, or belongs to another process."""


class MemoryShortage(OpenHSIError, MemoryError):
    """The slots would not fit into memory."""


class WriterFailed(OpenHSIError, RuntimeError):
    """The process that saves cubes could not be started, or its answers are not heard any more."""


class RecordingError(OpenHSIError, RuntimeError):
    """A recording ended before its time."""


class RingExists(OpenHSIError, FileExistsError):
    """A ring of that name belongs to a process that lives."""


class RingNotFound(OpenHSIError, FileNotFoundError):
    """There is no ring of that name, or no longer."""


class OverrunError(OpenHSIError, LookupError):
    """What was asked for has been overwritten by what came later."""


class ViewerError(OpenHSIError, RuntimeError):
    """A viewer could not be opened, or died."""


class SaveError(OpenHSIError, OSError):
    """A cube could not be saved: `errno`, `strerror` and `filename` are the true ones. The cube is still in memory.

    `errno` is None where no call of the system failed, but a writer died.
    """

    def __str__(self) -> str:
        return super().__str__().removeprefix("[Errno None] ")


class PreviewError(OpenHSIError, OSError):
    """The picture of a cube could not be written: `errno`, `strerror` and `filename` are the true ones."""


class FileError(OpenHSIError, OSError):
    """A file is not what it should be: foreign, broken, or not a cube."""


class IncompleteFileError(FileError):
    """A cube's file that its writer has not finished."""


class ChecksumError(FileError):
    """What is in the file is not what was written into it."""
