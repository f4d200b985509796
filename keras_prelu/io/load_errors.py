"""Errors of Keras when it can't load a file, as one line that states what to do."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import keras

from keras_prelu.errors import FileError, reason_of
from keras_prelu.utils.versions import version_key

__all__ = ["load_error", "unknown_class"]

_UNKNOWN_CLASS = re.compile(
    r"(?:Could not locate|Unknown) (?:class|layer|function|object)[: ]+'([^']+)'"
)
_MISFIT = re.compile(
    r"Example error message for object <(\w+) name=([^,>]+)[^>]*>: (.*?)(?: Target variable:.*)?$"
)

# What Keras's messages name, and how it is described; the first that is found counts.
_UNSAFE = {
    "`TFSMLayer`": "a TFSMLayer, which would load a SavedModel from outside the file",
    "`torch.nn.Module`": "a PyTorch module, which is not unpickled from a file",
    "vocabulary file": "a vocabulary that would be read from outside the file",
    "`Lambda` layer": "a Lambda layer, whose Python code is not run from a file",
    "Python lambda": "a lambda, which is not run from a file",
}


def load_error(path: Path, error: Exception) -> FileError:
    """Return the FileError for an exception that Keras, h5py or zipfile raised while loading.

    Args:
        path: Path. The file.
        error: Exception. The exception that was raised.
    """
    return FileError(_explanation(path, error))


def unknown_class(error: Exception) -> str:
    """Return the name of the class or function that an exception says is not registered, or ""."""
    found = _UNKNOWN_CLASS.search(" ".join(str(error).split()))
    return found.group(1) if found else ""


def _explanation(path: Path, error: Exception) -> str:
    text = " ".join(str(error).split())
    unknown = unknown_class(error)
    if unknown:
        return (
            f"'{path}' uses the custom class '{unknown}', which is not registered here."
            " Import the module that registers it (keras.saving.register_keras_serializable)"
            " first; on the command line with --import MODULE."
        )
    misfit = _MISFIT.search(text)
    if misfit:
        class_name, layer, reason = misfit.groups()
        return (
            f"'{path}' is damaged: its weights do not fit layer '{layer}' ({class_name})."
            f" {reason_of(ValueError(reason))}."
        )
    if (
        isinstance(error, OSError)
        and error.errno is not None
        and not isinstance(error, zipfile.BadZipFile)
    ):
        return f"'{path}' can't be read: {error.strerror or text}."
    unsafe = _unsafe_content(text)
    if unsafe:
        return (
            f"'{path}' contains {unsafe}. If you trust the file as you would a program, load it"
            " with allow_unsafe=True; on the command line with --allow-unsafe."
        )
    newer = _newer_keras(path)
    if newer:
        return (
            f"'{path}' was written by Keras {newer}, and this is {keras.version()}: pip install"
            f" --upgrade keras. ({reason_of(error)}.)"
        )
    return f"'{path}' can't be loaded; it may be damaged: {reason_of(error)}."


def _unsafe_content(text: str) -> str | None:
    """Return what a file contains that Keras loads only from trusted files, or None."""
    for content, description in _UNSAFE.items():
        if content in text:
            return description
    if "safe_mode" in text:
        return "Python code, which is not run from a file"
    return None


def _newer_keras(path: Path) -> str:
    """Return the version of Keras that wrote a file, if it is newer than this one, else ""."""
    try:
        with zipfile.ZipFile(path) as archive:
            version = str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
        return ""
    return version if version_key(version) > version_key(keras.version()) else ""
