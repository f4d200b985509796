"""Subclassed models whose code calls rectifiers, and what they compute in NumPy."""

import keras
import numpy as np
from keras import layers as L  # noqa: N812
from keras import ops

registered = keras.saving.register_keras_serializable("tests.coded")
X = np.random.default_rng(0).normal(size=(400, 4)).astype("float32")


@registered
class Branch(L.Layer):
    """A residual block with a function in its code, and an inline activation."""

    def __init__(self, width=6, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.first = L.Dense(width, activation="relu")
        self.second = L.Dense(width)

    def call(self, x):
        return ops.relu(x + self.second(self.first(x)))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@registered
class Coded(keras.Model):
    """Applies a ReLU, a capped one, and those of two blocks."""

    def __init__(self, width=6, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.stem, self.head = L.Dense(width), L.Dense(3)
        self.blocks = [Branch(width), Branch(width)]

    def call(self, x):
        x = ops.relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x)

    def get_config(self):
        return {"width": self.width, "name": self.name}


class Unconfigured(Coded):
    """Has no configuration, since a constructor takes a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return super().call(self.function(x))

    def get_config(self):
        raise NotImplementedError


@registered
class WithOwnWeight(Coded):
    def build(self, shape):
        self.shift = self.add_weight(shape=(shape[-1],), name="shift", initializer="ones")

    def call(self, x):
        return super().call(x + self.shift)


@registered
class ReadsValues(Coded):
    def call(self, x):
        return super().call(x) if float(ops.max(x)) > -1e9 else x


@registered
class WithAuxiliary(Coded):
    """Has a layer that only a call for training uses."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.auxiliary = L.Dense(3)

    def call(self, x, training=False):
        outputs = super().call(x)
        auxiliary = self.auxiliary(x)
        return outputs + auxiliary if training else outputs


@registered
class AddsLoss(Coded):
    """Adds a loss in its code, as a variational autoencoder does."""

    def call(self, x):
        outputs = super().call(x)
        self.add_loss(ops.mean(ops.square(outputs)))
        return outputs


def built(cls=Coded, *args, **kwargs):
    keras.utils.set_random_seed(0)
    model = cls(*args, **kwargs)
    model(X)
    return model


def outputs(model, x=X):
    return ops.convert_to_numpy(model(x))


def reference(model, slopes, x=X):
    """Return what a `Coded` computes with a slope for each site or for each of its units, in the
    order of execution."""
    slopes = iter(slopes)

    def prelu(values, cap=None):
        slope = next(slopes)
        values = np.where(values > 0, values, slope * values)
        return values if cap is None else np.minimum(values, cap)

    def dense(layer, values):
        kernel, bias = (ops.convert_to_numpy(weight) for weight in layer.weights)
        return values @ kernel + bias

    values = prelu(dense(model.stem, x.astype("float64")), 6.0)
    for block in model.blocks:
        hidden = prelu(dense(block.first, values))
        values = prelu(values + dense(block.second, hidden))
    return dense(model.head, values)


SITES = (
    "relu6()",
    "blocks[0]/first",
    "blocks[0]/relu()",
    "blocks[1]/first",
    "blocks[1]/relu()",
)
"""The paths of the sites of `Coded`, in the order of execution."""
