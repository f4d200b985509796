"""Loading of model files and of folders that Keras writes, with errors that state the cause."""

from __future__ import annotations

import os
import re
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras

from keras_prelu.errors import FileError, reason_of
from keras_prelu.io.load_errors import load_error, unknown_class
from keras_prelu.io.validation import check_archive, check_folder, check_hdf5
from keras_prelu.io.weight_limit import weights_within
from keras_prelu.utils.large_graphs import on_large_graphs
from keras_prelu.utils.user_warnings import warn

__all__ = ["HDF5", "as_model", "load_file", "load_weights"]

HDF5 = (".h5", ".hdf5")
# The warning of Keras when it continues with newly initialized weights.
_MISSING_WEIGHTS = re.compile("Skipping nested container")


def load_file(path: Path, *, allow_unsafe: bool) -> keras.Model:
    """Load a `.keras` file, a legacy `.h5` file, or a folder that Keras wrote.

    The declarations of the file are checked before anything is built: sizes against the available
    memory, weights against those in the file, links and paths that lead out of it, and layers that
    wait for each other.

    Args:
        path: Path. The file or folder.
        allow_unsafe: Boolean. Whether Python code in the file is run.

    Raises:
        FileError: It can't be loaded; the message states the cause.
    """
    return as_model(path, lambda: _load(path, allow_unsafe))


def load_weights(path: Path, build: Callable[[], Any] | None) -> keras.Model:
    """Build a model, and load its weights from a file that holds nothing else.

    Args:
        path: Path. A file that `model.save_weights` wrote, of Keras 3 or 2.
        build: Function without arguments that returns the model, or None.

    Raises:
        FileError: There is no `build`, it returns no model, or one with other weights.
    """
    if build is None:
        raise FileError(
            f"'{path}' holds weights without a model. Give the function that builds the model:"
            " load_model(path, build=function); on the command line --import MODULE:FUNCTION."
        )

    def loaded() -> Any:
        with open(path, "rb") as file:
            check_hdf5(path, file)
        model = _built(path, build)
        _load_weights(path, model)
        return model

    return as_model(path, loaded)


def as_model(path: Path | str, load: Callable[[], Any]) -> keras.Model:
    """Return the model that a function loads, with its exceptions as FileErrors.

    Args:
        path: Path or string. What is loaded, for messages.
        load: Function without arguments.
    """
    try:
        model = load()
    except FileError:
        raise
    except MemoryError as error:
        raise FileError(f"'{path}' needs more memory than there is.") from error
    except Exception as error:  # Keras passes on what zipfile, h5py, json and layers raise.
        raise load_error(Path(path), error) from error
    if not isinstance(model, keras.Model):
        raise FileError(f"'{path}' holds a {type(model).__name__}, not a model.")
    return model


def _load(path: Path, allow_unsafe: bool) -> Any:
    """Load a model, without its compile settings if only those can't be read."""
    if path.is_dir():
        stored_bytes = check_folder(path)
    else:
        check_kind(path)
        stored_bytes = check_archive(path) if path.suffix == ".keras" else check_hdf5(path, path)
    try:
        return _load_once(path, stored_bytes, allow_unsafe, compiles=True)
    except (FileError, MemoryError):
        raise
    except Exception as error:  # Keras passes on what zipfile, h5py, json and layers raise.
        try:
            model = _load_once(path, stored_bytes, allow_unsafe, compiles=False)
        except Exception:
            raise error from None
        warn(
            f"The compile settings in '{path}' can't be read ({_compile_reason(path, error)}). The"
            " model is loaded without them: compile it, or give a loss where one is needed.",
        )
        return model


def _compile_reason(path: Path, error: Exception) -> str:
    unknown = unknown_class(error)
    if unknown:
        return f"'{unknown}' is not registered here; import its module first, --import MODULE"
    if path.suffix in HDF5:
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


def check_kind(path: Path) -> None:
    """Raise a FileError if a file can't be a model file."""
    try:
        is_archive, is_hdf5 = zipfile.is_zipfile(path), h5py.is_hdf5(path)
    except OSError as error:
        raise FileError(f"'{path}' can't be read: {error.strerror or error}.") from error
    if path.suffix == ".keras" and not is_archive:
        raise FileError(
            f"'{path}' is not a Keras file, or is damaged: a .keras file is a zip archive, and this"
            " is not."
        )
    if path.suffix in HDF5 and not is_hdf5:
        raise FileError(f"'{path}' is not a Keras file, or is damaged: it is not an HDF5 file.")
    if path.suffix not in (".keras", *HDF5):
        raise FileError(f"'{path}' is not a Keras file: its name must end in .keras (or .h5).")


def holds_weights_alone(path: Path) -> bool:
    """Return whether an HDF5 file holds weights and no model."""
    with h5py.File(path, "r") as file:
        return "model_config" not in file.attrs


def _built(path: Path, build: Callable[[], Any]) -> keras.Model:
    name = f"{getattr(build, '__module__', '')}:{getattr(build, '__qualname__', build)}"
    try:
        model = build()
    except Exception as error:  # The user's function may raise anything.
        raise FileError(
            f"{name}, which builds the model of '{path}', raised a {type(error).__name__}:"
            f" {reason_of(error)}."
        ) from error
    if not isinstance(model, keras.Model) or not model.built:
        is_model = isinstance(model, keras.Model)
        received = "a model that is not built" if is_model else type(model).__name__
        raise FileError(f"{name} must return the model of '{path}', built. Received: {received}.")
    return model


def _load_weights(path: Path, model: keras.Model) -> None:
    """Load weights, all of which the model must have."""
    with h5py.File(path, "r") as file:
        is_legacy = "layer_names" in file.attrs
        stored = 0 if is_legacy else _numbers_in(file)
    with tempfile.TemporaryDirectory() as folder:
        if is_legacy:  # Keras tells Keras 2's weights by the end of the name, and only by it.
            link = Path(folder) / "weights.h5"
            os.symlink(path.resolve(), link)
        elif path.name.endswith(".weights.h5"):
            link = path
        else:
            link = Path(folder) / "model.weights.h5"
            os.symlink(path.resolve(), link)
        model.load_weights(link)
    held = sum(int(keras.ops.size(variable)) for variable in model.variables)
    if stored > held:
        raise FileError(
            f"'{path}' holds {stored:,} weights, more than the {held:,} of model '{model.name}': it"
            " is another model's."
        )


def _numbers_in(file: h5py.File) -> int:
    """Return how many numbers a file of weights holds, without those of the optimizer."""
    total = 0

    def visit(name: str, member: Any) -> None:
        nonlocal total
        if isinstance(member, h5py.Dataset) and not name.startswith("optimizer/"):
            total += int(member.size or 0)

    file.visititems(visit)
    return total
