"""Random networks of layers and operations on tensors (positions, channels), among them many that
look like what keeps the scale of a channel and do not."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.backend.keras_internals import unlocked

L = keras.layers
ops = keras.ops
CHANNELS = 4
POSITIONS = 4

__all__ = [
    "CHANNELS",
    "LINEAR",
    "NOT_SCALED",
    "OPERATIONS",
    "POSITIONS",
    "may_drop_masks",
    "random_network",
]


class Dropout(L.Layer):
    """A user's layer that is named like one of Keras's."""

    def call(self, x):
        return x + 1.0


class BatchNormalization(L.Layer):
    def call(self, x):
        return ops.tanh(x)


class ShiftedReLU(L.ReLU):
    def call(self, x):
        return ops.relu(x + 0.3)


class PlainReLU(L.ReLU):
    """A subclass that computes what ReLU does."""

    def __init__(self, note="", **kwargs):
        super().__init__(**kwargs)
        self.note = note


class SquaredDense(L.Dense):
    def call(self, x, training=None):
        return ops.square(super().call(x))


class NormalizedDense(L.Dense):
    """Weight normalization: the kernel that `call` uses has columns of norm 1."""

    @property
    def kernel(self):
        kernel = super().kernel
        return kernel if not self.built else kernel / (1e-6 + ops.norm(kernel, axis=0))


class PlainDense(L.Dense):
    def __init__(self, units, note="", **kwargs):
        super().__init__(units, **kwargs)
        self.note = note


class BentBatchNormalization(L.BatchNormalization):
    def call(self, x, training=None, mask=None):
        return ops.tanh(super().call(x, training=training))


class BentPReLU(kp.PReLU):
    def call(self, x):
        return super().call(x) + 0.5


def bent(layer):
    """A layer whose `call` somebody replaced."""
    inherited = layer.call
    layer.call = lambda x: inherited(x) + 0.5
    return layer


def quantized(x):
    layer = L.Dense(CHANNELS)
    y = layer(x)
    layer.quantize("int8")
    return y


def with_lora(x):
    layer = L.Dense(CHANNELS)
    y = layer(x)
    layer.enable_lora(2)
    return y


def tied(x):
    first, second = L.Dense(CHANNELS), L.Dense(CHANNELS)
    y = first(x)
    second.build(x.shape)
    with unlocked(second):
        second._kernel = first._kernel
    return second(L.ReLU()(y))


def tied_to_an_op(x):
    layer = L.Dense(CHANNELS, "relu")
    y = layer(x)
    return ops.matmul(y, layer.kernel)


def used_by_an_op(x):
    layer = L.Dense(CHANNELS, "relu")
    return L.Dense(CHANNELS)(layer(x)) + ops.matmul(x, layer.kernel)


def twice(x):
    layer = L.Dense(CHANNELS)
    return layer(L.ReLU()(layer(x)))


def residual(x):
    return L.Add()([x, L.Dense(CHANNELS)(L.ReLU()(x))])


def nested(x):
    inputs = keras.Input(x.shape[1:])
    inner = keras.Model(inputs, L.Dense(CHANNELS, "relu")(L.Dense(CHANNELS)(inputs)))
    return inner(x)


LINEAR = {
    "dense": lambda: L.Dense(CHANNELS),
    "dense relu": lambda: L.Dense(CHANNELS, "relu"),
    "dense gelu": lambda: L.Dense(CHANNELS, "gelu"),
    "dense without bias": lambda: L.Dense(CHANNELS, use_bias=False),
    "plain dense": lambda: PlainDense(CHANNELS),
    "squared dense": lambda: SquaredDense(CHANNELS),
    "normalized dense": lambda: NormalizedDense(CHANNELS),
    "conv": lambda: L.Conv1D(CHANNELS, 3, padding="same"),
    "grouped conv": lambda: L.Conv1D(CHANNELS, 3, padding="same", groups=2),
    "depthwise": lambda: L.DepthwiseConv1D(3, padding="same"),
    "separable": lambda: L.SeparableConv1D(CHANNELS, 3, padding="same"),
    "transposed": lambda: L.Conv1DTranspose(CHANNELS, 3, padding="same"),
    "einsum": lambda: L.EinsumDense("abc,cd->abd", (POSITIONS, CHANNELS), bias_axes="d"),
    "einsum that turns": lambda: L.EinsumDense("abc,cd->adb", (CHANNELS, POSITIONS)),
    "einsum of positions": lambda: L.EinsumDense("abc,bd->adc", (POSITIONS, CHANNELS)),
    "einsum of groups": lambda: L.EinsumDense("abc,c->abc", (POSITIONS, CHANNELS), bias_axes="c"),
    "batch normalization": lambda: L.BatchNormalization(),
    "batch normalization of positions": lambda: L.BatchNormalization(axis=1),
    "batch normalization without scale": lambda: L.BatchNormalization(scale=False),
    "bent batch normalization": lambda: BentBatchNormalization(),
    "named like batch normalization": lambda: BatchNormalization(),
    "layer normalization": lambda: L.LayerNormalization(),
    "time distributed": lambda: L.TimeDistributed(L.Dense(CHANNELS)),
    "spectral": lambda: L.SpectralNormalization(L.Dense(CHANNELS)),
    "attention": lambda: lambda x: L.MultiHeadAttention(2, 2)(x, x),
    "recurrent": lambda: L.SimpleRNN(CHANNELS, return_sequences=True),
}


_USUAL = ("relu", "leaky relu", "prelu", "relu activation", "residual", "plain relu", "nested")

OPERATIONS = {
    "relu": lambda x: L.ReLU()(x),
    "capped relu": lambda x: L.ReLU(6.0)(x),
    "relu with a threshold": lambda x: L.ReLU(threshold=0.1)(x),
    "leaky relu": lambda x: L.LeakyReLU()(x),
    "prelu": lambda x: kp.PReLU(0.2)(x),
    "stock prelu": lambda x: L.PReLU("ones")(x),
    "bent prelu": lambda x: BentPReLU(0.2)(x),
    "relu activation": lambda x: L.Activation("relu")(x),
    "tanh activation": lambda x: L.Activation("tanh")(x),
    "linear activation": lambda x: L.Activation("linear")(x),
    "relu op": lambda x: ops.relu(x),
    "shifted relu": lambda x: ShiftedReLU()(x),
    "plain relu": lambda x: PlainReLU()(x),
    "relu with a replaced call": lambda x: bent(L.ReLU())(x),
    "plus 1": lambda x: x + 1.0,
    "plus an array": lambda x: x + np.arange(CHANNELS, dtype="float32"),
    "a number plus": lambda x: 0.5 + x,
    "minus": lambda x: x - 0.5,
    "times 2": lambda x: x * 2.0,
    "times an array": lambda x: x * np.arange(1, CHANNELS + 1, dtype="float32"),
    "times itself": lambda x: L.Multiply()([x, x]),
    "plus itself": lambda x: L.Add()([x, x]),
    "plus its mean": lambda x: x + ops.mean(x, axis=1, keepdims=True),
    "plus the mean of its channels": lambda x: L.Add()([x, ops.mean(x, -1, keepdims=True)]),
    "plus one channel": lambda x: L.Add()([x, L.Dense(1)(x)]),
    "plus one position": lambda x: L.Add()([x, ops.mean(L.Dense(CHANNELS)(x), 1)]),
    "average": lambda x: L.Average()([x, L.Dense(CHANNELS)(x)]),
    "subtract": lambda x: L.Subtract()([x, L.Dense(CHANNELS)(x)]),
    "concatenate": lambda x: L.Dense(CHANNELS)(L.Concatenate()([x, x])),
    "concatenate a constant": lambda x: L.Dense(CHANNELS)(ops.pad(x, ((0, 0), (0, 0), (0, 1)))),
    "residual": residual,
    "dropout": lambda x: L.Dropout(0.5)(x),
    "named dropout": lambda x: Dropout()(x),
    "identity": lambda x: L.Identity()(x),
    "pooling": lambda x: L.MaxPooling1D(3, 1, "same")(x),
    "pooling of channels": lambda x: L.MaxPooling1D(3, 1, "same", data_format="channels_first")(x),
    "average pooling of channels": lambda x: L.AveragePooling1D(
        3, 1, "same", data_format="channels_first"
    )(x),
    "permute": lambda x: L.Permute((2, 1))(x),
    "reshape": lambda x: L.Reshape((CHANNELS, POSITIONS))(x),
    "softmax": lambda x: L.Softmax()(x),
    "masked": lambda x: L.Masking(0.0)(x),
    "normalized by batch": lambda x: L.BatchNormalization()(x, training=True),
    "unit normalization": lambda x: L.UnitNormalization()(x),
    "regularized": lambda x: L.ReLU(activity_regularizer="l2")(x),
    "clip": lambda x: ops.clip(x, 0.0, 1.0),
    "maximum": lambda x: ops.maximum(x, 0.1),
    "twice": twice,
    "tied": tied,
    "tied to an op": tied_to_an_op,
    "nested": nested,
    "used by an op": used_by_an_op,
    "quantized": quantized,
    "lora": with_lora,
    "float16": lambda x: L.ReLU(dtype="mixed_float16")(x),
    "bfloat16": lambda x: L.Dense(CHANNELS, "relu", dtype="bfloat16")(x),
}
"""Operations by name, each from a tensor (positions, channels) to another."""


NOT_SCALED = [
    (tied, "shares its weights with another layer"),
    (used_by_an_op, "shares its weights with another layer"),
    (twice, "is called at several places"),
    (
        lambda x: L.ReLU()(L.Dense(4, kernel_constraint="max_norm")(x)),
        "has a constraint, which scaled weights would violate",
    ),
    (
        lambda x: L.ReLU(activity_regularizer="l1")(L.Dense(4)(x)),
        "has an activity regularizer, which depends on the scale",
    ),
    (
        lambda x: L.Dense(4, "relu", dtype="mixed_float16")(x),
        "computes in float16, which scaled channels might overflow",
    ),
]
"""Chains of layers whose weights have to stay, with the reason."""

may_drop_masks = pytest.mark.filterwarnings("ignore:Layer '.*' .* was passed an input with a mask")
"""For tests of random networks, in which layers that know no masks follow masked ones."""


def random_network(seed, length=4):
    """Return a network of linear layers and operations in turn, with some weights of 0."""
    rng = np.random.default_rng(seed)
    inputs = keras.Input((POSITIONS, CHANNELS))
    x, names = inputs, []
    for _ in range(length):
        kind = rng.choice(["dense", "conv"] if rng.random() < 0.4 else list(LINEAR))
        operation = rng.choice(_USUAL if rng.random() < 0.6 else list(OPERATIONS))
        x = OPERATIONS[operation](LINEAR[kind]()(x))
        names += [str(kind), str(operation)]
    outputs = [L.Dense(3)(x)]
    if rng.random() < 0.2:
        outputs.append(x)
    model = keras.Model(inputs, outputs, name="_".join(names).replace(" ", "-"))
    for variable in model.weights:
        name, shape = variable.path.rsplit("/", 1)[-1], variable.shape
        if not keras.backend.is_float_dtype(variable.dtype) or name == "kernel_scale":
            continue
        values = rng.normal(0.0, 0.7, shape) * 10.0 ** rng.uniform(-1.0, 1.0, shape[-1:] or ())
        if name in ("gamma", "moving_variance"):
            values = np.abs(values)
        if name in ("gamma", "kernel", "moving_variance") and shape:
            values = np.where(rng.random(shape[-1]) < 0.15, 0.0, values)
        if name == "kernel" and len(shape) == 2:
            values = np.where(rng.random((shape[0], 1)) < 0.15, 0.0, values)
        if len(shape) > 0:
            variable.assign(values)
    return model
