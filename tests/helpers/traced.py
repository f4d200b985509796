"""Layers whose rectifiers and linear layers run in code that a backend traces, or in a loop."""

import keras

L = keras.layers
ops = keras.ops
registered = keras.saving.register_keras_serializable("tests")


@registered
class Traced(L.Layer):
    """A linear layer and a rectifier that are called through control flow of one kind."""

    def __init__(self, kind, size=6, **kwargs):
        super().__init__(**kwargs)
        self.kind, self.size = kind, size
        self.inner = L.Dense(size)
        self.act = L.ReLU()

    def build(self, input_shape):
        self.inner.build((None, self.size))
        self.act.build((None, self.size))

    def get_config(self):
        return {**super().get_config(), "kind": self.kind, "size": self.size}

    def compute_output_shape(self, input_shape):
        return input_shape

    def block(self, x):
        return self.act(self.inner(x))

    def row(self, row):
        return self.block(row[None])[0]

    def call(self, x):
        return getattr(self, f"_{self.kind}")(x)

    def _plain(self, x):
        return self.block(x)

    def _cond(self, x):
        return ops.cond(ops.sum(x) < 1e9, lambda: self.block(x), lambda: x)

    def _switch(self, x):
        return ops.switch(ops.cast(ops.sum(x) < 1e9, "int32"), [lambda v: v, self.block], x)

    def _map(self, x):
        return ops.map(self.row, x)

    def _vectorized_map(self, x):
        return ops.vectorized_map(self.row, x)

    def _associative_scan(self, x):
        pairs = ops.stack([x, x], axis=1)
        return ops.associative_scan(lambda a, b: self.block(a + b), pairs, axis=1)[:, 1]

    def _fori_loop(self, x):
        return ops.fori_loop(0, 2, lambda i, value: self.block(value), x)

    def _remat(self, x):
        return keras.remat(self.block)(x)

    def _jit(self, x):
        if keras.backend.backend() == "jax":
            import jax

            return jax.jit(self.block)(x)
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return tf.function(self.block)(x)
        return self.block(x)

    def _python_rows(self, x):
        if x.shape[0] is None:
            return self.block(x)
        return ops.concatenate([self.block(x[i : i + 1]) for i in range(x.shape[0])])


@registered
class Cell(L.Layer):
    """A recurrent cell with a rectifier of its own."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units
        self.inner, self.act = L.Dense(units), L.ReLU()

    def build(self, input_shape):
        self.inner.build((None, self.units))
        self.act.build((None, self.units))

    def call(self, inputs, states):
        output = self.act(self.inner(inputs + states[0]))
        return output, [output]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


SEEN_EVERYWHERE = ("plain", "remat")
NEVER_SEEN = (
    "map",
    "vectorized_map",
    "associative_scan",
    "fori_loop",
    "rnn",
    "bidirectional",
)
BRANCHES = ("cond", "switch", "jit")
"""Kinds whose code runs in a trace of its own, except on PyTorch."""


def layer(kind):
    """Return a layer of a kind, which keeps the shape (samples, 6)."""
    if kind == "rnn":
        return keras.Sequential([L.Reshape((2, 3)), L.RNN(Cell(3)), L.Dense(6)], name=kind)
    if kind == "bidirectional":
        inner = L.Bidirectional(L.RNN(Cell(3)))
        return keras.Sequential([L.Reshape((2, 3)), inner], name=kind)
    return Traced(kind, name=kind)


def model_of(*kinds):
    """Return a model with a layer of each kind, one after the other."""
    layers = [layer(kind) for kind in kinds]
    for index, repeated in enumerate(layers):
        if repeated.name in kinds[:index]:
            repeated.name = f"{repeated.name}_{index}"
    return keras.Sequential([keras.Input((6,)), *layers, L.Dense(3, name="last")])
