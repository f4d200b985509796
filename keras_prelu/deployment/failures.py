"""What users are told when an exporter, or a runtime, raises."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.deployment.formats.base import Format, Settings
from keras_prelu.deployment.other_sizes import has_open_sizes
from keras_prelu.errors import ExportError, KerasPReLUError, reason_of
from keras_prelu.utils.quiet import silenced

__all__ = ["as_export_errors"]

_LOOKUPS = ("Hashing", "IntegerLookup", "StringLookup", "TextVectorization")
"""Layers with a table or a hash of TensorFlow's, which only its own runtime has."""
_HAVE_LOOKUPS = ("keras", "saved_model")
"""Formats that hold them."""


@contextlib.contextmanager
def as_export_errors(
    path: Path, format_: Format, model: keras.Model, settings: Settings
) -> Iterator[None]:
    """Discard the output of an exporter, and turn its exceptions into one-line errors.

    Args:
        path: Path. The output that the user asked for.
        format_: `Format`.
        model: `keras.Model`. What is exported.
        settings: `Settings` of the export.
    """
    try:
        with silenced(1, 2), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (KerasPReLUError, MemoryError):
        raise
    except Exception as error:
        told = _reason_and_advice(format_, model, settings, reason_of(error))
        raise ExportError(f"'{path}' is not written: {told}") from error


def _reason_and_advice(format_: Format, model: keras.Model, settings: Settings, reason: str) -> str:
    lookup = _lookup(model) if format_.name not in _HAVE_LOOKUPS else None
    if lookup is not None:
        return (
            f"{format_.name} has no operation for layer '{lookup.name}' ({type(lookup).__name__})."
            " Apply that layer in Python, and export a model of the layers after it; or export a"
            " SavedModel."
        )
    opset = (
        "" if settings.opset is None else f" Or try another opset (--opset) than {settings.opset}."
    )
    others = [name for name in format_.backends if name != keras.backend.backend()]
    backends = f" or backend (--backend {' or '.join(others)})" if others and format_.traced else ""
    one_size = (
        " The model leaves sizes open; one of fixed sizes (keras.Input) may do."
        if format_.traced and has_open_sizes(model)
        else ""
    )
    return (
        f"the model can't be exported to {format_.name} ({reason}). Try another format{backends};"
        f" if the reason names a layer, replace that layer.{one_size}{opset}"
    )


def _lookup(model: keras.Model) -> Any:
    """Return the first layer that no runtime but TensorFlow's has an operation for, or None."""
    found = (
        layer
        for layer in sublayers(model)
        if any(cls.__name__ in _LOOKUPS for cls in type(layer).__mro__)
    )
    return next(found, None)
