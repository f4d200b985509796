"""keras_prelu.verification.probes: inputs that fit a model."""

import keras
import numpy as np
import pytest

from keras_prelu.verification.prediction import Prediction
from keras_prelu.verification.probes import Probe, probe, probe_with

L = keras.layers


def model_of(inputs, outputs):
    return keras.Model(inputs, outputs)


def _embedding():
    i = keras.Input((6,), dtype="int32")
    return model_of(i, L.Embedding(5, 3)(i))


def _embedding_of_floats():
    i = keras.Input((6,))
    return model_of(i, L.Embedding(5, 3, mask_zero=True)(i))


def _two_tables():
    i = keras.Input((6,), dtype="int32")
    return model_of(i, [L.Embedding(50, 3)(i), L.Embedding(4, 3)(i + 0)])


def _nested_table():
    i = keras.Input((6,), dtype="int32")
    inner = keras.Sequential([keras.Input((6,), dtype="int32"), L.Embedding(3, 2)])
    return model_of(i, inner(L.Reshape((6,))(i)))


def _one_hot():
    i = keras.Input((), dtype="int32")
    return model_of(i, keras.ops.one_hot(i, 4))


def _category_encoding():
    i = keras.Input((3,), dtype="int32")
    return model_of(i, L.CategoryEncoding(num_tokens=3, output_mode="multi_hot")(i))


@pytest.mark.parametrize(
    ("build", "limit"),
    [
        (_embedding, 5),
        (_embedding_of_floats, 5),
        (_two_tables, 4),
        (_nested_table, 3),
        (_one_hot, 4),
        (_category_encoding, 3),
    ],
)
def test_numbers_stay_in_their_table(build, limit):
    found = probe(build())
    assert isinstance(found, Probe)
    assert found.inputs.min() >= 0
    assert found.inputs.max() < limit


def test_sequences_end_in_numbers_that_may_be_masked():
    ids = probe(_embedding_of_floats()).inputs
    assert (ids[:, 0] > 0).all()
    assert (ids[-1, -3:] == 0).all()
    assert (ids[0] > 0).all()


def test_masked_steps():
    i = keras.Input((6, 3))
    x = probe(model_of(i, L.Masking(-1.0)(i))).inputs
    assert (x[-1, -2:] == -1.0).all()
    assert (x[0] != -1.0).any()


def test_caps_are_met():
    i = keras.Input((6,))
    assert probe(model_of(i, L.ReLU(6.0)(i))).inputs.max() > 6


@pytest.mark.parametrize(
    ("shape", "build"),
    [
        ((None, None, 3), lambda i: L.Conv2D(2, 40)(i)),
        ((None, 4), lambda i: L.LSTM(2)(i)),
        ((None,), lambda i: L.Reshape((-1, 1))(i)),
        ((8, 8, 3), lambda i: L.Flatten()(i)),
    ],
)
def test_unknown_sizes_are_large_enough(shape, build):
    i = keras.Input(shape)
    assert isinstance(probe(model_of(i, build(i))), Probe)


def test_kernels_are_not_larger_than_images(monkeypatch):
    """TensorFlow's depthwise convolutions return what is in memory then, without an error."""
    monkeypatch.setattr(
        "keras_prelu.verification.probes.predict_once",
        lambda *_: Prediction(structure=None, outputs=(), losses=None),
    )
    images = keras.Input((None, None, 3))
    found = probe(model_of(images, L.DepthwiseConv2D(3, strides=2)(L.MaxPooling2D(4)(images))))
    assert found.inputs.shape == (4, 32, 32, 3)


def test_a_fixed_batch_size_is_kept():
    i = keras.Input(batch_shape=(7, 3))
    model = model_of(i, L.Dense(2)(i))
    assert probe(model).inputs.shape == (7, 3)
    assert probe_with(model, np.zeros((2, 3))).inputs.shape == (7, 3)


def test_structures_are_kept():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), dtype="int32", name="b")
    model = model_of({"b": b, "a": a}, L.Concatenate()([a, keras.ops.cast(b, "float32")]))
    assert set(probe(model).inputs) == {"a", "b"}


def test_a_subclassed_model():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(2)

        def call(self, inputs):
            return self.dense(inputs)

    model = Own()
    model(np.zeros((1, 5), "float32"))
    assert probe(model).inputs.shape == (4, 5)


def test_a_model_that_takes_nothing_that_is_drawn_says_why():
    class Refuses(L.Layer):
        def call(self, inputs):
            if not keras.utils.is_keras_tensor(inputs) and keras.ops.is_tensor(inputs):
                raise ValueError("never")
            return inputs

        def compute_output_spec(self, inputs):
            return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)

    i = keras.Input((3,))
    assert "never" in probe(model_of(i, Refuses()(i)))
