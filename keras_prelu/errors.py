"""The exceptions of keras_prelu.

Every error that a user can cause is a `KerasPReLUError`; the command line prints its message on one line, without a traceback.
"""

__all__ = [
    "CalibrationError",
    "ConversionError",
    "DataError",
    "FileError",
    "FineTuningError",
    "InvalidArgumentError",
    "KerasPReLUError",
    "KerasPReLUWarning",
]


class KerasPReLUError(Exception):
    """Base class of the errors that keras_prelu raises on purpose."""


class InvalidArgumentError(KerasPReLUError, ValueError):
    """An argument has a value that cannot be used; the message names it and says what can."""


class ConversionError(KerasPReLUError):
    """A model cannot be converted, and the message says why."""


class CalibrationError(KerasPReLUError):
    """Two models, or the samples given with them, cannot be calibrated."""


class FineTuningError(KerasPReLUError):
    """A model cannot be fine-tuned or judged as asked."""


class DataError(KerasPReLUError):
    """Samples are missing, unreadable, or do not fit the model."""


class FileError(KerasPReLUError):
    """A model file cannot be read or written."""


class KerasPReLUWarning(UserWarning):
    """Something works, but not as one would expect; the message says what and why."""
