"""Rectifiers in spellings and places that calls on samples do not always reach."""

import keras
from keras import layers as L  # noqa: N812
from keras import ops


class Selected(keras.Model):
    """Writes rectifiers as selections, in each order of their parts."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = [L.Dense(6) for _ in range(5)]
        self.head = L.Dense(2)

    def call(self, x):
        x = self.hidden[0](x)
        x = ops.where(x > 0, x, 0.0)
        x = self.hidden[1](x)
        x = ops.where(x >= 0.0, x, 0.1 * x)
        x = self.hidden[2](x)
        x = ops.where(x < 0, ops.zeros_like(x), x)
        x = self.hidden[3](x)
        x = ops.where(ops.greater(x, 0), x, x * 0.3)
        x = self.hidden[4](x)
        x = ops.where(x > 0, 0.0, x)  # The other half: no rectifier.
        x = ops.where(x > 0.5, x, 0.0)
        return self.head(ops.where(x > 0, x + 1.0, 0.0))


class Product(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.head = L.Dense(6), L.Dense(2)

    def call(self, x):
        x = self.hidden(x)
        return self.head(ops.relu(x * ops.cast(x > 0, x.dtype)))


class Optional(keras.Model):
    """Has calls that only training, or other arguments, reach, and a layer that only they build."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.other, self.head = L.Dense(6), L.Dense(6), L.Dense(2)

    def call(self, x, extra=None, training=False):
        x = ops.relu(self.hidden(x))
        if training:
            x = ops.relu(self.other(x))
        if extra is not None:
            x = x + ops.relu6(extra) + ops.maximum(extra, 0)
            x = ops.maximum(ops.where(x > 0.5, x, 0.0), ops.clip(extra, -1.0, 1.0))
        return self.head(x)


class FromDict(keras.Model):
    """Hands functions on in a dict."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.other, self.head = L.Dense(6), L.Dense(6), L.Dense(2)

    def call(self, x):
        x = applied(self.hidden(x), {"activation": lambda y: ops.relu(y), "scale": 2.0})
        return self.head(applied(self.other(x), {"activation": bent, "scale": 1.0}))


def applied(x, settings):
    return settings["activation"](x) * settings["scale"]


def bent(x):
    return ops.leaky_relu(x - 0.1, negative_slope=0.3)


class Varying(keras.Model):
    """Applies a lambda with a comprehension whose passes depend on an attribute."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = [L.Dense(3) for _ in range(3)]
        self.count = 3
        self.head = L.Dense(2)

    def call(self, x):
        branches = lambda y: [ops.relu(layer(y)) for layer in self.hidden[: self.count]]  # noqa: E731
        return self.head(sum(branches(x)))
