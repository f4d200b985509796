"""keras_prelu.graph.objections: which rectifiers a model relies on, in every spelling."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from tests.helpers import models

L = keras.layers
ops = keras.ops

SITE = "site"
NO_SITE = "no site"


class Code(L.Layer):
    """A layer whose Python code is a function of the layer and its inputs."""

    def __init__(self, function, act=None, **kwargs):
        super().__init__(**kwargs)
        self.function = function
        self.act = act

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")

    def call(self, inputs):
        return self.function(self, inputs)

    def get_config(self):
        return {**super().get_config(), "function": self.function, "act": self.act}


class Opaque(L.Layer):
    """Computes what no symbolic tensor can."""

    def call(self, inputs):
        return ops.convert_to_tensor(ops.convert_to_numpy(inputs) + 0.0)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)


class Conditional(L.Layer):
    """Applies its rectifier to the input, and asks whether the results are negative."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.act = L.ReLU(name="act")
        self.dense = L.Dense(6)

    def call(self, inputs):
        h = self.act(inputs)
        sign = 1.0 if ops.convert_to_numpy(ops.mean(h)) >= 0 else -1.0
        return sign * self.dense(h)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)


@keras.saving.register_keras_serializable("tests")
def root(x):
    return ops.sqrt(x)


def relu(x, **arguments):
    return L.ReLU(name="act", **arguments)(x)


def dense(x, size=6):
    return L.Dense(size)(x)


def rest(x):
    """What follows in a network: the range of `x` does not matter here."""
    return dense(L.Flatten()(x), 2)


class Positive(keras.constraints.Constraint):
    """Without a configuration, as many users write it."""

    def __call__(self, w):
        return ops.maximum(w, 1e-3)


def row(build):
    """Return a model of a row of numbers whose `act` is applied to a Dense layer."""
    inputs = keras.Input((5,))
    x = dense(L.Dense(6, "relu", name="first")(inputs))
    return keras.Model(inputs, rest(build(x, inputs)))


def image(build):
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3)(L.Conv2D(4, 1, activation="relu", name="first")(inputs))
    return keras.Model(inputs, rest(build(x, inputs)))


def output(build):
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3)(L.Conv2D(4, 1, activation="relu", name="first")(inputs))
    return keras.Model(inputs, build(x))


# Each case: what the site is, and a model with a rectifier named "act". A reason is a part of
# Site.reason.
ROOT, LOG, DIVIDED = "sqrt()", "log()", "divided by"
GATE, HARD, CHANNELS = "it is a gate: another", "hard-sigmoid", "whole channels"
OUTPUT, UNKNOWN, OPAQUE = "output of the model", "may rely on its range", "can't be followed"
ZEROS, INDICES = "tells zeros", "indices"
GROWS, WEIGHTS, LOSS = "grow without bound", "weights of sums", "to the loss"

