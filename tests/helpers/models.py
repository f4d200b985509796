"""Small networks of every kind that conversion meets, with random weights and BatchNormalization
statistics as training leaves them."""

import keras
import numpy as np

import keras_prelu as kp
from tools.common.lifelike import inputs_of, live_in

L = keras.layers

__all__ = ["ALL", "live_in", "outputs", "samples", "with_slopes"]


def with_slopes(converted, seed=0):
    """Give each channel of a converted model another slope, as training leaves them. Return the
    model."""
    rng = np.random.default_rng(seed)
    for layer in kp.diagnostics.layer_slopes(converted):
        live = converted
        for name in layer.path.split("/"):
            live = live.get_layer(name)
        live.beta.assign(live.parameterization.beta(rng.uniform(0.05, 0.5, live.beta.shape)))
    return converted


def samples(model, count=64, seed=1):
    """Return random inputs in the structure that a model takes: normal floats, integers from 0 to
    9."""
    return inputs_of(model, count, seed=seed)


def outputs(model, x):
    """Return all outputs of a model as one array (samples, values)."""
    parts = map(keras.ops.convert_to_numpy, keras.tree.flatten(model(x)))
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def mlp():
    layers = [
        keras.Input((6,)),
        L.Dense(8, activation="relu", name="first"),
        L.Dense(8, activation="relu"),
        L.Dense(3),
    ]
    return keras.Sequential(layers, name="mlp")


def convolutional():
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            L.Conv2D(8, 3, padding="same", use_bias=False),
            L.BatchNormalization(),
            L.ReLU(),
            L.Conv2D(8, 3, strides=2, activation="relu"),
            L.Flatten(),
            L.Dense(5),
        ],
        name="convolutional",
    )


def residual():
    inputs = keras.Input((12, 12, 3))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(8, 3, padding="same")(inputs)))
    for _ in range(2):
        y = L.Conv2D(8, 3, padding="same", use_bias=False)(x)
        y = L.Activation("relu")(L.BatchNormalization()(y))
        y = L.Conv2D(8, 3, padding="same")(y)
        x = L.ReLU()(L.Add()([x, y]))
    return keras.Model(inputs, L.Dense(4)(L.GlobalAveragePooling2D()(x)), name="residual")


def pre_activation():
    inputs = keras.Input((12, 12, 3))
    x = L.Conv2D(8, 3, padding="same")(inputs)
    for _ in range(2):
        y = L.Conv2D(8, 3, padding="same")(L.ReLU()(L.BatchNormalization()(x)))
        x = x + y
    return keras.Model(
        inputs, L.Dense(4)(L.GlobalAveragePooling2D()(L.ReLU()(x))), name="pre_activation"
    )


def inverted_residuals(seed=0):
    """A stem and two blocks with a depthwise layer between linear ends, the last with a shortcut.

    Its weights are those of the seed on every backend, and its normalizations have the statistics
    of normal inputs."""

    def normalized(x, name, activated=True):
        x = L.BatchNormalization(momentum=0.0, name=f"{name}_bn")(x)
        return L.ReLU(6.0, name=f"{name}_relu")(x) if activated else x

    inputs = keras.Input((8, 8, 3))
    x = normalized(L.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(inputs), "stem")
    for number in range(2):
        y, name = x, f"expand_{number}"
        if number:
            y = normalized(L.Conv2D(16, 1, use_bias=False, name=name)(y), name)
        name = f"depthwise_{number}"
        y = L.DepthwiseConv2D(3, padding="same", use_bias=False, name=name)(y)
        name, y = f"project_{number}", normalized(y, name)
        y = normalized(L.Conv2D(4, 1, use_bias=False, name=name)(y), name, activated=False)
        x = L.Add(name=f"add_{number}")([x, y]) if number else y
    x = L.Dense(3, name="logits")(L.GlobalAveragePooling2D()(x))
    model = live_in(keras.Model(inputs, x, name="inverted_residuals"), seed)
    model(keras.ops.convert_to_tensor(samples(model, 200)), training=True)
    return model


