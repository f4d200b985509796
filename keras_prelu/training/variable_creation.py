"""Creation of the variables that training adds to a model: the optimizer's and the metrics'."""

from __future__ import annotations

import keras

from keras_prelu.backend.devices import tensorflow_replicas
from keras_prelu.data.lazy import loaded
from keras_prelu.data.samples import Samples
from keras_prelu.data.signature import input_signature

__all__ = ["build_for_training"]


def build_for_training(model: keras.Model, samples: Samples) -> None:
    """Create the variables of a compiled model's optimizer and metrics before its first step.

    The model's own variables do not change. If the first training step creates variables,
    TensorFlow traces the step twice and creates each variable inside a conditional; creating them
    earlier halves the time to the first step of a deep network. On other backends, and in
    TensorFlow with copies of variables on several devices, Keras itself creates them before the
    first step.

    Args:
        model: Keras model. It is built and compiled with an optimizer.
        samples: `Samples` with labels that fit the model. One batch of the model's fixed size, or
            one sample, is read.
    """
    if keras.backend.backend() != "tensorflow" or tensorflow_replicas() > 1:
        return
    model.optimizer.build(model.trainable_variables)
    batch = samples.take(slice(0, input_signature(model, samples.x).batch_size or 1))
    x, y, weights = (
        None
        if part is None
        else keras.tree.map_structure(keras.ops.convert_to_tensor, loaded(part))
        for part in (batch.x, batch.y, batch.weights)
    )
    outputs = model(x, training=False)
    # The loss creates the metric of each output's mean loss.
    model.compute_loss(x, y, outputs, sample_weight=weights)
    model.compute_metrics(x, y, outputs, sample_weight=weights)
    model.reset_metrics()