CASES = {
    # Consumers that do not rely on the range.
    "dense": (SITE, lambda: row(lambda x, _: relu(x))),
    "normalization": (SITE, lambda: row(lambda x, _: L.BatchNormalization()(relu(x)))),
    "layer normalization": (SITE, lambda: row(lambda x, _: L.LayerNormalization()(relu(x)))),
    "pooling": (SITE, lambda: image(lambda x, _: L.MaxPooling2D()(relu(x)))),
    "softmax": (SITE, lambda: row(lambda x, _: L.Softmax()(relu(x)))),
    "sigmoid": (SITE, lambda: row(lambda x, _: L.Activation("sigmoid")(relu(x)))),
    "tanh": (SITE, lambda: row(lambda x, _: ops.tanh(relu(x)))),
    "another rectifier": (SITE, lambda: row(lambda x, _: ops.relu(1.0 - relu(x)))),
    "residual": (SITE, lambda: row(lambda x, _: relu(x) + x)),
    "gated linear unit": (SITE, lambda: row(lambda x, _: relu(x) * dense(x))),
    "root mean square": (
        SITE,
        lambda: row(lambda x, _: (h := relu(x)) / ops.sqrt(ops.mean(h * h, -1, True) + 1e-3)),
    ),
    "capped root mean square": (
        SITE,
        lambda: row(
            lambda x, _: (h := relu(x, max_value=6)) / ops.sqrt(ops.mean(h**2, -1, True) + 1e-3)
        ),
    ),
    "variance": (
        SITE,
        lambda: row(lambda x, _: (h := relu(x)) / ops.sqrt(ops.var(h, -1, keepdims=True) + 1e-3)),
    ),
    "softmax by hand": (
        SITE,
        lambda: row(lambda x, _: (e := ops.exp(relu(x))) / ops.sum(e, -1, True)),
    ),
    "squeeze of squeeze-excite": (
        SITE,
        lambda: image(
            lambda x, _: x * L.Dense(4, "sigmoid")(relu(ops.mean(x, (1, 2), keepdims=True)))
        ),
    ),
    "excited features": (
        SITE,
        lambda: image(
            lambda x, _: (
                (h := relu(x, max_value=6))
                * L.Dense(4, "sigmoid")(ops.mean(h, (1, 2), keepdims=True))
            )
        ),
    ),
    "scaled by weights": (SITE, lambda: row(lambda x, _: Code(scaled_by_weights)(relu(x)))),
    "weights on the left": (SITE, lambda: row(lambda x, _: Code(weights_first)(relu(x)))),
    "square root of a square": (SITE, lambda: row(lambda x, _: ops.sqrt(ops.square(relu(x))))),
    "square root of 1 - t": (SITE, lambda: row(lambda x, _: ops.sqrt(1 - relu(x, max_value=1)))),
    "guarded logarithm": (SITE, lambda: row(lambda x, _: ops.log(ops.maximum(relu(x), 1e-3)))),
    "dampened by a Gaussian": (SITE, lambda: row(lambda x, _: x * ops.exp(-(relu(x) ** 2)))),
    "larger than": (SITE, lambda: row(lambda x, _: ops.where(relu(x) > 0.5, x, 0.0))),
    "leaky": (SITE, lambda: row(lambda x, _: relu(x, negative_slope=0.1))),
    "nested": (SITE, lambda: row(lambda x, _: nested(lambda y: relu(y))(x))),
    "into code": (SITE, lambda: row(lambda x, _: Code(lambda layer, y: ops.sin(y))(relu(x)))),
    "reshaped output": (SITE, lambda: output(lambda x: L.Dense(2)(L.Flatten()(relu(x))))),
    "output of a sum": (SITE, lambda: output(lambda x: x + relu(x))),
    # Functions that are not defined below 0.
    "sqrt": (ROOT, lambda: row(lambda x, _: ops.sqrt(relu(x)))),
    "sqrt of a sum": (ROOT, lambda: row(lambda x, _: ops.sqrt(ops.sum(relu(x), -1, True)))),
    "sqrt of a mean": (ROOT, lambda: image(lambda x, _: ops.sqrt(ops.mean(relu(x), (1, 2))))),
    "sqrt of a layer Add": (
        ROOT,
        lambda: row(lambda x, _: ops.sqrt(L.Add()([relu(x), ops.square(x)]))),
    ),
    "sqrt of a sum with an input": (
        ROOT,
        lambda: row(lambda x, inputs: ops.sqrt(ops.sum(relu(x), -1, True) + inputs)),
    ),
    "sqrt plus epsilon": (ROOT, lambda: row(lambda x, _: ops.sqrt(relu(x) + 1e-6))),
    "sqrt of a concatenation": (
        ROOT,
        lambda: row(lambda x, _: ops.sqrt(ops.concatenate([ops.exp(x), relu(x)], -1))),
    ),
    "sqrt of a product": (ROOT, lambda: row(lambda x, _: ops.sqrt(relu(x) * ops.exp(x)))),
    "sqrt of pooled": (
        ROOT,
        lambda: image(lambda x, _: ops.sqrt(L.AveragePooling2D(2)(L.ZeroPadding2D()(relu(x))))),
    ),
    "sqrt of cropped": (
        ROOT,
        lambda: image(lambda x, _: ops.sqrt(L.UpSampling2D()(L.Cropping2D()(relu(x))))),
    ),
    "sqrt of a slice": (ROOT, lambda: row(lambda x, _: ops.sqrt(L.Dropout(0.5)(relu(x))[:, 1:]))),
    "sqrt of a split": (ROOT, lambda: row(lambda x, _: ops.sqrt(ops.split(relu(x), 2, -1)[1]))),
    "sqrt of transposed": (
        ROOT,
        lambda: image(
            lambda x, _: ops.sqrt(L.Reshape((4, 36))(ops.transpose(relu(x), (0, 3, 1, 2))))
        ),
    ),
    "sqrt of scaled": (ROOT, lambda: row(lambda x, _: ops.sqrt(relu(x) * np.float32(3) * 2))),
    "sqrt of rescaled": (ROOT, lambda: row(lambda x, _: ops.sqrt(L.Rescaling(2.0, 1.0)(relu(x))))),
    "sqrt of tanh": (ROOT, lambda: row(lambda x, _: ops.sqrt(ops.tanh(relu(x))))),
    "sqrt after a non-negative kernel": (
        ROOT,
        lambda: row(
            lambda x, _: ops.sqrt(L.Dense(3, use_bias=False, kernel_constraint="non_neg")(relu(x)))
        ),
    ),
    "sqrt after a kernel that a constraint of the user keeps positive": (
        ROOT,
        lambda: row(
            lambda x, _: ops.sqrt(L.Dense(3, use_bias=False, kernel_constraint=Positive())(relu(x)))
        ),
    ),
    "sqrt of an inline ReLU": (
        ROOT,
        lambda: row(lambda x, _: ops.sqrt(L.Dense(6, "relu", name="act")(x))),
    ),
    "sqrt of keras.ops.relu": (ROOT, lambda: row(lambda x, _: ops.sqrt(ops.relu(x)))),
    "sqrt of a maximum": (ROOT, lambda: row(lambda x, _: ops.sqrt(ops.maximum(x, 0)))),
    "sqrt in a nested model": (
        ROOT,
        lambda: row(lambda x, _: nested(lambda y: ops.sqrt(y + 1.0))(relu(x))),
    ),
    "sqrt after a nested model": (ROOT, lambda: row(lambda x, _: ops.sqrt(nested(relu)(x)))),
    "sqrt in code": (
        ROOT,
        lambda: row(lambda x, _: Code(lambda layer, y: ops.sqrt(ops.sum(y, -1)))(relu(x))),
    ),
    "sqrt after code": (
        ROOT,
        lambda: row(lambda x, _: ops.sqrt(Code(lambda layer, y: 2 * y)(relu(x)))),
    ),
    "sqrt in a Lambda": (ROOT, lambda: row(lambda x, _: L.Lambda(lambda y: ops.sqrt(y))(relu(x)))),
    "sqrt as an activation": (ROOT, lambda: row(lambda x, _: L.Activation(root)(relu(x)))),
    "sqrt after TimeDistributed": (
        ROOT,
        lambda: image(lambda x, _: ops.sqrt(L.TimeDistributed(L.ReLU(name="act"))(x))),
    ),
    "rsqrt": ("rsqrt()", lambda: row(lambda x, _: ops.rsqrt(relu(x) + 0.1))),
    "log": (LOG, lambda: row(lambda x, _: ops.log(relu(x) + 1e-3))),
    "log1p": ("log1p()", lambda: row(lambda x, _: ops.log1p(ops.sum(relu(x), -1, True)))),
    "entropy": (LOG, lambda: row(lambda x, _: (h := relu(x)) * ops.log(h + 1e-3))),
    "power": ("power()", lambda: row(lambda x, _: relu(x) ** 0.5)),
    "power of a mean": (
        "power()",
        lambda: row(lambda x, _: ops.power(ops.mean(relu(x), -1, True), 1.5)),
    ),
    "arcsin": ("arcsin()", lambda: row(lambda x, _: ops.arcsin(relu(x, max_value=1)))),
    "log of an exponential": (LOG, lambda: row(lambda x, _: ops.log(ops.exp(relu(x)) - 0.9))),
    "sqrt of exp - 1": (ROOT, lambda: row(lambda x, _: ops.sqrt(ops.exp(relu(x)) - 1))),
    "sqrt of a power": (ROOT, lambda: row(lambda x, _: ops.sqrt(2.0 ** relu(x) - 1))),
    "sqrt of a smooth maximum": (
        ROOT,
        lambda: row(lambda x, _: ops.sqrt(ops.logsumexp(relu(x), -1, keepdims=True))),
    ),
    "sqrt of a sigmoid": (ROOT, lambda: row(lambda x, _: ops.sqrt(ops.sigmoid(relu(x)) - 0.5))),
    # Exponentials of what was bounded, and products of many such factors.
    "decay": (GROWS, lambda: row(lambda x, _: x * ops.exp(-relu(x)))),
    "decay by a product": (GROWS, lambda: row(lambda x, _: ops.exp(-relu(x) * x**2))),
    "decay of sums": (GROWS, lambda: row(lambda x, _: ops.exp(-ops.cumsum(relu(x), -1)))),
    "opacity": (GROWS, lambda: row(lambda x, _: 1 - ops.exp(-relu(x) * ops.abs(x)))),
    "exp2": (GROWS, lambda: row(lambda x, _: ops.exp2(1 - relu(x)))),
    "expm1": (GROWS, lambda: row(lambda x, _: ops.expm1(-relu(x)))),
    "power of a constant": (GROWS, lambda: row(lambda x, _: 0.9 ** relu(x))),
    "negative exponent": (GROWS, lambda: row(lambda x, _: ops.power(2.0, -relu(x)))),
    "exponential as an activation": (
        GROWS,
        lambda: row(lambda x, _: L.Activation("exponential")(-relu(x))),
    ),
    "transmittance": (GROWS, lambda: row(lambda x, _: ops.cumprod(1 - relu(x, max_value=1), -1))),
    "product of shares": (
        GROWS,
        lambda: row(lambda x, _: ops.prod(relu(x, max_value=1), -1, keepdims=True)),
    ),
    "exponential of a capped one": (
        SITE,
        lambda: row(lambda x, _: ops.exp(relu(x, max_value=6) - 6)),
    ),
    "softmax of the negative": (SITE, lambda: row(lambda x, _: ops.softmax(-relu(x)))),
    # Weights of sums.
    "attention": (WEIGHTS, lambda: row(lambda x, _: ops.matmul(*pair(relu(x), x)))),
    "attention, capped": (
        WEIGHTS,
        lambda: row(lambda x, _: ops.matmul(*pair(relu(x, max_value=1), x))),
    ),
    "attention, an operator": (
        WEIGHTS,
        lambda: row(lambda x, _: pair(relu(x))[0] @ pair(x, x)[1]),
    ),
    "attention, an einsum": (
        WEIGHTS,
        lambda: row(lambda x, _: ops.einsum("bts,bsd->bdt", *pair(relu(x), x))),
    ),
    "attention, an einsum without a result": (
        WEIGHTS,
        lambda: row(lambda x, _: ops.einsum("...ts,...sd", *pair(relu(x), x))),
    ),
    "attention, a layer": (
        WEIGHTS,
        lambda: row(lambda x, _: L.Dot(axes=(1, 2))([relu(x)[:, :3], pair(x)[0]])),
    ),
    "attention in code": (
        WEIGHTS,
        lambda: row(lambda x, _: Code(lambda layer, y: ops.matmul(*pair(y, y**3)))(relu(x))),
    ),
    "outer product": (WEIGHTS, lambda: row(lambda x, _: ops.einsum("bi,bj->bij", relu(x), x))),
    "gate of a dot product": (
        GATE,
        lambda: row(lambda x, _: L.Dot(axes=1)([relu(x, max_value=1), x])),
    ),
    "values of attention": (
        SITE,
        lambda: row(lambda x, _: ops.matmul(ops.softmax(pair(x)[0]), pair(x, relu(x))[1])),
    ),
    "values of a graph convolution": (
        SITE,
        lambda: row(lambda x, _: ops.einsum("bnm,bmd->bnd", *pair(x, relu(x)))),
    ),
    "dot product of features": (SITE, lambda: row(lambda x, _: L.Dot(axes=1)([relu(x), x]))),
    # Divisions.
    "division": (DIVIDED, lambda: row(lambda x, _: x / (relu(x) + 0.1))),
    "division by a square": (DIVIDED, lambda: row(lambda x, _: x / ops.square(1 + relu(x)))),
    "division by the sum": (
        DIVIDED,
        lambda: row(lambda x, _: (h := relu(x)) / (ops.sum(h, -1, True) + 1e-3)),
    ),
    "division by a guarded sum": (
        DIVIDED,
        lambda: row(lambda x, _: (h := relu(x)) / ops.maximum(ops.sum(h, -1, True), 1e-3)),
    ),
    "reciprocal": (DIVIDED, lambda: row(lambda x, _: ops.reciprocal(1 + relu(x)))),
    "negative power": (DIVIDED, lambda: row(lambda x, _: (1 + relu(x)) ** -1)),
    "remainder": (DIVIDED, lambda: row(lambda x, _: ops.mod(x, 1 + relu(x)))),
    "exponent": ("power of its output", lambda: row(lambda x, _: ops.abs(x) ** relu(x))),
    "linear attention": (
        DIVIDED,
        lambda: row(lambda x, _: x / ops.matmul(relu(x), ops.ones((6, 1)))),
    ),
    # Gates.
    "hard sigmoid": (HARD, lambda: row(lambda x, _: relu(x + 3, max_value=6) / 6)),
    "hard sigmoid, NumPy": (
        HARD,
        lambda: row(lambda x, _: relu(x + np.float32(3), max_value=6) * np.float32(1 / 6)),
    ),
    "hard swish, minimum": (
        GATE,
        lambda: row(lambda x, _: x * ops.minimum(ops.maximum(x + 3, 0), 6) / 6),
    ),
    "hard sigmoid, Rescaling": (
        HARD,
        lambda: row(lambda x, _: L.Rescaling(1 / 6)(relu(x + 3, max_value=6))),
    ),
    "hard swish, minimum first": (
        GATE,
        lambda: row(lambda x, _: x * ops.minimum(ops.maximum(x, 0), 4)),
    ),
    "hard swish in code": (
        HARD,
        lambda: row(lambda x, _: Code(hard_swish, keras.activations.relu6)(x)),
    ),
    "highway": (
        GATE,
        lambda: row(lambda x, _: (t := relu(x, max_value=1)) * dense(x) + (1 - t) * x),
    ),
    "highway, 1 - t alone": (GATE, lambda: row(lambda x, _: x * (1 - relu(x, max_value=1)))),
    "gate by a layer": (
        GATE,
        lambda: row(lambda x, _: L.Multiply()([dense(x), relu(x, max_value=1)])),
    ),
    "gate by an einsum": (
        GATE,
        lambda: row(lambda x, _: ops.einsum("bi,bi->bi", relu(x, max_value=1), x)),
    ),
    "gate of channels": (
        CHANNELS,
        lambda: image(lambda x, _: x * relu(ops.mean(x, (1, 2), keepdims=True))),
    ),
    "gate of positions": (CHANNELS, lambda: image(lambda x, _: x * relu(L.Conv2D(1, 1)(x)))),
    "gate of channels, reshaped": (
        CHANNELS,
        lambda: image(lambda x, _: x * L.Reshape((1, 1, 4))(relu(L.GlobalAveragePooling2D()(x)))),
    ),
    # Outputs of the model.
    "output": (OUTPUT, lambda: output(relu)),
    "output, capped": (OUTPUT, lambda: output(lambda x: relu(x, max_value=1))),
    "output, inline": (OUTPUT, lambda: output(lambda x: L.Dense(2, "relu", name="act")(x))),
    "output, pooled": (OUTPUT, lambda: output(lambda x: L.GlobalAveragePooling2D()(relu(x)))),
    "output, scaled": (OUTPUT, lambda: output(lambda x: 2.0 * relu(x) + 1.0)),
    "output, joined": (OUTPUT, lambda: output(lambda x: ops.concatenate([x, relu(x)], -1))),
    "output, negated": (OUTPUT, lambda: output(lambda x: -relu(x))),
    "output, hardtanh": (OUTPUT, lambda: output(lambda x: 2 * relu(x, max_value=1) - 1)),
    "output, of code": (
        OUTPUT,
        lambda: output(lambda x: Code(applied, keras.activations.relu)(x)),
    ),
    # What code adds to the loss.
    "loss": (LOSS, lambda: row(lambda x, _: Code(sparse_by_mean)(relu(x)))),
    "loss of squares": (SITE, lambda: row(lambda x, _: Code(sparse_by_squares)(relu(x)))),
    # Zeros, indices, and what is not known.
    "mask": (ZEROS, lambda: row(lambda x, _: ops.where(ops.not_equal(relu(x), 0), x, 1.0))),
    "condition": (ZEROS, lambda: row(lambda x, _: ops.where(relu(x), x, 1.0))),
    "larger than 0": (ZEROS, lambda: row(lambda x, _: x * ops.cast(relu(x) > 0, "float32"))),
    "any larger than 0": (
        ZEROS,
        lambda: row(lambda x, _: ops.where(ops.sum(relu(x), -1, True) <= 1e-6, x, 0.0)),
    ),
    "smaller than": (
        ZEROS,
        lambda: row(lambda x, _: ops.where(ops.greater(1e-6, relu(x)), x, 0.0)),
    ),
    "negative": (ZEROS, lambda: row(lambda x, _: ops.where(-relu(x) < 0, x, 0.0))),
    "at most 2": (
        ZEROS,
        lambda: row(lambda x, _: ops.where(2 - ops.mean(relu(x), -1, True) >= 2, x, 0.0)),
    ),
    "at the cap": (SITE, lambda: row(lambda x, _: ops.where(relu(x, max_value=1) >= 1, x, 0.0))),
    "mask of a layer": (ZEROS, lambda: row(lambda x, _: L.Softmax()(x, relu(x)))),
    "mask of attention": (
        ZEROS,
        lambda: row(
            lambda x, _: L.MultiHeadAttention(1, 2)(*pair(x, x), attention_mask=pair(relu(x))[0])
        ),
    ),
    "unsigned": (
        "takes no negative numbers",
        lambda: row(lambda x, _: ops.cast(ops.cast(relu(x), "uint8"), "float32")),
    ),
    "saturated": (
        SITE,
        lambda: row(lambda x, _: ops.cast(ops.saturate_cast(relu(x), "uint8"), "float32")),
    ),
    "Masking": (ZEROS, lambda: image(lambda x, _: L.LSTM(3)(L.Masking()(ops.mean(relu(x), 1))))),
    "indices": (
        INDICES,
        lambda: row(lambda x, _: L.Embedding(7, 3)(ops.cast(relu(x, max_value=6), "int32"))),
    ),
    "indices of a table": (
        INDICES,
        lambda: row(
            lambda x, _: ops.take(np.arange(7.0), ops.cast(ops.minimum(relu(x), 6), "int32"))
        ),
    ),
    "indices of a table, along an axis": (
        INDICES,
        lambda: row(
            lambda x, _: ops.take_along_axis(
                np.ones((1, 7), "float32"), ops.cast(relu(x, max_value=6), "int32"), 1
            )
        ),
    ),
    "unknown op": (UNKNOWN, lambda: row(lambda x, _: ops.arctan2(relu(x), x))),
    "clipped, of an unknown op": (
        SITE,
        lambda: row(lambda x, _: ops.sinc(ops.clip(relu(x) + x, -1, 1))),
    ),
    "angle": (
        SITE,
        lambda: row(lambda x, _: ops.arccos(ops.clip(ops.normalize(relu(x)), -1 + 1e-6, 1 - 1e-6))),
    ),
    "arccos": ("arccos()", lambda: row(lambda x, _: ops.arccos(relu(x, max_value=1)))),
    "dividend of a remainder": (UNKNOWN, lambda: row(lambda x, _: ops.mod(relu(x), 2))),
    "condition of keras.ops.cond": (
        OPAQUE,
        lambda: row(lambda x, _: Code(lambda layer, y: conditional(y, y, -y))(relu(x))),
    ),
    "branch of keras.ops.cond": (
        OPAQUE,
        lambda: row(lambda x, _: Code(lambda layer, y: conditional(y**2, ops.sqrt(y), y))(relu(x))),
    ),
    "condition of Python": (OPAQUE, lambda: row(lambda x, _: Conditional()(x))),
    "code that can't be run": (OPAQUE, lambda: row(lambda x, _: Opaque()(relu(x)))),
    # No sites.
    "integers": (
        NO_SITE,
        lambda: row(lambda x, _: L.Embedding(7, 3)(ops.clip(ops.cast(x, "int32"), 0, 6))),
    ),
    "integers, relu": (NO_SITE, lambda: row(lambda x, _: ops.relu(ops.cast(x, "int32")))),
    "a weight": (NO_SITE, lambda: row(lambda x, _: Code(of_weight, keras.activations.relu)(x))),
}


