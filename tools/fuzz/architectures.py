"""Random networks of Keras layers, operations, masks, structures, policies and spellings of
rectifiers. A seed recreates a network."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.dtype_policies import default_dtype_policy
from tools.common.lifelike import live_in
from tools.fuzz.custom_layers import (
    CallsFunctions,
    Dropout,
    HoldsFunction,
    HoldsLayers,
    RectifiedCell,
)

__all__ = ["Architecture", "build"]

SAMPLES = 640
_TOKENS = 20
_MOST_ELEMENTS = 600


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A random network and its inputs.

    Attributes:
        model: Keras model.
        inputs: Arrays for `SAMPLES` samples, structured as the model takes them.
        blocks: Names of what the network consists of, in order.
    """

    model: keras.Model
    inputs: Any
    blocks: tuple[str, ...]


Tensor = Any
Transform = Callable[[Tensor, random.Random], Tensor]


def _rectifiers() -> dict[str, Transform]:
    layers, ops, activations = keras.layers, keras.ops, keras.activations
    partial = functools.partial
    return {
        "ReLU": lambda x, r: layers.ReLU()(x),
        "ReLU6": lambda x, r: layers.ReLU(max_value=6.0)(x),
        "ReLU capped": lambda x, r: layers.ReLU(max_value=r.choice([0.5, 1.0, 2.0]))(x),
        "ReLU leaky": lambda x, r: layers.ReLU(negative_slope=0.1)(x),
        "ReLU with threshold": lambda x, r: layers.ReLU(threshold=0.1)(x),
        "LeakyReLU": lambda x, r: layers.LeakyReLU(0.2)(x),
        "PReLU": lambda x, r: layers.PReLU()(x),
        "Activation": lambda x, r: layers.Activation("relu")(x),
        "Activation of a function": lambda x, r: layers.Activation(activations.relu6)(x),
        "Activation of a partial": lambda x, r: layers.Activation(
            partial(activations.relu, negative_slope=0.3)
        )(x),
        "ops.relu": lambda x, r: ops.relu(x),
        "ops.relu6": lambda x, r: ops.relu6(x),
        "ops.leaky_relu": lambda x, r: ops.leaky_relu(x, 0.05),
        "ops.maximum": lambda x, r: ops.maximum(x, 0),
        "ops.maximum, swapped": lambda x, r: ops.maximum(np.float32(0), x),
        "ops.clip": lambda x, r: ops.clip(x, 0, 4),
        "activations.relu": lambda x, r: activations.relu(x, max_value=3.0),
        "HoldsFunction": lambda x, r: HoldsFunction()(x),
        "CallsFunctions": lambda x, r: CallsFunctions(r.choice([1, 2]))(x),
    }


def _anywhere() -> dict[str, Transform]:
    """Transforms of tensors of any rank."""
    layers, ops = keras.layers, keras.ops
    return {
        "BatchNormalization": lambda x, r: layers.BatchNormalization()(x),
        "BatchNormalization, no scale": lambda x, r: layers.BatchNormalization(scale=False)(x),
        "LayerNormalization": lambda x, r: layers.LayerNormalization()(x),
        "RMSNormalization": lambda x, r: layers.RMSNormalization()(x),
        "UnitNormalization": lambda x, r: layers.UnitNormalization()(x),
        "Dropout": lambda x, r: layers.Dropout(0.2)(x),
        "GaussianNoise": lambda x, r: layers.GaussianNoise(0.1)(x),
        "own Dropout": lambda x, r: Dropout()(x),
        "ActivityRegularization": lambda x, r: layers.ActivityRegularization(l2=1e-4)(x),
        "Identity": lambda x, r: layers.Identity()(x),
        "scaled": lambda x, r: r.choice([0.5, 2.0, -1.0]) * x,
        "shifted": lambda x, r: x + r.choice([0.5, -0.3]),
        "shifted by an array": lambda x, r: (
            x + np.linspace(-0.3, 0.3, x.shape[-1]).astype("float32")
        ),
        "tanh": lambda x, r: ops.tanh(x),
        "softplus": lambda x, r: layers.Activation("softplus")(x),
        "gelu": lambda x, r: layers.Activation("gelu")(x),
        "abs": lambda x, r: ops.abs(x),
        "square root of a rectifier": lambda x, r: ops.sqrt(layers.ReLU()(x)),
        "log of a rectifier": lambda x, r: ops.log1p(layers.ReLU()(x)),
        "share of a sum": lambda x, r: _share_of_sum(layers.ReLU()(x)),
        "gate": lambda x, r: x * layers.ReLU(max_value=1.0)(0.2 * x + 0.5),
        "hard swish": lambda x, r: x * ops.relu6(x + 3.0) / 6.0,
        "softmax": lambda x, r: _softmax(x),
        "added to itself": lambda x, r: layers.Add()([x, layers.Activation("relu")(x)]),
        "multiplied": lambda x, r: layers.Multiply()([x, layers.Activation("sigmoid")(x)]),
        "concatenated": lambda x, r: layers.Concatenate()([x, layers.ReLU()(x)]),
        "HoldsLayers": lambda x, r: HoldsLayers(r.choice([3, 6]))(x),
        "training pinned": lambda x, r: layers.Dropout(0.3)(x, training=False),
    }


