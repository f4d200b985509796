"""The arguments of a fine-tuning: their checks, and the samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import keras

from keras_prelu.backend.hosts import (
    hosts,
    torch_processes,
    trains_on_several_tensorflow_hosts,
)
from keras_prelu.data.containers import comes_from, is_rows
from keras_prelu.data.dataset import split
from keras_prelu.data.labels import arranged, check_labels
from keras_prelu.data.overlap import warn_of_overlap
from keras_prelu.data.samples import CheckedSamples, Samples, as_samples
from keras_prelu.data.streams import (
    batch_count,
    check_training_stream,
    first_batch,
    yields_batches,
)
from keras_prelu.diagnostics.scores import check_scores
from keras_prelu.errors import FineTuningError, InvalidArgumentError
from keras_prelu.sites.prelu_layers import has_prelu_layers
from keras_prelu.training.class_weights import class_weights
from keras_prelu.training.config import FitConfig
from keras_prelu.training.recipes import AUTO, get_recipe
from keras_prelu.training.stream_batches import StreamBatches

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
    if (processes := torch_processes()) > 1:
        raise FineTuningError(
            f"Keras does not train on the {processes} processes of torch.distributed together: each"
            " would train by itself on all data. Call finetune in one process without"
            " init_process_group, or use KERAS_BACKEND=jax with keras.distribution.DataParallel."
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
    samples = FineTuningData(
        validation=labelled(validation, "validation"),
        train=_training_data(model, train, fit),
        selection=None if selection is None else labelled(selection, "selection"),
    )
    if loss is not None:
        check_scores(model, samples.validation, loss, with_metrics=fit.metrics is None)
    if isinstance(samples.train, Samples):
        warn_of_overlap(samples.validation, samples.train, "training", "training")
    if samples.selection is not None:
        warn_of_overlap(samples.validation, samples.selection, "selection", "choosing the epoch")
    return samples


def _training_data(model: keras.Model, train: Any, fit: FitConfig) -> Any:
    """Return training data as checked samples, or as a checked stream of batches.

    What can't be done with the data is refused here, before a search or a training begins. Data
    that can be read only once, which the first of several trainings would use up, is read into
    memory.
    """
    role = "training"
    if isinstance(train, Iterator) and fit.steps_per_epoch is not None:
        train = islice(train, fit.steps_per_epoch)
    is_tuple = isinstance(train, tuple) and len(train) in (2, 3)
    if isinstance(train, (Iterator, Samples)) or is_tuple or is_rows(train):
        samples = labelled_samples(model, train, fit.loss, role)
        _refuse_weights_twice(samples, fit)
        class_weights(fit.class_weight, samples)
        return samples
    check_training_stream(train, has_steps=fit.steps_per_epoch is not None)
    if fit.augment is not None:
        raise InvalidArgumentError(
            "`augment` is applied to samples. Augment a stream of batches where it is made,"
            " such as with dataset.map."
        )
    class_weights(fit.class_weight, train)
    # An error in the first batch is told before anything is computed.
    first = Samples(*first_batch(train, model))
    _refuse_weights_twice(labelled_samples(model, first, fit.loss, role), fit)
    steps = fit.steps_per_epoch or batch_count(train)
    # Keras asks no data set of Grain for its length, by which learning rates decay, and weights no
    # classes in batches of Grain and PyTorch.
    lacks = comes_from(train, "grain") or (
        fit.class_weight is not None and comes_from(train, "torch")
    )
    needs_steps = not yields_batches(train) or (lacks and fit.class_weight is not None)
    if not needs_steps and fit.steps_per_epoch is None and (steps is None or not lacks):
        return train
    if steps is None:
        raise InvalidArgumentError(
            f"The number of batches of `train` ({type(train).__name__}) is not known. Give"
            " `steps_per_epoch`."
        )
    return StreamBatches(train, int(steps))


def _refuse_weights_twice(samples: Samples, fit: FitConfig) -> None:
    if samples.weights is not None and fit.class_weight is not None:
        raise InvalidArgumentError(
            "The training samples have weights, which Keras does not combine with `class_weight`."
            " Multiply them by those of their classes, or leave out one of the two."
        )


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
    return arranged(model, samples)
