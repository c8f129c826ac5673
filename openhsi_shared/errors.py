"""The exceptions of this library, in one tree: `OpenHSIError` catches them all.

Each also derives from the matching builtin exception. A message contains the name, its value, what was expected and a
remedy.
"""

__all__ = [
    "AnalysisError",
    "ArgumentError",
    "CalibrationError",
    "CameraError",
    "CameraLost",
    "CameraNotFound",
    "CaptureError",
    "ChannelError",
    "ChecksumError",
    "ClosedError",
    "DriverMissing",
    "FileError",
    "FrameError",
    "FrameTimeout",
    "IllegalMove",
    "IncompleteFileError",
    "JobError",
    "LevelError",
    "MemoryShortage",
    "NoFreeSlot",
    "NothingToSave",
    "OpenHSIError",
    "OverrunError",
    "PackageMissing",
    "ParameterError",
    "PreviewError",
    "RealTimeRefused",
    "RecordingError",
    "ReentryError",
    "ReferenceRefused",
    "RingExists",
    "RingNotFound",
    "SaveError",
    "SettingsError",
    "SettingsNotFound",
    "SourceEnded",
    "StageNotApplicable",
    "UnknownKeyword",
    "ViewerError",
    "WriterFailed",
]


class OpenHSIError(Exception):
    """Base class of every exception that this library raises."""


class ArgumentError(OpenHSIError, ValueError):
    """An argument of a function is outside its valid range."""


class UnknownKeyword(OpenHSIError, TypeError):
    """An unknown keyword argument, most often a mistyped one."""


class PackageMissing(OpenHSIError, ImportError):
    """An optional package, or one that a small installation omits, is missing: the message says how to install it."""


class SettingsError(OpenHSIError, ValueError):
    """A settings file, or one of its values, is invalid."""


class SettingsNotFound(SettingsError, FileNotFoundError):
    """The settings file does not exist."""

    __new__ = FileNotFoundError.__new__  # type: ignore[assignment] # see DriverMissing


class CalibrationError(OpenHSIError, ValueError):
    """A calibration file cannot be read, or lacks values that are needed."""


class LevelError(OpenHSIError, ValueError):
    """A processing level that does not exist, or that the calibration does not support."""


class FrameError(OpenHSIError, ValueError):
    """A frame whose shape, type or values do not fit into the cube."""


class CameraError(OpenHSIError, RuntimeError):
    """The camera, or its driver, failed."""


class DriverMissing(CameraError, ImportError):
    """The package of the camera's vendor is not installed, or no driver has that name."""

    __new__ = ImportError.__new__  # type: ignore[assignment] # of both bases it must be this one, to be copied


class CameraNotFound(CameraError):
    """The driver works, but the camera is not connected."""


class CameraLost(CameraError):
    """The connection to the camera was lost."""


class FrameTimeout(CameraError, TimeoutError):
    """No frame arrived within the timeout."""

    __new__ = TimeoutError.__new__  # type: ignore[assignment] # see DriverMissing


class ChannelError(OpenHSIError, RuntimeError):
    """A channel cannot be opened, or delivers nothing."""


class SourceEnded(CameraError, EOFError):
    """A finite source, such as a replayed cube, has reached its end."""


class NoFreeSlot(OpenHSIError, RuntimeError):
    """Every slot is being saved or held: there is no room for the next line."""


class IllegalMove(OpenHSIError, RuntimeError):
    """The state of a slot does not allow this move: a bug of this library or of a reader."""


class NothingToSave(OpenHSIError, ValueError):
    """`save` was called, but no line was collected since the last save."""


class ClosedError(OpenHSIError, ValueError):
    """The camera or cube is closed, or belongs to another process."""


class ReentryError(OpenHSIError, RuntimeError):
    """A call from a signal handler, `get_img` or `get_temp`, in a thread that is filling a line, would change it."""


class MemoryShortage(OpenHSIError, MemoryError):
    """The slots do not fit into memory."""

    __new__ = Exception.__new__  # type: ignore[assignment] # see DriverMissing


class RealTimeRefused(OpenHSIError, OSError):
    """The system does not allow this process to schedule a thread in real time."""


class WriterFailed(OpenHSIError, RuntimeError):
    """The writer process could not be started, or its answers are no longer received."""


class RecordingError(OpenHSIError, RuntimeError):
    """A recording ended prematurely."""


class ReferenceRefused(OpenHSIError, ValueError):
    """A dark or white reference that is bright, saturated or dark, or does not belong to what is recorded."""


class RingExists(OpenHSIError, FileExistsError):
    """A ring of that name belongs to a live process."""


class RingNotFound(OpenHSIError, FileNotFoundError):
    """No ring has that name, or it no longer exists."""


class OverrunError(OpenHSIError, LookupError):
    """The requested data have been overwritten by newer data."""


class StageNotApplicable(OpenHSIError, ValueError):
    """A stage of a job does not fit its input: the message says why, and what would fit."""


class JobError(OpenHSIError, RuntimeError):
    """A job failed. What is not known is None."""

    def __init__(
        self, text: str, *, path: str | None = None, line: int | None = None, stage: str | None = None, where: str = ""
    ) -> None:
        super().__init__(text)
        self.path, self.line, self.stage = path, line, stage
        self.worker_traceback = where
        """Traceback of the worker that failed, as text; "" if no code raised."""


class AnalysisError(OpenHSIError, RuntimeError):
    """A worker or reducer of an analysis does not fit, or failed. What is not known is None."""

    def __init__(self, text: str, *, event_number: int | None = None, where: str = "") -> None:
        super().__init__(text)
        self.event_number = event_number
        """Of the event that failed."""
        self.worker_traceback = where
        """Traceback of the code that failed, as text; "" if no code raised."""


class CaptureError(OpenHSIError, ValueError):
    """A capture is cut, damaged, or not a capture. What is not known is None."""

    def __init__(
        self, text: str, *, path: str | None = None, record: int | None = None, offset: int | None = None
    ) -> None:
        super().__init__(text)
        self.path, self.record, self.offset = path, record, offset
        """File, number of the record from 0 on, and its first byte."""


class ParameterError(OpenHSIError, ValueError):
    """A parameter of an analysis is unknown, ill-typed or out of range."""


class ViewerError(OpenHSIError, RuntimeError):
    """A viewer could not be opened, or its process died."""


class SaveError(OpenHSIError, OSError):
    """A cube could not be saved; `errno`, `strerror` and `filename` are those of the system. It is still in memory.

    `errno` is None if a writer died, rather than a system call failed.
    """

    def __str__(self) -> str:
        return super().__str__().removeprefix("[Errno None] ")


class PreviewError(OpenHSIError, OSError):
    """The preview of a cube could not be written: `errno`, `strerror` and `filename` are those of the system."""


class FileError(OpenHSIError, OSError):
    """A file is invalid: of another program, damaged, or not a cube."""


class IncompleteFileError(FileError):
    """The file of a cube that its writer has not completed."""


class ChecksumError(FileError):
    """The contents of a file differ from what was written into it."""