def pair(*tensors):
    """Return matrices of two rows and three columns, and of three rows and two columns."""
    shapes = ((2, 3), (3, 2))[: len(tensors)]
    return [ops.reshape(x, (-1, *shape)) for x, shape in zip(tensors, shapes, strict=True)]


def conditional(condition, chosen, other):
    return ops.cond(ops.mean(condition) >= 0, lambda: chosen, lambda: other)


def sparse_by_mean(layer, x):
    layer.add_loss(ops.mean(x))
    return x


def sparse_by_squares(layer, x):
    layer.add_loss(ops.mean(x**2))
    return x


def scaled_by_weights(layer, x):
    return x * layer.scale


def weights_first(layer, x):
    return layer.scale * x + layer.scale


def hard_swish(layer, x):
    return x * layer.act(x + 3.0) / 6.0


def applied(layer, x):
    return layer.act(x)


def of_weight(layer, x):
    return x * layer.act(layer.scale)


def nested(build):
    inputs = keras.Input((6,))
    return keras.Model(inputs, build(inputs))


code_without_build = pytest.mark.filterwarnings("ignore:.*does not have a `build:UserWarning")


@code_without_build
@pytest.mark.parametrize("name", CASES)
def test_what_relies_on_the_range_of_a_rectifier(name):
    expected, build = CASES[name]
    first, *sites = kp.find_sites(build())
    assert (first.path, first.on_request) == ("first", False)
    if expected == NO_SITE:
        assert sites == []
        return
    site = sites[0]
    assert (site.convertible, site.on_request) == (True, expected != SITE), site.reason
    assert expected in site.reason if site.on_request else site.reason == ""


@code_without_build
@pytest.mark.parametrize(
    "name", [name for name, (expected, _) in CASES.items() if expected != SITE]
)
def test_a_conversion_keeps_what_the_model_relies_on(name):
    model = models.live_in(CASES[name][1]())
    x = np.abs(models.samples(model))
    converted = kp.convert(model, alpha=0.25, parameterization="identity", rescale="none")
    assert [layer.path for layer in kp.diagnostics.layer_slopes(converted)] == ["first_prelu"]
    before, after = (keras.ops.convert_to_numpy(network(x)) for network in (model, converted))
    assert np.isfinite(before).all() <= np.isfinite(after).all()
    if CASES[name][0] == OUTPUT:
        assert (before >= 0).all() <= (after >= 0).all()
        assert (before <= 1).all() <= (after <= 1).all()
