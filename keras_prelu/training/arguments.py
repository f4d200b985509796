"""The arguments of a fine-tuning: their checks, and the samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_prelu.backend.hosts import hosts, trains_on_several_tensorflow_hosts
from keras_prelu.data.labels import check_labels
from keras_prelu.data.samples import CheckedSamples, Samples, as_samples
from keras_prelu.data.sources import split
from keras_prelu.data.streams import check_training_stream
from keras_prelu.diagnostics.scores import check_scores
from keras_prelu.errors import FineTuningError, InvalidArgumentError
from keras_prelu.sites.prelu_layers import has_prelu_layers
from keras_prelu.training.config import FitConfig
from keras_prelu.training.recipes import AUTO, get_recipe

__all__ = [
    "FineTuningData",
    "check_distribution",
    "checked_data",
    "labelled_samples",
    "recipe_name",
    "refuse_old_call",
]

SELECTION_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class FineTuningData:
    """The samples of a fine-tuning.

    Attributes:
        train: `CheckedSamples`, or a stream of batches.
        validation: `CheckedSamples` that the verdict comes from.
        selection: `CheckedSamples` on which the best epoch is chosen, or None.
    """

    train: Any
    validation: CheckedSamples
    selection: CheckedSamples | None

    def with_selection(self, seed: int, purpose: str) -> FineTuningData:
        """Return the same, with a fifth of the training samples held back if there is no selection.

        Args:
            seed: Int. Seed of the split.
            purpose: Str. What needs the selection samples, for a message: "With a recipe".

        Raises:
            InvalidArgumentError: A ValueError; the training data is a stream.
        """
        if self.selection is not None:
            return self
        if not isinstance(self.train, CheckedSamples):
            raise InvalidArgumentError(
                f"{purpose}, a stream of training data needs `selection`: labelled samples to"
                " choose the epoch by."
            )
        train, selection = split(self.train, SELECTION_SHARE, seed)
        return replace(self, train=train, selection=selection)


def refuse_old_call(train: Any, positional: tuple[Any, ...]) -> None:
    """Raise an InvalidArgumentError for the order of arguments of version 0.1."""
    if positional or train is None or isinstance(train, keras.Model):
        raise InvalidArgumentError(
            "The arguments of finetune changed: finetune(model, train, validation,"
            " original=original) for a converted model, finetune(model, train, validation,"
            f" recipe=...) for a ReLU model. Received: train of type {type(train).__name__} and"
            f" {3 + len(positional)} positional arguments"
        )


def recipe_name(
    model: keras.Model, original: keras.Model | None, recipe: str, control: bool
) -> str | None:
    """Return the name of the recipe, or None if the model is trained as it is."""
    is_converted = has_prelu_layers(model)
    if original is not None and has_prelu_layers(original):
        raise InvalidArgumentError(
            "`original` has PReLU layers itself. Give the ReLU model that `model` was made from."
            f" Received: original={original.name!r}"
        )
    if recipe != AUTO:
        if is_converted:
            raise InvalidArgumentError(
                "A recipe starts from the ReLU model, and this one has PReLU layers. Give the ReLU"
                f" model, or leave out `recipe`. Received: recipe={recipe!r}"
            )
        if original is not None:
            raise InvalidArgumentError(
                "A recipe starts from `model`, which is its own original. Leave out `original`, or"
                f" `recipe` to train the model as it is. Received: recipe={recipe!r}"
            )
        return get_recipe(recipe).name
    if original is None and not is_converted:
        return AUTO
    if original is None and control:
        raise InvalidArgumentError(
            "The control of a converted model is the ReLU model that it was made from. Give it as"
            " `original`, or set control=False."
        )
    return None


def check_distribution() -> None:
    """Raise a FineTuningError if Keras can't train under the current strategy."""
    if trains_on_several_tensorflow_hosts():
        raise FineTuningError(
            "Keras can't train under MultiWorkerMirroredStrategy: it passes a value for each"
            " replica where a tensor is expected. Use MirroredStrategy on one host, or"
            " KERAS_BACKEND=jax with keras.distribution.DataParallel."
        )
    if hosts() > 1:
        distribution = keras.distribution.distribution()
        if distribution is None or distribution.auto_shard_dataset:
            raise FineTuningError(
                f"{hosts()} hosts train together under"
                " keras.distribution.DataParallel(auto_shard_dataset=False), set on each before"
                " the model is made: Keras divides data sets of tf.data only, and these batches"
                " are divided already."
            )


def checked_data(
    model: keras.Model, train: Any, validation: Any, selection: Any, fit: FitConfig
) -> FineTuningData:
    """Coerce and check all samples, once."""

    def labelled(data: Any, role: str) -> CheckedSamples:
        return labelled_samples(model, data, fit.loss, role)

    loss = fit.loss if fit.loss is not None else getattr(model, "loss", None)
    is_stream = not (isinstance(train, Samples) or (isinstance(train, tuple) and len(train) == 2))
    if is_stream:
        check_training_stream(train)
        if fit.augment is not None:
            raise InvalidArgumentError(
                "`augment` is applied to samples. Augment a stream of batches where it is made,"
                " such as with dataset.map."
            )
    samples = FineTuningData(
        validation=labelled(validation, "validation"),
        train=train if is_stream else labelled(train, "training"),
        selection=None if selection is None else labelled(selection, "selection"),
    )
    if loss is not None:
        check_scores(model, samples.validation, loss, with_metrics=fit.metrics is None)
    return samples


def labelled_samples(model: keras.Model, data: Any, loss: Any, role: str) -> CheckedSamples:
    """Return samples with labels, checked for a model and its loss.

    Args:
        model: Keras model.
        data: `Samples`, a pair (x, y), or a data set that ends.
        loss: Keras loss, or None for the one that the model is compiled with.
        role: Str. What the samples are for, for messages.

    Raises:
        DataError: They have no labels, or do not fit the model or the loss.
    """
    samples = as_samples(data, model=model, role=f"{role} samples", labels="required")
    check_labels(model, samples, loss if loss is not None else getattr(model, "loss", None))
    return samples
