"""The first step of a transfer: a new head learns on the features of the trained network."""

from __future__ import annotations

import keras
import numpy as np

from keras_prelu.data import Samples
from tools.common.tasks import CROSSENTROPY

__all__ = ["with_trained_head"]

_EPOCHS, _BATCH, _RATE = 30, 32, 3e-3
_PREDICTED_BATCH = 128


def with_trained_head(
    features: keras.Model, train: Samples, held_out: Samples, classes: int, seed: int
) -> keras.Model:
    """Return a network of its own with a linear head, which alone has learned the new samples.

    The features are computed once. Adam decays along a cosine, and the weights of the epoch with
    the lowest loss on the held-out samples are kept.

    Args:
        features: The trained network without its head. Not changed.
        train: New samples.
        held_out: Others, which choose the epoch.
        classes: Number of classes.
        seed: Seed of the head's weights and of the order of samples.
    """
    x, x_held_out = (
        features.predict(samples.x, batch_size=_PREDICTED_BATCH, verbose=0)
        for samples in (train, held_out)
    )
    keras.utils.set_random_seed(seed)
    trunk = keras.models.clone_model(features)
    trunk.set_weights(features.get_weights())
    head = keras.layers.Dense(classes, name="head")
    alone = keras.Sequential([keras.Input(x.shape[1:]), head])
    steps = _EPOCHS * -(-len(x) // _BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(_RATE, steps)
    alone.compile(keras.optimizers.Adam(schedule), CROSSENTROPY)
    best = keras.callbacks.EarlyStopping(patience=_EPOCHS, restore_best_weights=True)
    alone.fit(
        x,
        np.asarray(train.y),
        validation_data=(x_held_out, np.asarray(held_out.y)),
        batch_size=_BATCH,
        epochs=_EPOCHS,
        callbacks=[best],
        verbose=0,
    )
    return keras.Model(trunk.inputs, head(trunk.output), name=features.name)