def _softmax(x: Tensor) -> Tensor:
    """Return a softmax; Keras's layer takes no mask that has fewer axes than its input."""
    masked = getattr(x, "_keras_mask", None) is not None
    return (keras.layers.Activation("softmax") if masked else keras.layers.Softmax())(x)


def _share_of_sum(x: Tensor) -> Tensor:
    return x / (keras.ops.sum(x, axis=-1, keepdims=True) + 1.0)


def _dense(x: Tensor, r: random.Random) -> Tensor:
    options: dict[str, Any] = {"activation": r.choice([None, "relu", "relu", "relu6", "elu"])}
    if r.random() < 0.15:
        options["kernel_constraint"] = r.choice(["non_neg", "max_norm", "unit_norm"])
    if r.random() < 0.15:
        options["use_bias"] = False
    if r.random() < 0.1:
        options["kernel_regularizer"] = "l2"
    return keras.layers.Dense(r.choice([4, 8, 12]), **options)(x)


def _by_rank() -> dict[int, dict[str, Transform]]:
    """Transforms of tensors of one rank, batch included."""
    layers, ops = keras.layers, keras.ops

    def convolution(x: Tensor, r: random.Random) -> Tensor:
        kind = layers.Conv2D if len(x.shape) == 4 else layers.Conv1D
        groups = 2 if x.shape[-1] % 2 == 0 and r.random() < 0.2 else 1
        return kind(
            r.choice([4, 8]),
            r.choice([1, 3]),
            padding="same",
            strides=r.choice([1, 1, 2]),
            groups=groups,
            activation=r.choice([None, "relu"]),
        )(x)

    def residual(x: Tensor, r: random.Random) -> Tensor:
        kind = layers.Conv2D if len(x.shape) == 4 else layers.Conv1D
        h = kind(x.shape[-1], 3, padding="same", activation="relu")(x)
        return layers.ReLU()(x + layers.BatchNormalization()(h))

    def nested(x: Tensor, r: random.Random) -> Tensor:
        i = keras.Input(x.shape[1:])
        h = layers.Dense(6, activation="relu")(i)
        return keras.Model(i, layers.ReLU()(layers.Dense(5)(h)))(x)

    def shared(x: Tensor, r: random.Random) -> Tensor:
        layer = layers.Dense(x.shape[-1], activation="relu")
        return layer(layer(x) - 0.1)

    def sequential(x: Tensor, r: random.Random) -> Tensor:
        return keras.Sequential([layers.Dense(7), layers.ReLU(), layers.Dense(4, "relu")])(x)

    def attention(x: Tensor, r: random.Random) -> Tensor:
        return layers.MultiHeadAttention(2, 3)(x, x) + x

    return {
        2: {
            "Dense": _dense,
            "Dense, nested": nested,
            "Dense, shared": shared,
            "Sequential": sequential,
            "RepeatVector": lambda x, r: layers.RepeatVector(3)(x),
            "Reshape": lambda x, r: layers.Reshape((-1, 1))(x),
            "split": lambda x, r: layers.Concatenate()(
                list(ops.split(x, [min(2, x.shape[-1])], axis=-1))[::-1]
            ),
        },
        3: {
            "Conv1D": convolution,
            "Conv1D, residual": residual,
            "SeparableConv1D": lambda x, r: layers.SeparableConv1D(5, 3, padding="same")(x),
            "Conv1DTranspose": lambda x, r: layers.Conv1DTranspose(4, 3, padding="same")(x),
            "Dense over steps": _dense,
            "EinsumDense": lambda x, r: layers.EinsumDense("abc,cd->abd", (None, 5))(x),
            "TimeDistributed": lambda x, r: layers.TimeDistributed(layers.Dense(5, "relu"))(x),
            "LSTM": lambda x, r: layers.LSTM(4, return_sequences=True)(x),
            "GRU, bidirectional": lambda x, r: layers.Bidirectional(
                layers.GRU(3, return_sequences=True)
            )(x),
            "SimpleRNN": lambda x, r: layers.SimpleRNN(4, activation="relu")(x),
            "GRU with ReLU": lambda x, r: layers.GRU(
                4, activation="relu", reset_after=r.random() < 0.5, return_sequences=True
            )(x),
            "LSTM with ReLU, bidirectional": lambda x, r: layers.Bidirectional(
                layers.LSTM(3, activation="relu")
            )(x),
            "RNN of an own cell": lambda x, r: layers.RNN(RectifiedCell(4), return_sequences=True)(
                x
            ),
            "attention": attention,
            "MaxPooling1D": lambda x, r: layers.MaxPooling1D(2, padding="same")(x),
            "Masking": lambda x, r: layers.Masking()(x),
            "GlobalAveragePooling1D": lambda x, r: layers.GlobalAveragePooling1D()(x),
            "GlobalMaxPooling1D": lambda x, r: layers.GlobalMaxPooling1D()(x),
            "Flatten": lambda x, r: layers.Flatten()(x),
            "mean": lambda x, r: ops.mean(x, axis=1),
            "transpose": lambda x, r: ops.transpose(x, (0, 2, 1)),
            "Permute": lambda x, r: layers.Permute((2, 1))(x),
            "slice": lambda x, r: x[:, :1],
        },
        4: {
            "Conv2D": convolution,
            "Conv2D, residual": residual,
            "DepthwiseConv2D": lambda x, r: layers.DepthwiseConv2D(3, padding="same")(x),
            "SeparableConv2D": lambda x, r: layers.SeparableConv2D(6, 3, padding="same")(x),
            "Conv2DTranspose": lambda x, r: layers.Conv2DTranspose(4, 3, padding="same")(x),
            "Dense over pixels": _dense,
            "MaxPooling2D": lambda x, r: layers.MaxPooling2D(2, padding="same")(x),
            "AveragePooling2D": lambda x, r: layers.AveragePooling2D(2, padding="same")(x),
            "ZeroPadding2D": lambda x, r: layers.ZeroPadding2D(1)(x),
            "UpSampling2D": lambda x, r: layers.UpSampling2D(2)(x),
            "GroupNormalization": lambda x, r: layers.GroupNormalization(1)(x),
            "SpatialDropout2D": lambda x, r: layers.SpatialDropout2D(0.2)(x),
            "squeeze and excite": _squeeze_and_excite,
            "GlobalAveragePooling2D": lambda x, r: layers.GlobalAveragePooling2D()(x),
            "Flatten": lambda x, r: layers.Flatten()(x),
            "to sequence": lambda x, r: layers.Reshape((-1, x.shape[-1]))(x),
        },
    }


