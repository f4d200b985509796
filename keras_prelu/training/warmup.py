"""What training adds to a model's variables: the optimizer's, and the metrics'."""

from __future__ import annotations

import keras

from keras_prelu.backend.devices import tensorflow_replicas
from keras_prelu.data.lazy import loaded
from keras_prelu.data.samples import Samples

__all__ = ["build_for_training"]


def build_for_training(model: keras.Model, samples: Samples) -> None:
    """Make the variables of a compiled model's optimizer and metrics; none of its own changes.

    TensorFlow traces a step of training twice where the first one makes them, and makes each inside
    a conditional: with this, what comes before the first step of a deep network takes half as long.
    On other backends Keras makes them before the first step by itself, and so it does in TensorFlow
    where several devices have copies of them.

    Args:
        model: A built model, compiled with an optimizer.
        samples: Labelled samples that fit it; one is looked at, or as many as the model wants at
            once.
    """
    if keras.backend.backend() != "tensorflow" or tensorflow_replicas() > 1:
        return
    model.optimizer.build(model.trainable_variables)
    few = samples.take(slice(0, model.inputs[0].shape[0] or 1))
    x, y = (
        keras.tree.map_structure(keras.ops.convert_to_tensor, loaded(part))
        for part in (few.x, few.y)
    )
    outputs = model(x, training=False)
    model.compute_loss(x, y, outputs)  # each output's loss has a mean of its own
    model.compute_metrics(x, y, outputs)
    model.reset_metrics()
