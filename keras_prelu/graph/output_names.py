"""Names of a model's outputs that differ from the names of the layers that create them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_prelu.backend.keras_internals import Functional
from keras_prelu.registration import serializable

__all__ = ["ModelWithOutputNames", "output_names", "with_output_names"]


@serializable()
class ModelWithOutputNames(keras.Model):
    """A functional model that stores the names of its outputs.

    Losses, metrics and histories go by the names of outputs, which Keras takes from the layers that
    create them. If the activation of an output layer becomes a layer of its own, the output would
    get that layer's name.

    Args:
        inputs: Structure of symbolic tensors, as in `keras.Model`.
        outputs: Structure of symbolic tensors, as in `keras.Model`.
        output_names: List of strings. The names of the outputs. Defaults to the layers' names.

    Example:

    >>> model = ModelWithOutputNames(inputs, outputs, output_names=["price"])
    >>> model.compile("adam", loss={"price": "mse"})
    """

    # Keras takes a class for a functional model if its constructor has this signature.
    def __init__(
        self, *args: Any, output_names: Sequence[str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if output_names is not None:
            self.output_names = list(output_names)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_names": list(self.output_names)}


def output_names(model: keras.Model) -> list[str] | None:
    """Return the names of a model's outputs, or None for a model that has none.

    Sequential and subclassed models have none.
    """
    names = getattr(model, "output_names", None)
    return None if names is None else list(names)


def with_output_names(model: keras.Model, names: Sequence[str] | None) -> keras.Model:
    """Return a model whose outputs have the given names, also after it is saved and loaded.

    A file of a functional model of the user's own class does not keep them, since its constructor
    names the outputs; only the model in memory has them.

    Args:
        model: `keras.Model`. It is changed, or another model over the same layers is returned.
        names: Sequence of strings, or None for a model without names.
    """
    if names is None or output_names(model) in (None, list(names)):
        return model
    if type(model) is Functional:
        return ModelWithOutputNames(
            model.input, model.output, name=model.name, output_names=list(names)
        )
    model.output_names = list(names)
    return model
