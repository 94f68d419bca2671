"""Every error a user of the agent can meet, on one screen.

Each message says what is wrong, which value it was and what to do. `exit_code` is what the commands return: 2 for wrong
input or settings, 1 for a fault at run time.
"""


class CrackscoutError(Exception):
    """The root: everything raised on purpose."""

    exit_code = 1


class ConfigError(CrackscoutError):
    """A settings file, an environment variable or an option does not fit."""

    exit_code = 2


class InputError(CrackscoutError):
    """A photo, video, folder or record cannot be read; the rest of the run may go on without it."""

    exit_code = 2


class OutputError(CrackscoutError):
    """The output folder cannot be used, or already holds a run."""

    exit_code = 2


class DiskFullError(OutputError):
    """There was room when the run began, and now there is none; what was written before stays."""

    exit_code = 1


class BundleError(CrackscoutError):
    """A model bundle is incomplete, altered, or of a schema this version does not read."""

    exit_code = 2


class RuntimeUnavailableError(CrackscoutError):
    """The inference runtime asked for is not on this machine."""

    exit_code = 2


class EngineError(CrackscoutError):
    """An engine cannot be built, kept or loaded on this device; ONNX Runtime can serve instead."""


class InferenceError(CrackscoutError):
    """The network failed on a frame."""


class DeliveryError(CrackscoutError):
    """The broker cannot be reached or refuses what we say."""


class CameraError(CrackscoutError):
    """A live camera cannot be opened, or is lost; it is tried again for as long as the service runs."""


class CameraSilentError(CameraError):
    """A live camera is there, but no picture comes."""


class CameraHungError(CameraError):
    """A live camera's driver does not come back, and keeps the camera: only another process can open it again."""
