"""Layers and models with Python code of their own, as users write them."""

import keras

L = keras.layers
registered = keras.saving.register_keras_serializable("tests")


class _Sized(L.Layer):
    """Base class of layers with one size in their configuration."""

    def __init__(self, size=4, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def get_config(self):
        return {**super().get_config(), "size": self.size}


@registered
class Block(_Sized):
    """Holds rectifiers in every way: inline, an object on two numbers of channels, a function, in a
    list, in a dict, in an underscore attribute."""

    def __init__(self, size=4, **kwargs):
        super().__init__(size, **kwargs)
        self.first = L.Conv2D(size, 3, padding="same", activation="relu")
        self.second = L.Conv2D(2 * size, 3, padding="same")
        self.relu = L.ReLU()
        self.act = keras.activations.relu
        self.stack = [L.BatchNormalization(), L.ReLU(6.0)]
        self.by_name = {"in": L.Dense(size), "out": L.Activation("relu")}
        self._hidden = L.ReLU(negative_slope=0.1)

    def call(self, inputs, training=None):
        x = self.relu(self.second(self.relu(self.first(inputs))))
        for layer in self.stack:
            x = layer(x, training=training) if isinstance(layer, L.BatchNormalization) else layer(x)
        x = self.by_name["out"](self.by_name["in"](self.act(x)))
        return self._hidden(x - 0.1)


BLOCK_PATHS = ["first", "relu", "relu#2", "stack[1]", "act", "by_name[out]", "_hidden"]


@registered
class BuildsLate(_Sized):
    """Creates its layers in `build`."""

    def build(self, input_shape):
        self.dense = L.Dense(self.size, activation="relu")
        self.dense.build(input_shape)
        self.late = L.ReLU()

    def call(self, inputs):
        return self.late(self.dense(inputs) - 0.1)


@registered
class Outer(_Sized):
    """Holds custom layers and a Sequential, and builds them when it is called: it has no
    `build`."""

    def __init__(self, size=4, **kwargs):
        super().__init__(size, **kwargs)
        self.blocks = [BuildsLate(size) for _ in range(2)]
        self.mlp = keras.Sequential([L.Dense(size, activation="relu"), L.Dense(size), L.ReLU()])

    def call(self, inputs):
        for block in self.blocks:
            inputs = block(inputs)
        return self.mlp(inputs)


@registered
class HardSigmoid(L.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.relu6 = L.ReLU(6.0)

    def call(self, inputs):
        return self.relu6(inputs + 3.0) * (1.0 / 6.0)


@registered
class SqueezeExcite(_Sized):
    """Has an ordinary ReLU inside, and one that is a gate."""

    def build(self, input_shape):
        self.pool = L.GlobalAveragePooling2D(keepdims=True)
        self.squeeze = L.Conv2D(self.size, 1, activation="relu")
        self.excite = L.Conv2D(input_shape[-1], 1)
        self.gate = L.ReLU()
        self.squeeze.build((*input_shape[:-1], input_shape[-1]))
        self.excite.build((*input_shape[:-1], self.size))

    def call(self, inputs):
        return inputs * self.gate(self.excite(self.squeeze(self.pool(inputs))))


@registered
class CallsFunctions(_Sized):
    """Calls functions in its Python code, beside a layer with an inline activation."""

    def __init__(self, size=4, **kwargs):
        super().__init__(size, **kwargs)
        self.dense = L.Dense(size, activation="relu")

    def call(self, inputs):
        return (
            self.dense(inputs)
            + keras.ops.relu(inputs[..., :1])
            + keras.activations.relu(inputs[..., :1], max_value=6)
        )


@registered
class Unconfigured(L.Layer):
    """Can't be rebuilt: its constructor takes a layer, and it has no get_config()."""

    def __init__(self, inner, scale, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.scale = inner, scale
        self.relu = L.ReLU()

    def call(self, inputs):
        return self.relu(self.inner(inputs)) * self.scale(1)


@registered
class Classifier(keras.Model):
    """A subclassed model with a method beside `call`, and a training step of its own."""

    def __init__(self, size=4, **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.features = [Block(size), L.GlobalAveragePooling2D()]
        self.head = L.Dense(3, activation="relu")
        self.relu = L.ReLU()

    def encode(self, inputs):
        for layer in self.features:
            inputs = layer(inputs)
        return self.relu(inputs - 0.1)

    def call(self, inputs):
        return self.head(self.encode(inputs))

    def get_config(self):
        return {**super().get_config(), "size": self.size}


@registered
class TwoInputs(keras.Model):
    """Takes two arguments, one of them of integers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = L.Embedding(10, 4)
        self.dense = L.Dense(4, activation="relu")

    def build(self, tokens_shape, features_shape):
        self.embedding.build(tokens_shape)
        self.dense.build(features_shape)

    def call(self, tokens, features):
        return self.dense(self.embedding(tokens)) + self.dense(features)


@registered
class Backbone(keras.Model):
    """A functional model with a layer that only its constructor can create."""

    def __init__(self, size=4, **kwargs):
        inputs = keras.Input((8, 8, 3))
        x = L.Conv2D(size, 3, activation="relu", name="stem")(inputs)
        x = Unconfigured(L.Conv2D(size, 3), lambda x: x, name="odd")(x)
        super().__init__(inputs=inputs, outputs=L.ReLU(name="last")(x), **kwargs)
        self.size = size

    def get_config(self):
        return {"size": self.size, "name": self.name}


class Unregistered(_Sized):
    """Needs `custom_objects` to be loaded from a file."""

    def __init__(self, size=4, **kwargs):
        super().__init__(size, **kwargs)
        self.dense = L.Dense(size, activation="relu")

    def call(self, inputs):
        return self.dense(inputs)


class NeedsNumbers(_Sized):
    """Reads values, which symbolic tensors don't have; Keras still knows the shape of its
    outputs."""

    def __init__(self, size=4, **kwargs):
        super().__init__(size, **kwargs)
        self.relu = L.ReLU()

    def call(self, inputs):
        return self.relu(inputs) if float(keras.ops.max(inputs)) > -1e9 else inputs

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)


@registered
class KnownByItsClass(keras.Model):
    """A registered class over layers that are not registered: a file of the model loads, a file of
    its graph would not."""

    def __init__(self, layer="Unregistered", name=None):
        inputs = keras.Input((4,))
        outputs = {"Unregistered": Unregistered, "NeedsNumbers": NeedsNumbers}[layer](name="inner")(
            inputs
        )
        super().__init__(inputs, L.Dense(3, activation="relu", name="last")(outputs), name=name)
        self.layer = layer

    def get_config(self):
        return {"layer": self.layer, "name": self.name}


def around(*layers, shape=(8, 8, 3)):
    """Return a functional model that calls layers in a row."""
    inputs = outputs = keras.Input(shape)
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


class Scaled(L.Layer):
    """A layer whose weight has no initializer that could draw it again."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(), name="scale")

    def call(self, inputs):
        return inputs * self.scale