def _squeeze_and_excite(x: Tensor, r: random.Random) -> Tensor:
    layers = keras.layers
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(3, 1, activation="relu")(s)
    return x * layers.Conv2D(x.shape[-1], 1, activation="hard_sigmoid")(s)


def build(seed: int, *, in_float32: bool = False) -> Architecture:
    """Return the network of a seed.

    Args:
        seed: Integer.
        in_float32: Whether it computes in float32, also if the seed gives it another dtype policy.
    """
    r = random.Random(seed)
    keras.utils.set_random_seed(seed)
    keras.utils.clear_session(free_memory=False)
    policy = r.choice(["float32"] * 8 + ["mixed_bfloat16", "mixed_float16"])
    policy = "float32" if in_float32 else policy
    with default_dtype_policy(policy):
        inputs, arrays, tensors, blocks = _inputs(r)
        for _ in range(r.randint(2, 7)):
            index = r.randrange(len(tensors))
            tensors[index] = _extend(tensors[index], r, blocks)
        model = _closed(r, inputs, tensors, blocks)
    live_in(model, seed)
    _project(model)
    if policy != "float32":
        blocks.append(policy)
    return Architecture(model=model, inputs=arrays, blocks=tuple(blocks))


def _inputs(r: random.Random) -> tuple[Any, Any, list[Tensor], list[str]]:
    """Return the inputs of a network as it takes them, arrays for them, and the first tensors."""
    rng = np.random.default_rng(r.randrange(2**32))
    kinds = [
        r.choice(["vector", "sequence", "image", "tokens"]) for _ in range(r.choice([1, 1, 1, 2]))
    ]
    inputs, arrays, tensors = [], [], []
    for number, kind in enumerate(kinds):
        tensor, array = _input(kind, f"in_{'ba'[number]}", rng)
        inputs.append(tensor)
        arrays.append(array)
        tensors.append(_embedded(tensor, r) if kind == "tokens" else tensor)
    blocks = [f"input: {kind}" for kind in kinds]
    if len(inputs) == 1:
        return inputs[0], arrays[0], tensors, blocks
    if r.random() < 0.5:
        names = [tensor.name for tensor in inputs]
        blocks.append("dict of inputs")
        return (
            dict(zip(names, inputs, strict=True)),
            dict(zip(names, arrays, strict=True)),
            tensors,
            blocks,
        )
    return inputs, arrays, tensors, blocks


