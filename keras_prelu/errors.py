"""The exceptions of keras_prelu.

Every error that a user can cause is a `KerasPReLUError`. The command line prints its message on one
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
    """Base class of the errors that keras_prelu raises for its users."""


class InvalidArgumentError(KerasPReLUError, ValueError):
    """An invalid argument; the message names it and says which values are valid."""


class ConversionError(KerasPReLUError):
    """A model that cannot be converted; the message says why."""


class CalibrationError(KerasPReLUError):
    """Models or samples that calibration cannot use."""


class FineTuningError(KerasPReLUError):
    """A model that cannot be fine-tuned or compared as requested."""


class DataError(KerasPReLUError):
    """Samples that are missing, unreadable, or do not fit the model."""


class ExportError(KerasPReLUError):
    """An export that is not possible as requested, or a file that computes something else."""


class FileError(KerasPReLUError):
    """A file that cannot be read or written."""


class KerasPReLUWarning(UserWarning):
    """A call that succeeds with a result that may be unexpected; the message says why."""


def reason_of(error: BaseException, limit: int = 200) -> str:
    """Return the reason that an exception of another library gives, on one line.

    Keras puts the reason after pages of configuration, behind "Exception encountered:" or "Error
    encountered:", or in bold before pages of arguments.

    Args:
        error: Exception.
        limit: Integer. The number of characters after which the reason is cut at a word, with "…"
            in place of the rest. Defaults to 200.

    Returns:
        A string without a final full stop; the name of the exception's class if the exception gives
        no reason.
    """
    told = re.split("(?:Exception|Error) encountered:", str(error))[-1]
    bold = re.search(r"\x1b\[1m(.+?)\x1b\[0m", told, re.DOTALL)
    text = " ".join((bold[1] if bold else told).split()) or type(error).__name__
    shortened = text if len(text) <= limit else f"{text[:limit].rsplit(' ', 1)[0]} …"
    return shortened.rstrip(".: ")
