"""Networks whose Python code calls rectifiers as functions, in the shapes that public repositories
give to subclassed models. All take digits and return ten logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

Function = Callable[[Any], Any]


def spellings() -> dict[str, Function]:
    """Return functions that compute a ReLU, by name: Keras's, and those of the present backend."""
    functions: dict[str, Function] = {
        "keras.ops.relu": ops.relu,
        "keras.activations.relu": keras.activations.relu,
    }
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        functions |= {"tf.nn.relu": tf.nn.relu, "tf.maximum": lambda x: tf.maximum(x, 0.0)}
    elif backend == "jax":
        import jax

        functions |= {
            "jax.nn.relu": jax.nn.relu,
            "jax.numpy.maximum": lambda x: jax.numpy.maximum(x, 0),
        }
    elif backend == "torch":
        import torch

        functions |= {"torch.relu": torch.relu, "Tensor.clamp": lambda x: torch.clamp(x, min=0)}
    return functions


def networks(relu: Function) -> dict[str, tuple[type[keras.Model], int]]:
    """Return the classes of the networks, and how often each calls a rectifier.

    Args:
        relu: Callable. What they call.
    """
    layers = keras.layers

    class Block(layers.Layer):
        def __init__(self, width: int = 8, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.width = width
            self.first = layers.Conv2D(width, 3, padding="same")
            self.second = layers.Conv2D(width, 3, padding="same")
            self.norms = [layers.BatchNormalization(), layers.BatchNormalization()]

        def call(self, x: Any, training: bool = False) -> Any:
            y = relu(self.norms[0](self.first(x), training=training))
            y = self.norms[1](self.second(y), training=training)
            return relu(x + y)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "width": self.width}

    class Stage(layers.Layer):
        def __init__(self, width: int = 16, strides: int = 1, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.width, self.strides = width, strides
            self.first = layers.Conv2D(width, 3, strides, padding="same")
            self.second = layers.Conv2D(width, 3, padding="same")
            self.shortcut = layers.Conv2D(width, 1, strides) if strides > 1 else layers.Identity()
            self.norms = [layers.BatchNormalization() for _ in range(2)]

        def call(self, x: Any, training: bool = False) -> Any:
            y = relu(self.norms[0](self.first(x), training=training))
            y = self.norms[1](self.second(y), training=training)
            return relu(self.shortcut(x) + y)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "width": self.width, "strides": self.strides}

    class Network(keras.Model):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.head = layers.Dense(10)
            self.pool = layers.GlobalAveragePooling2D()

        def get_config(self) -> dict[str, Any]:
            return {}

    class Residual(Network):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.stem = layers.Conv2D(8, 3, padding="same")
            self.blocks = [Block(), Block()]

        def call(self, x: Any, training: bool = False) -> Any:
            x = relu(self.stem(x))
            for block in self.blocks:
                x = block(x, training=training)
            return self.head(self.pool(x))

    class CifarResNet(Network):
        """The shortest of the networks that He et al. 2016 (4.2) trained on CIFAR-10."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.stem = layers.Conv2D(16, 3, padding="same")
            self.norm = layers.BatchNormalization()
            self.stages = [Stage(16), Stage(32, 2), Stage(64, 2)]

        def call(self, x: Any, training: bool = False) -> Any:
            x = relu(self.norm(self.stem(x), training=training))
            for stage in self.stages:
                x = stage(x, training=training)
            return self.head(self.pool(x))

    class Plain(Network):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.convolutions = [layers.Conv2D(8, 3) for _ in range(3)]

        def call(self, x: Any) -> Any:
            for convolution in self.convolutions:
                x = relu(convolution(x))
            return self.head(self.pool(x))

    class Perceptron(Network):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.flat = layers.Flatten()
            self.hidden = [layers.Dense(32), layers.Dense(32)]

        def features(self, x: Any) -> Any:
            return relu(self.hidden[1](relu(self.hidden[0](self.flat(x)))))

        def call(self, x: Any) -> Any:
            return self.head(self.features(x))

    class UNet(Network):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.down = layers.Conv2D(8, 3, strides=2, padding="same")
            self.across = layers.Conv2D(8, 3, padding="same")
            self.up = layers.Conv2DTranspose(8, 3, strides=2, padding="same")
            self.skip = layers.Conv2D(8, 3, padding="same")

        def call(self, x: Any) -> Any:
            skipped = relu(self.skip(x))
            y = relu(self.across(relu(self.down(x))))
            y = relu(self.up(y))
            return self.head(self.pool(ops.concatenate([skipped, y], axis=-1)))

    class AttentionGate(Network):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.features = layers.Conv2D(8, 3, padding="same")
            self.query, self.key = layers.Conv2D(8, 1), layers.Conv2D(8, 1)
            self.score = layers.Conv2D(1, 1)

        def call(self, x: Any) -> Any:
            y = relu(self.features(x))
            weights = ops.sigmoid(self.score(relu(self.query(y) + self.key(x))))
            return self.head(self.pool(weights * y))

    class Autoencoder(Network):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.flat = layers.Flatten()
            self.into, self.code = layers.Dense(32), layers.Dense(8)
            self.out = layers.Dense(32)

        def encode(self, x: Any) -> Any:
            return self.code(relu(self.into(self.flat(x))))

        def decode(self, code: Any) -> Any:
            return self.head(relu(self.out(code)))

        def call(self, x: Any) -> Any:
            return self.decode(self.encode(x))

    class ActorCritic(Network):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.flat = layers.Flatten()
            self.common, self.actor, self.critic = (layers.Dense(24) for _ in range(3))

        def call(self, x: Any) -> Any:
            y = relu(self.common(self.flat(x)))
            return self.head(ops.concatenate([relu(self.actor(y)), relu(self.critic(y))], axis=-1))

    class Pose(Network):
        """Depthwise separable blocks with residual connections, as in BlazePose."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.stem = layers.Conv2D(8, 3, padding="same")
            self.depthwise = [layers.DepthwiseConv2D(5, padding="same") for _ in range(2)]
            self.pointwise = [layers.Conv2D(8, 1) for _ in range(2)]

        def call(self, x: Any) -> Any:
            x = relu(self.stem(x))
            for depthwise, pointwise in zip(self.depthwise, self.pointwise, strict=True):
                x = relu(x + pointwise(depthwise(x)))
            return self.head(self.pool(x))

    class Inception(Network):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.branches = [layers.Conv2D(4, size, padding="same") for size in (1, 3, 5)]
            self.mixed = layers.Conv2D(8, 3)

        def call(self, x: Any) -> Any:
            x = ops.concatenate([relu(branch(x)) for branch in self.branches], axis=-1)
            return self.head(self.pool(relu(self.mixed(x))))

    class Dense(Network):
        """Each layer sees the outputs of all before it, as in DenseNet."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.norms = [layers.BatchNormalization() for _ in range(3)]
            self.convolutions = [layers.Conv2D(6, 3, padding="same") for _ in range(3)]

        def call(self, x: Any, training: bool = False) -> Any:
            for norm, convolution in zip(self.norms, self.convolutions, strict=True):
                y = convolution(relu(norm(x, training=training)))
                x = ops.concatenate([x, y], axis=-1)
            return self.head(self.pool(x))

    class Transformer(Network):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.embed = layers.Dense(16)
            self.attention = layers.MultiHeadAttention(2, 8)
            self.norms = [layers.LayerNormalization(), layers.LayerNormalization()]
            self.wide, self.narrow = layers.Dense(32), layers.Dense(16)
            self.average = layers.GlobalAveragePooling1D()

        def feed_forward(self, x: Any) -> Any:
            return self.narrow(relu(self.wide(x)))

        def call(self, x: Any) -> Any:
            x = self.embed(ops.squeeze(x, axis=-1))
            x = self.norms[0](x + self.attention(x, x))
            x = self.norms[1](x + self.feed_forward(x))
            return self.head(self.average(x))

    class Temporal(Network):
        """Dilated convolutions over rows, as in temporal convolutional networks."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.convolutions = [
                layers.Conv1D(16, 2, dilation_rate=rate, padding="causal") for rate in (1, 2, 4)
            ]
            self.average = layers.GlobalAveragePooling1D()

        def call(self, x: Any) -> Any:
            x = ops.squeeze(x, axis=-1)
            for convolution in self.convolutions:
                x = relu(convolution(x))
            return self.head(self.average(x))

    calls = {
        Residual: 5,
        CifarResNet: 7,
        Plain: 3,
        Perceptron: 2,
        UNet: 4,
        AttentionGate: 2,
        Autoencoder: 2,
        ActorCritic: 3,
        Pose: 3,
        Inception: 4,
        Dense: 3,
        Transformer: 1,
        Temporal: 3,
    }
    for cls in (Block, Stage, *calls):
        keras.saving.register_keras_serializable("code_networks")(cls)
    return {cls.__name__: (cls, count) for cls, count in calls.items()}