def _input(kind: str, name: str, rng: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    if kind == "tokens":
        tokens = rng.integers(1, _TOKENS, (SAMPLES, 6))
        lengths = rng.integers(2, 7, (SAMPLES, 1))
        tokens = np.where(np.arange(6) < lengths, tokens, 0).astype("int32")
        return keras.Input((6,), dtype="int32", name=name), tokens
    shape = {"vector": (8,), "sequence": (6, 4), "image": (6, 6, 3)}[kind]
    array = rng.normal(size=(SAMPLES, *shape)).astype("float32")
    return keras.Input(shape, name=name), array


def _embedded(tokens: Tensor, r: random.Random) -> Tensor:
    return keras.layers.Embedding(_TOKENS, 6, mask_zero=r.random() < 0.6)(tokens)


def _extend(x: Tensor, r: random.Random, blocks: list[str]) -> Tensor:
    """Return a tensor with one more block applied; the name of the block is appended."""
    of_rank = _by_rank()[len(x.shape)]
    table = r.choice([of_rank, of_rank, _rectifiers(), _anywhere()])
    name = r.choice(list(table))
    result = table[name](x, r)
    if None in result.shape[1:] or int(np.prod(result.shape[1:])) > _MOST_ELEMENTS:
        return x
    blocks.append(name)
    return result


def _closed(r: random.Random, inputs: Any, tensors: list[Tensor], blocks: list[str]) -> keras.Model:
    """Return the model, with one output or two."""
    layers = keras.layers
    flat = [x if len(x.shape) == 2 else layers.Flatten()(x) for x in tensors]
    joined = flat[0] if len(flat) == 1 else layers.Concatenate()(flat)
    if r.random() < 0.8:
        blocks.append("hidden Dense")
        joined = layers.Dense(8, activation="relu")(joined)
    head = layers.Dense(3, name="head", dtype="float32")(joined)
    kind = r.random()
    if kind < 0.7:
        return keras.Model(inputs, head)
    other = layers.Dense(2, activation=r.choice([None, "relu", "softmax"]), name="side")(joined)
    if kind < 0.85:
        blocks.append("dict of outputs")
        return keras.Model(inputs, {"head": head, "side": other})
    blocks.append("two outputs")
    return keras.Model(inputs, [head, other])


def _project(model: keras.Model) -> None:
    """Make weights satisfy their constraints, as those of a trained network do."""
    for variable in model.trainable_variables:
        if variable.constraint is not None:
            variable.assign(variable.constraint(variable.value))
