"""Layers whose Python code calls rectifiers as functions, each in its own way."""

import functools

import keras
from keras import activations, ops
from keras import layers as L  # noqa: N812
from keras.ops import relu as rectify

FUNCTIONS = {"relu": ops.relu, "other": ops.tanh}


def registered(cls):
    return keras.saving.register_keras_serializable("calling")(cls)


class Calls(L.Layer):
    """A linear layer, and what a subclass does with its outputs."""

    size = 6

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = L.Dense(self.size)
        self.second = L.Dense(self.size)

    def build(self, shape):
        self.dense.build(shape)
        self.second.build((*shape[:-1], self.size))

    def call(self, x):
        return self.rectified(self.dense(x))

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.size)


def helper(x):
    return keras.ops.relu(x)


def twice(function):
    @functools.wraps(function)
    def wrapper(self, x):
        return function(self, function(self, x) - 0.1)

    return wrapper


class Doubled:
    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return 2 * ops.relu(x)


DOUBLED = Doubled(None)


@registered
class Op(Calls):
    def rectified(self, x):
        return keras.ops.relu(x)


@registered
class Activation(Calls):
    def rectified(self, x):
        return keras.activations.relu(x)


@registered
class Alias(Calls):
    def rectified(self, x):
        return rectify(x)


@registered
class Keyword(Calls):
    def rectified(self, x):
        return ops.relu(x=x)


@registered
class Looked(Calls):
    def rectified(self, x):
        return activations.get("relu")(x)


@registered
class Attribute(Calls):
    def rectified(self, x):
        return getattr(ops, self.named)(x)

    named = "relu"


@registered
class FromDict(Calls):
    def rectified(self, x):
        return FUNCTIONS["relu"](x)


@registered
class Maximum(Calls):
    def rectified(self, x):
        return ops.maximum(x, 0.0) + ops.maximum(0, x)

    sites = 2


@registered
class Clip(Calls):
    def rectified(self, x):
        return ops.clip(x, 0, 2) + ops.relu6(x) + activations.relu(x, max_value=3.0)

    sites = 3


@registered
class Leaky(Calls):
    def rectified(self, x):
        return ops.leaky_relu(x, negative_slope=0.1) + activations.leaky_relu(x)

    sites = 2


@registered
class Default(Calls):
    def rectified(self, x, function=ops.relu):
        return function(x)


def _in_closure(function):
    class Closure(Calls):
        def rectified(self, x):
            return function(x)

    return registered(Closure)


Closure = _in_closure(ops.relu)


@registered
class Helper(Calls):
    def rectified(self, x):
        return helper(x) - helper(self.second(x))

    sites = 2


@registered
class Method(Calls):
    def act(self, x):
        return ops.relu(x)

    def rectified(self, x):
        return self.act(self.second(self.act(x)))

    sites = 2


@registered
class Static(Calls):
    @staticmethod
    def one(x):
        return ops.relu(x)

    @classmethod
    def other(cls, x):
        return cls.one(x) + ops.relu(-x)

    @property
    def function(self):
        return ops.relu

    def rectified(self, x):
        return self.one(x) + self.other(x) + self.function(x - 0.1)

    sites = 4


@registered
class PrivateName(Calls):
    def __act(self, x):
        return ops.relu(x)

    def rectified(self, x):
        return self.__act(x)


@registered
class Loop(Calls):
    def rectified(self, x):
        for _ in range(3):
            x = ops.relu(self.second(x))
        return x

    sites = 3


@registered
class Comprehension(Calls):
    def rectified(self, x):
        return sum(ops.relu(x - shift) for shift in (0.0, 0.1)) + sum([ops.relu(x) for _ in "a"])

    sites = 3


@registered
class Nested(Calls):
    def rectified(self, x):
        def act(y):
            return ops.relu(y)

        other = lambda y: ops.relu(y) - 0.5  # noqa: E731
        return act(x) + act(self.second(x)) + other(x)

    sites = 3


@registered
class Created(Calls):
    def rectified(self, x):
        return keras.layers.ReLU()(x) + L.Activation("relu")(x - 0.2)

    sites = 2


ACTIVATION = L.ReLU(max_value=2.0)


@registered
class OfTheModule(Calls):
    def rectified(self, x):
        return ACTIVATION(x) + ACTIVATION(self.second(x))

    sites = 2


@registered
class OfTheClass(Calls):
    layer = L.ReLU()
    table = {"leaky": L.LeakyReLU(0.1)}  # noqa: RUF012

    def rectified(self, x):
        return self.layer(x) + self.table["leaky"](self.second(x))

    sites = 2


@registered
class Partial(Calls):
    def rectified(self, x):
        return functools.partial(activations.relu, max_value=2.0)(x)


@registered
class Decorated(Calls):
    @twice
    def rectified(self, x):
        return ops.relu(x)

    sites = 2


@registered
class Callable(Calls):
    def rectified(self, x):
        return DOUBLED(x)


@registered
class Inherits(Op):
    def rectified(self, x):
        return super().rectified(x) + ops.relu(self.second(x))

    sites = 2


@registered
class Inner(Calls):
    """Around layers that call functions themselves."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [Op(), Method()]

    def build(self, shape):
        super().build(shape)
        for block in self.blocks:
            block.build((*shape[:-1], self.size))

    def rectified(self, x):
        for block in self.blocks:
            x = block(x)
        return ops.relu(x)

    sites = 4


@registered
class Branch(Calls):
    def call(self, x, training=False):
        x = self.dense(x)
        return ops.relu(x) if training else ops.relu(self.second(x))

    sites = 2


@registered
class Cond(Calls):
    def rectified(self, x):
        return ops.cond(
            ops.sum(x) > 1e9, lambda: ops.relu(x) + 0.1, lambda: ops.relu(self.second(x))
        )

    sites = 2


@registered
class Mapped(Calls):
    def step(self, x):
        return ops.relu(x)

    def rectified(self, x):
        return ops.map(self.step, ops.expand_dims(x, 0))[0]


@registered
class Scan(Calls):
    def rectified(self, x):
        def step(carry, row):
            carry = ops.relu(carry + row)
            return carry, carry

        return ops.scan(step, 0.0 * x, ops.stack([x, -x]))[0]


@registered
class Remat(Calls):
    def rectified(self, x):
        return keras.remat(self.step)(x)

    def step(self, x):
        return ops.relu(x)


def all_layers():
    """Return the classes, by name."""
    return {
        name: value
        for name, value in globals().items()
        if isinstance(value, type) and issubclass(value, Calls) and value is not Calls
    }