def shared_relu():
    """One ReLU object on tensors of different width; one Dense with an inline ReLU called twice; a
    producer of two consumers."""
    inputs = keras.Input((6,))
    relu = L.ReLU(name="act")
    a = relu(L.Dense(8)(inputs))
    b = relu(L.Dense(5)(a))
    twice = L.Dense(6, activation="relu", name="twice")
    c = twice(twice(inputs))
    return keras.Model(inputs, L.Dense(2)(L.Concatenate()([a, b, c])), name="shared_relu")


def siamese():
    tower = keras.Sequential(
        [keras.Input((6,)), L.Dense(8, activation="relu"), L.Dense(4)], name="tower"
    )
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    return keras.Model(
        {"left": left, "right": right},
        L.Dense(1)(L.Subtract()([tower(left), tower(right)])),
        name="siamese",
    )


def nested():
    inner_inputs = keras.Input((12, 12, 3))
    x = L.ReLU(name="relu")(L.Conv2D(8, 3, name="conv")(inner_inputs))
    innermost = keras.Sequential(
        [keras.Input((10, 10, 8)), L.Conv2D(4, 3, activation="relu", name="deep")], name="innermost"
    )
    backbone = keras.Model(inner_inputs, innermost(x), name="backbone")
    return keras.Sequential(
        [keras.Input((12, 12, 3)), backbone, L.GlobalAveragePooling2D(), L.Dense(3)], name="nested"
    )


def two_outputs():
    first, second = keras.Input((6,), name="a"), keras.Input((4,), name="b")
    x = L.Dense(8, activation="relu")(L.Concatenate()([first, second]))
    return keras.Model(
        [first, second],
        {"score": L.Dense(1, name="score")(x), "label": L.Dense(3, name="label")(x)},
        name="two_outputs",
    )


def autoencoder():
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            L.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            L.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
            L.BatchNormalization(),
            L.ReLU(),
            L.SeparableConv2D(8, 3, padding="same", activation="relu"),
            L.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu"),
            L.Conv2D(4, 3, padding="same", groups=2, activation="relu"),
            L.Conv2DTranspose(3, 4, padding="valid"),
        ],
        name="autoencoder",
    )


def capped():
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            L.Conv2D(8, 3),
            L.ReLU(max_value=6),
            L.Conv2D(8, 3, activation="relu6"),
            L.GlobalMaxPooling2D(),
            L.Dense(3),
        ],
        name="capped",
    )


def leaky():
    inputs = keras.Input((12, 12, 3))
    x = L.LeakyReLU(negative_slope=0.2, name="leaky")(L.Conv2D(8, 3)(inputs))
    x = L.ReLU(negative_slope=0.1, name="sloped")(L.Conv2D(8, 3)(x))
    x = L.PReLU(
        alpha_initializer=keras.initializers.RandomUniform(-0.1, 0.4, seed=0),
        shared_axes=[1, 2],
        name="stock",
    )(x)
    x = L.Conv2D(8, 3, activation="relu", name="plain")(x)
    return keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x)), name="leaky")


def sequence():
    inputs = keras.Input((None,), dtype="int32")
    x = L.Embedding(10, 6, mask_zero=True)(inputs)
    x = L.Dense(8, activation="relu")(x)
    x = L.LSTM(5)(x)
    return keras.Model(inputs, L.Dense(2)(x), name="sequence")


def operations():
    """Rectifiers that are ops of the graph, not layers."""
    inputs = keras.Input((12, 12, 3))
    x = keras.ops.relu(L.Conv2D(8, 3)(inputs))
    x = keras.ops.relu6(L.Conv2D(8, 3)(x) * 2.0)
    x = keras.activations.relu(L.Conv2D(8, 3)(x), max_value=4.0)
    return keras.Model(inputs, L.Dense(2)(keras.ops.mean(x, axis=(1, 2))), name="operations")


def volumes():
    inputs = keras.Input((8, 8, 8, 2))
    x = L.Conv3D(4, 3, activation="relu")(inputs)
    x = L.Reshape((36, 24))(x)
    x = L.Conv1D(6, 5, padding="causal", dilation_rate=2, activation="relu")(x)
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(x)), name="volumes")


ALL = [
    mlp,
    convolutional,
    residual,
    pre_activation,
    shared_relu,
    siamese,
    nested,
    two_outputs,
    autoencoder,
    capped,
    leaky,
    sequence,
    operations,
    volumes,
]
