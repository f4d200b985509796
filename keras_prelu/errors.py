"""The exceptions of keras_prelu.

Every error that a user can cause is a `KerasPReLUError`; the command line prints its message on one
line, without a traceback.
"""

import re

__all__ = [
    "CalibrationError",
    "ConversionError",
    "DataError",
    "ExportError",
    "FileError",
    "FineTuningError",
    "InvalidArgumentError",
    "KerasPReLUError",
    "KerasPReLUWarning",
    "reason_of",
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


class ExportError(KerasPReLUError):
    """A model can't be exported as asked, or the exported file does not compute what the model
    does."""


class FileError(KerasPReLUError):
    """A model file cannot be read or written."""


class KerasPReLUWarning(UserWarning):
    """Something works, but not as one would expect; the message says what and why."""


def reason_of(error: BaseException, limit: int = 200) -> str:
    """The reason that another library's exception gives, on one line of at most about `limit`
    characters, with no final full stop.

    Keras wraps what went wrong into pages of configuration, after "Exception encountered:" or
    "Error encountered:".
    """
    text = (
        " ".join(re.split("(?:Exception|Error) encountered:", str(error))[-1].split())
        or type(error).__name__
    )
    shortened = text if len(text) <= limit else f"{text[:limit].rsplit(' ', 1)[0]} …"
    return shortened.rstrip(".: ")
