"""Model files: loaded with errors that state the cause, saved atomically."""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras

from keras_prelu.backend.hosts import without_distribution
from keras_prelu.errors import FileError, KerasPReLUWarning, reason_of
from keras_prelu.io.atomic import atomic_write, check_missing, write_error
from keras_prelu.io.load_errors import load_error, unknown_class
from keras_prelu.io.validation import check_archive, check_hdf5
from keras_prelu.io.weight_limit import weights_within
from keras_prelu.utils.checks import check_path
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["beside", "check_output", "load_model", "save_model"]

_NOT_A_FOLDER = "Keras 3 loads models from files: save it with model.save('model.keras')."
_NOT_A_SAVED_MODEL = (
    "A SavedModel holds compiled functions, not the layers that a conversion replaces: load it"
    " where its code is, and save it with model.save('model.keras')."
)

# The warning of Keras when it continues with newly initialized weights.
_MISSING_WEIGHTS = re.compile("Skipping nested container")


def load_model(path: str | os.PathLike[str], *, allow_unsafe: bool = False) -> keras.Model:
    """Load a model from a `.keras` or legacy `.h5` file.

    The declarations of the file are checked before anything is built: sizes against the available
    memory, weights against those in the file, links and paths that lead out of it, and layers that
    wait for each other.

    Args:
        path: String or path. The file.
        allow_unsafe: Boolean. Whether Python code in the file, such as that of a Lambda layer, is
            run. Use it only for files that you would run as a program. Defaults to False, Keras's
            safe mode.

    Returns:
        A `keras.Model`. If only the compile settings in the file can't be read, such as those of
        Keras 2 or a loss that is not registered, it is not compiled, and a warning says so.

    Raises:
        FileError: There is no such file, it is not a Keras file, it is damaged, or it uses a class
            that is not registered; the message states the cause.

    Example:

    >>> model = keras_prelu.load_model("model.prelu.keras")
    """
    path = check_path("path", path)
    try:
        _check_input(path)
        stored_bytes = check_archive(path) if path.suffix == ".keras" else check_hdf5(path, path)
        model = _load(path, stored_bytes, allow_unsafe)
    except FileError:
        raise
    except MemoryError as error:
        raise FileError(f"'{path}' needs more memory than there is.") from error
    except Exception as error:  # Keras passes on what zipfile, h5py, json and layers raise.
        raise load_error(path, error) from error
    if not isinstance(model, keras.Model):
        raise FileError(f"'{path}' holds a {type(model).__name__}, not a model.")
    return model


def _load(path: Path, stored_bytes: int, allow_unsafe: bool) -> Any:
    """Load a model, without its compile settings if only those can't be read."""
    try:
        return _load_once(path, stored_bytes, allow_unsafe, compiles=True)
    except (FileError, MemoryError):
        raise
    except Exception as error:  # Keras passes on what zipfile, h5py, json and layers raise.
        try:
            model = _load_once(path, stored_bytes, allow_unsafe, compiles=False)
        except Exception:
            raise error from None
        warnings.warn(
            f"The compile settings in '{path}' can't be read ({_compile_reason(path, error)}). The"
            " model is loaded without them: compile it, or give a loss where one is needed.",
            KerasPReLUWarning,
            stacklevel=3,
        )
        return model


def _compile_reason(path: Path, error: Exception) -> str:
    unknown = unknown_class(error)
    if unknown:
        return f"'{unknown}' is not registered here; import its module first, --import MODULE"
    if path.suffix != ".keras":
        return f"they may be those of Keras 2: {reason_of(error, 80)}"
    return reason_of(error, 80)


