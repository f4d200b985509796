"""Model files: saved atomically."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import keras

from keras_prelu.backend.hosts import without_distribution
from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.errors import FileError
from keras_prelu.io.atomic import atomic_write, check_missing, write_error
from keras_prelu.io.constructors import refuse_unloadable_classes
from keras_prelu.utils.checks import check_path
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["check_output", "save_model"]


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
            `force` is not set, it can't be written (no space, no permission), or Keras would load
            another model from it, or none: one with a Sequential that calls a layer with weights
            several times, or with a class that does not take its own configuration. Nothing is left
            behind then, and an existing file is unchanged.

    Example:

    >>> keras_prelu.save_model(converted, "converted.keras")
    """
    path = check_path("path", path)
    check_output(path, force=force)
    _refuse_repeated_layers(model, path)
    refuse_unloadable_classes(model, path)
    try:
        with atomic_write(path, overwrite=force) as temporary:
            _save(model, temporary)
    except FileError:
        raise
    except Exception as error:  # Keras and h5py raise various exceptions when the disk is full.
        raise write_error(path, error) from error


def _refuse_repeated_layers(model: keras.Model, path: Path) -> None:
    """Raise a FileError for a Sequential from whose file Keras makes several layers of one.

    Their weights differ then, without a word.
    """
    for sequential in (model, *sublayers(model)):
        if not isinstance(sequential, keras.Sequential):
            continue
        counts = Counter(id(layer) for layer in sequential.layers)
        for layer in sequential.layers:
            if counts[id(layer)] > 1 and layer.weights:
                raise FileError(
                    f"'{path}' is not written: Sequential '{sequential.name}' calls layer"
                    f" '{layer.name}' several times, and Keras loads layers with different weights"
                    " from its file. Make it a functional model before you convert it:"
                    " keras.Model(sequential.inputs, sequential.outputs)."
                )


@on_large_graphs
def _save(model: keras.Model, path: Path) -> None:
    with without_distribution():  # Keras creates a variable of the optimizer while it saves.
        model.save(path)


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
