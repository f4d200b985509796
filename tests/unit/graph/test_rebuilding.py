"""keras_prelu.graph.rebuilding: every kind of Keras layer comes through a conversion as it was,
whatever it keeps its state in."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from tests.helpers import models

L = keras.layers
VECTOR, SEQUENCE, IMAGE, VOLUME, VIDEO = (6,), (8, 6), (8, 8, 3), (4, 4, 4, 2), (5, 8, 8, 3)

LAYERS = [
    (L.Dense(4), VECTOR),
    (L.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d"), SEQUENCE),
    (L.Conv1D(4, 3), SEQUENCE),
    (L.Conv2D(4, 3), IMAGE),
    (L.Conv3D(4, 3), VOLUME),
    (L.Conv1DTranspose(4, 3), SEQUENCE),
    (L.Conv2DTranspose(4, 3), IMAGE),
    (L.Conv3DTranspose(4, 3), VOLUME),
    (L.DepthwiseConv1D(3), SEQUENCE),
    (L.DepthwiseConv2D(3), IMAGE),
    (L.SeparableConv1D(4, 3), SEQUENCE),
    (L.SeparableConv2D(4, 3), IMAGE),
    (L.LSTM(4, return_sequences=True), SEQUENCE),
    (L.GRU(4), SEQUENCE),
    (L.SimpleRNN(4), SEQUENCE),
    (L.RNN(L.LSTMCell(4)), SEQUENCE),
    (L.Bidirectional(L.LSTM(4)), SEQUENCE),
    (L.TimeDistributed(L.Dense(4)), SEQUENCE),
    (L.ConvLSTM2D(4, 3), VIDEO),
    (L.BatchNormalization(), IMAGE),
    (L.LayerNormalization(), VECTOR),
    (L.GroupNormalization(3), IMAGE),
    (L.UnitNormalization(), VECTOR),
    (L.SpectralNormalization(L.Dense(4)), VECTOR),
    (L.Normalization(mean=[0.0] * 6, variance=[2.0] * 6), VECTOR),
    (L.Rescaling(0.5), VECTOR),
    (L.MaxPooling2D(), IMAGE),
    (L.ZeroPadding2D(), IMAGE),
    (L.UpSampling2D(), IMAGE),
    (L.Permute((2, 1)), SEQUENCE),
    (L.Masking(), SEQUENCE),
    (L.Softmax(), VECTOR),
    (L.Dropout(0.5, seed=1), VECTOR),
    (L.RandomFlip(seed=1), IMAGE),
]
WITH_SEVERAL_INPUTS = [L.MultiHeadAttention(2, 4), L.GroupQueryAttention(4, 4, 2)]
WITH_A_LIST = [L.Attention(use_scale=True), L.AdditiveAttention()]


def assert_survives(model, x, tmp_path):
    """Converted exactly, and exactly back from a file."""
    converted = kp.convert(
        model, alpha=0.0, parameterization="identity", rescale="none", include="last"
    )
    expected = keras.ops.convert_to_numpy(model(x))
    assert keras.ops.convert_to_numpy(converted(x)).tobytes() == expected.tobytes()
    kp.save_model(converted, tmp_path / "model.keras")
    loaded = kp.load_model(tmp_path / "model.keras")
    assert keras.ops.convert_to_numpy(loaded(x)).tobytes() == expected.tobytes()


def with_relu(inputs, outputs):
    return models.live_in(keras.Model(inputs, L.ReLU(name="last")(outputs)))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [pytest.param(layer, shape, id=type(layer).__name__) for layer, shape in LAYERS],
)
def test_every_kind_of_layer(layer, shape, tmp_path):
    inputs = keras.Input(shape)
    model = with_relu(inputs, type(layer).from_config(layer.get_config())(inputs))
    assert_survives(model, models.samples(model, 4), tmp_path)


@pytest.mark.parametrize(
    "layer", [*WITH_SEVERAL_INPUTS, *WITH_A_LIST], ids=lambda layer: type(layer).__name__
)
def test_attention(layer, tmp_path):
    inputs = keras.Input(SEQUENCE)
    layer = type(layer).from_config(layer.get_config())
    model = with_relu(
        inputs, layer([inputs, inputs]) if isinstance(layer, L.Attention) else layer(inputs, inputs)
    )
    assert_survives(model, models.samples(model, 4), tmp_path)


def test_state_that_follows_from_variables(tmp_path):
    """A Normalization that was adapted keeps its mean in variables, and what it subtracts beside
    them."""
    x = np.random.default_rng(0).normal(3.0, 2.0, size=(64, 6)).astype("float32")
    normalization = L.Normalization()
    normalization.adapt(x)
    inputs = keras.Input((6,))
    assert_survives(
        keras.Model(inputs, L.ReLU(name="last")(L.Dense(3)(normalization(inputs)))), x, tmp_path
    )


@pytest.mark.filterwarnings("ignore:.*does not have a `build:UserWarning")
def test_state_that_follows_from_variables_inside_a_custom_layer(tmp_path):
    @keras.saving.register_keras_serializable("tests")
    class Prepares(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.normalization, self.relu = L.Normalization(), L.ReLU()

        def call(self, inputs):
            return self.relu(self.normalization(inputs))

    x = np.random.default_rng(0).normal(3.0, 2.0, size=(64, 6)).astype("float32")
    layer = Prepares()
    layer.normalization.adapt(x)
    inputs = keras.Input((6,))
    assert_survives(keras.Model(inputs, L.ReLU(name="last")(layer(inputs) - 0.1)), x, tmp_path)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "kind", ["StringLookup", "IntegerLookup", "TextVectorization", "Discretization"]
)
def test_state_that_is_no_number(kind, tmp_path):
    import tensorflow as tf

    inputs, layer, x = {
        "StringLookup": (
            keras.Input((2,), dtype="string"),
            L.StringLookup(),
            tf.constant([["a", "b"], ["c", "a"]]),
        ),
        "IntegerLookup": (
            keras.Input((2,), dtype="int64"),
            L.IntegerLookup(),
            np.array([[5, 7], [9, 5]]),
        ),
        "TextVectorization": (
            keras.Input((), dtype="string"),
            L.TextVectorization(output_sequence_length=2),
            tf.constant(["a b", "c"]),
        ),
        "Discretization": (
            keras.Input((2,)),
            L.Discretization(num_bins=3),
            np.float32([[1, 2], [3, 4]]),
        ),
    }[kind]
    layer.adapt(x)
    embedded = L.Flatten()(L.Embedding(8, 4)(layer(inputs)))
    assert_survives(keras.Model(inputs, L.ReLU(name="last")(L.Dense(3)(embedded))), x, tmp_path)


class Chain(L.Layer):
    """Applies layers that it is given, and writes the layers themselves into its configuration."""

    def __init__(self, blocks, **kwargs):
        super().__init__(**kwargs)
        self.blocks = blocks

    def call(self, x):
        for block in keras.tree.flatten(self.blocks):
            x = block(x)
        return x

    def get_config(self):
        return {**super().get_config(), "blocks": self.blocks}


_twice = L.Dense(6, "relu")
CHAINS = {
    "layer": L.ReLU(),
    "list": [L.Dense(6, "relu"), L.ReLU(), L.Dense(4)],
    "dict": {"a": L.Dense(6), "b": L.LeakyReLU()},
    "one layer twice": [_twice, _twice],
    "model": keras.Sequential([keras.Input(VECTOR), L.Dense(6, "relu")]),
    "custom layer": Chain([L.Dense(6, "relu")]),
}


@pytest.mark.parametrize("blocks", CHAINS.values(), ids=CHAINS.keys())
def test_layers_in_a_configuration_are_copied(blocks):
    inputs = keras.Input(VECTOR)
    model = models.live_in(keras.Model(inputs, L.Dense(2)(Chain(blocks)(inputs))))
    x = np.random.default_rng(0).normal(size=(64, *VECTOR)).astype("float32")
    expected, sites = model.predict(x, verbose=0), kp.find_sites(model)
    converted = kp.convert(model, calibration_data=x)
    assert len(kp.find_sites(converted)) == len(sites) > 0
    assert not {id(v) for v in converted.variables} & {id(v) for v in model.variables}
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    assert kp.find_sites(model) == sites


@keras.saving.register_keras_serializable("tests")
class CallsTwice(L.Layer):
    """Describes the layer that it calls twice by two configurations."""

    def __init__(self, first, second, **kwargs):
        super().__init__(**kwargs)
        self.first = first
        self.second = second

    def call(self, x):
        return self.second(self.first(x))

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        layers = {"first": serialize(self.first), "second": serialize(self.second)}
        return {**super().get_config(), **layers}

    @classmethod
    def from_config(cls, config):
        deserialize = keras.saving.deserialize_keras_object
        layers = {name: deserialize(config[name]) for name in ("first", "second")}
        return cls(**{**config, **layers})


@pytest.mark.filterwarnings("ignore:.*does not have a `build")
def test_a_layer_that_a_configuration_describes_twice_stays_one():
    inputs = keras.Input(VECTOR)
    layer = L.Dense(6, activation="relu")
    model = models.live_in(keras.Model(inputs, CallsTwice(layer, layer)(inputs)))
    converted = kp.convert(model, include="*", alpha=0.25, rescale="none")
    baked = kp.bake(converted)
    assert len(converted.trainable_variables) == len(baked.trainable_variables) + 1 == 3
    x = models.samples(model)
    np.testing.assert_array_equal(models.outputs(baked, x), models.outputs(converted, x))


class SharesOneReLU(L.Layer):
    relu = L.ReLU(name="shared")

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rectifier = self.relu

    def call(self, x):
        return self.rectifier(x)


def test_a_layer_that_rebuilt_copies_share_is_duplicated():
    inputs = keras.Input(VECTOR)
    model = keras.Model(inputs, L.Dense(2)(SharesOneReLU()(inputs)))
    x = np.random.default_rng(0).normal(size=(4, *VECTOR)).astype("float32")
    converted = kp.convert(model, alpha=0.5, rescale="none")
    hidden = np.where(x > 0, x, 0.5 * x)
    kernel, bias = map(keras.ops.convert_to_numpy, model.layers[-1].weights)
    np.testing.assert_allclose(converted.predict(x, verbose=0), hidden @ kernel + bias, rtol=1e-5)
    np.testing.assert_allclose(
        model.predict(x, verbose=0), np.maximum(x, 0) @ kernel + bias, rtol=1e-5
    )


def test_an_op_that_has_no_configuration_is_duplicated():
    """Keras describes no array among the arguments of an op."""
    inputs = keras.Input((3,))
    caps = np.array([1.0, 2.0, 3.0], "float32")
    x = keras.ops.clip(keras.layers.Dense(3, activation="relu")(inputs), 0.0, caps)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    samples = 9 * np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
    converted = kp.convert(model, include="*")
    np.testing.assert_array_equal(
        converted.predict(samples, verbose=0), model.predict(samples, verbose=0)
    )
