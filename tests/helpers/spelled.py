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


class Written(keras.Model):
    """Writes rectifiers as expressions of functions that are none."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = [L.Dense(6) for _ in range(11)]
        self.head = L.Dense(2)

    def call(self, x):
        x = self.hidden[0](x)
        x = ops.maximum(x, ops.zeros_like(x))
        x = self.hidden[1](x)
        x = ops.maximum(ops.zeros_like(x), x)
        x = self.hidden[2](x)
        x = x * ops.cast(x > 0, x.dtype)
        x = self.hidden[3](x)
        x = ops.cast(x >= 0, "float32") * x
        x = self.hidden[4](x)
        x = x * ops.cast(x > 0, dtype=x.dtype)
        x = self.hidden[5](x)
        x = ops.multiply(x, ops.cast(ops.greater(x, 0), x.dtype))
        x = self.hidden[6](x)
        x = (x + ops.abs(x)) / 2
        x = self.hidden[7](x)
        x = 0.5 * (abs(x) + x)
        x = self.hidden[8](x)
        x = sum([y * ops.cast(y > 0, y.dtype) for y in (x, x - 0.3)])
        x = self.hidden[9](x)
        x = (lambda y: ops.cast(y > 0, y.dtype) * y)(x)
        x = self.hidden[10](x)
        # None of these is a ReLU.
        x = (
            x * ops.cast(x < 0, x.dtype)
            + x * ops.cast(x > 0.5, x.dtype)
            + x * ops.cast(x + 1.0 > 0, x.dtype)
        )
        x = ops.maximum(x, ops.zeros_like(x[:, :1])) + (x + ops.abs(x)) / 3
        return self.head(x)


class WrittenByBackend(keras.Model):
    """Writes rectifiers with functions and methods of the backend."""

    calls = 8

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = [L.Dense(6) for _ in range(self.calls)]
        self.head = L.Dense(2)

    def call(self, x):
        for index, layer in enumerate(self.hidden):
            x = FUNCTIONS[keras.backend.backend()](layer(x), index)
        return self.head(x)


def of_tensorflow(x, index):
    import tensorflow as tf

    if index == 0:
        return tf.maximum(x, tf.zeros_like(x))
    if index == 1:
        return x * tf.cast(x > 0, x.dtype)
    if index == 2:
        return tf.where(tf.greater(x, 0), x, tf.zeros_like(x))
    if index == 3:
        return tf.maximum(x, tf.constant(0.0))
    if index == 4:
        return tf.maximum(0.2 * x, x)
    if index == 5:
        return tf.nest.map_structure(tf.nn.relu, {"x": x})["x"]
    if index == 6:
        return sum(map(tf.nn.relu, [x, -x]))
    return (x + tf.abs(x)) / 2.0


def of_jax(x, index):
    import jax
    import jax.numpy as jnp

    if index == 0:
        return jnp.maximum(x, jnp.zeros_like(x))
    if index == 1:
        return x * (x > 0)
    if index == 2:
        return jnp.where(x > 0, x, 0)
    if index == 3:
        return jnp.maximum(x, jnp.array(0.0))
    if index == 4:
        return jax.lax.max(x, 0.0)
    if index == 5:
        return jax.tree.map(jax.nn.relu, {"x": x})["x"]
    if index == 6:
        return sum(map(jax.nn.relu, [x, -x]))
    return x * (x > 0).astype(x.dtype)


def of_torch(x, index):
    import torch

    if index == 0:
        return torch.maximum(x, torch.zeros_like(x))
    if index == 1:
        return x * (x > 0)
    if index == 2:
        return torch.mul(x, (x > 0).float())
    if index == 3:
        return torch.max(x, torch.tensor(0.0))
    if index == 4:
        return torch.maximum(x, 0.2 * x)
    if index == 5:
        return torch.nn.functional.threshold(x, 0.0, 0.0)
    if index == 6:
        return sum(map(torch.relu, [x, -x]))
    return (x + x.abs()) / 2


FUNCTIONS = {"jax": of_jax, "tensorflow": of_tensorflow, "torch": of_torch}


class Mapped(keras.Model):
    """Hands a function to one of the backend that applies it to the samples one by one."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.head = L.Dense(6), L.Dense(2)

    def call(self, x):
        x = ops.reshape(self.hidden(x), (-1, 2, 3))
        x = by_sample(lambda sample: ops.relu(sample), x)
        return self.head(ops.reshape(x, (-1, 6)))


def by_sample(function, x):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.map_fn(function, x)
    if keras.backend.backend() == "jax":
        import jax

        return jax.vmap(function)(x)
    import torch

    return torch.vmap(function)(x)


def capped(x):
    return ops.relu6(x)


if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    capped = tf.function(capped)
elif keras.backend.backend() == "jax":
    import jax

    capped = jax.jit(capped)


class CallsCompiled(keras.Model):
    """Calls a function that is compiled on its own, except on PyTorch."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.other, self.head = L.Dense(6), L.Dense(6), L.Dense(2)

    def call(self, x):
        return self.head(capped(self.other(ops.relu(self.hidden(x)))))


class InParts(keras.Model):
    """Gives the parts of a rectifier names of their own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.other, self.head = L.Dense(6), L.Dense(6), L.Dense(2)

    def call(self, x):
        x = self.hidden(x)
        mask = ops.cast(x > 0, x.dtype)
        x = self.other(x * mask)
        zeros = ops.zeros_like(x)
        return self.head(ops.maximum(x, zeros))


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
            # None of these is a ReLU.
            x = ops.maximum(ops.where(x > 0.5, x, 0.0), ops.clip(extra, -1.0, 1.0))
            x = x - ops.max(extra, 0)
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