@on_large_graphs
def _load_once(path: Path, stored_bytes: int, allow_unsafe: bool, *, compiles: bool) -> Any:
    with warnings.catch_warnings(record=True) as caught, weights_within(str(path), stored_bytes):
        warnings.simplefilter("always")
        model = keras.models.load_model(path, safe_mode=not allow_unsafe, compile=compiles)
    for warning in caught:
        if _MISSING_WEIGHTS.search(str(warning.message)):
            raise FileError(
                f"'{path}' is damaged: it holds no weights for a part of the model"
                f" ({reason_of(ValueError(warning.message))})."
            )
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return model


def save_model(model: keras.Model, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Save a model in the `.keras` format, atomically.

    The model is written to a temporary file in a hidden folder next to the target, which is then
    renamed. When several hosts compute together, only one of them may call this function.

    Args:
        model: `keras.Model`. Any Keras model.
        path: String or path. The file; its name must end in `.keras`.
        force: Boolean. Whether an existing file is replaced. Defaults to False.

    Raises:
        FileError: The name has another ending, the folder does not exist, the file exists and
            `force` is not set, or it can't be written (no space, no permission). Nothing is left
            behind then, and an existing file is unchanged.

    Example:

    >>> keras_prelu.save_model(converted, "converted.keras")
    """
    path = check_path("path", path)
    check_output(path, force=force)
    try:
        with atomic_write(path, overwrite=force) as temporary:
            _save(model, temporary)
    except FileError:
        raise
    except Exception as error:  # Keras and h5py raise various exceptions when the disk is full.
        raise write_error(path, error) from error


@on_large_graphs
def _save(model: keras.Model, path: Path) -> None:
    with without_distribution():  # Keras creates a variable of the optimizer while it saves.
        model.save(path)


def beside(path: str | os.PathLike[str], suffix: str) -> Path:
    """Return `model.<suffix>.keras` in the folder of `model.keras`.

    Args:
        path: String or path. A model file.
        suffix: String. The suffix to insert into the file name.
    """
    path = Path(path)
    # `.`, `..` and `/` are folders without a name of their own; loading them fails with advice.
    return path.parent / f"{path.stem}.{suffix}.keras"


def check_output(path: Path, *, force: bool, suffix: str = ".keras") -> None:
    """Raise a FileError if a path can't be written to, before work is done that would be lost.

    Args:
        path: Path. The output.
        force: Boolean. Whether an existing output is replaced.
        suffix: String. Required suffix of the name; "" for a folder. Defaults to ".keras".
    """
    if path.suffix != suffix:
        raise FileError(
            f"The output '{path}' must end in {suffix}."
            if suffix
            else f"The output '{path}', a folder, must have no suffix."
        )
    if not path.parent.is_dir():
        raise FileError(f"The folder of the output '{path}' does not exist. Create it first.")
    if path.exists() and path.is_dir() == bool(suffix):
        raise FileError(f"The output '{path}' is a {'folder' if suffix else 'file'}.")
    if not force:
        check_missing(path)
    if not os.access(path.parent, os.W_OK):
        raise FileError(f"The folder of the output '{path}' is not writable.")


def _check_input(path: Path) -> None:
    if path.is_dir():
        is_saved_model = (path / "saved_model.pb").exists()
        advice = _NOT_A_SAVED_MODEL if is_saved_model else _NOT_A_FOLDER
        raise FileError(f"'{path}' is a folder. {advice}")
    if not path.exists():
        raise FileError(f"No such file: '{path}'.")
    try:
        is_archive, is_hdf5 = zipfile.is_zipfile(path), h5py.is_hdf5(path)
    except OSError as error:
        raise FileError(f"'{path}' can't be read: {error.strerror or error}.") from error
    if path.suffix == ".keras" and not is_archive:
        raise FileError(
            f"'{path}' is not a Keras file, or is damaged: a .keras file is a zip archive, and this"
            " is not."
        )
    if path.suffix in (".h5", ".hdf5") and not is_hdf5:
        raise FileError(f"'{path}' is not a Keras file, or is damaged: it is not an HDF5 file.")
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise FileError(f"'{path}' is not a Keras file: its name must end in .keras (or .h5).")
