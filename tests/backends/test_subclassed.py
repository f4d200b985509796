"""Subclassed models on each backend: what functions measure is what a functional model of the same
layers has."""

import keras
import numpy as np
import pytest

import keras_prelu as kp

L = keras.layers
X = np.random.default_rng(0).normal(size=(60, 6)).astype("float32")
Y = np.arange(60) % 3


@keras.saving.register_keras_serializable("tests.backends")
class TwoParts(keras.Model):
    """Takes a dict of two arrays."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.head = L.Dense(8, activation="relu"), L.Dense(3)

    def call(self, x):
        return self.head(self.hidden(keras.ops.concatenate([x["b"], x["a"]], axis=-1)))


def pair(model=None, x=None):
    """A subclassed and a functional model of the same layers, with their samples."""
    subclassed = model or TwoParts(name="net")
    x = x or {"b": X[:, :4], "a": X[:, 4:]}
    subclassed(keras.tree.map_structure(lambda array: array[:2], x))
    hidden, head = [layer for layer in subclassed.layers if isinstance(layer, L.Dense)]
    inputs = keras.Input((6,))
    functional = keras.Model(inputs, head(hidden(inputs)), name="net")
    for model in (subclassed, functional):
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return (subclassed, x), (functional, X)


@pytest.mark.parametrize(
    "use",
    [
        lambda model, x: [site.negative for site in kp.diagnostics.dead_units(model, x)],
        lambda model, x: [
            (layer.moment, layer.gradient) for layer in kp.diagnostics.signal_by_depth(model, x)
        ],
        lambda model, x: kp.diagnostics.gradient_noise(model, (x, Y)).scale,
        lambda model, x: (
            kp.compare(kp.convert(model, alpha=0.2, rescale="none"), model, (x, Y)).gain
        ),
        lambda model, x: (
            kp.finetune(
                model,
                (x, Y),
                (x, Y),
                selection=(x, Y),
                recipe="identity",
                epochs=1,
                control=False,
            ).prelu.score_after
        ),
        lambda model, x: [site.units for site in kp.revive(model, x).sites],
    ],
    ids=["dead_units", "signal", "gradient_noise", "compare", "finetune", "revive"],
)
def test_subclassed_is_as_functional(use):
    results = [keras.tree.flatten(use(model, x)) for model, x in pair()]
    np.testing.assert_allclose(*results, rtol=2e-3, atol=1e-5)


def test_a_sequential_model_of_several_inputs_is_as_functional():
    layers = [L.Concatenate(), L.Dense(8, activation="relu"), L.Dense(3)]
    two = pair(keras.Sequential(layers, name="net"), [X[:, :4], X[:, 4:]])
    results = [
        (
            [site.negative for site in kp.diagnostics.dead_units(model, x)],
            kp.run_conversion(model, alpha=0.2, calibration_data=x).calibration.error_after,
        )
        for model, x in two
    ]
    np.testing.assert_allclose(*map(keras.tree.flatten, results), rtol=2e-3, atol=1e-5)


class WithoutConfig(keras.Model):
    """Written as in TensorFlow's tutorials: no configuration describes it."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = L.Dense(8), L.Dense(3)

    def call(self, x):
        return self.head(keras.ops.relu(self.hidden(x)))


def test_a_model_without_a_config_is_copied_after_it_was_trained():
    model = WithoutConfig()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, Y, verbose=0)
    model.evaluate(X, Y, verbose=0)
    expected = model.predict(X, verbose=0)
    converted = kp.convert(model)
    np.testing.assert_array_equal(converted.predict(X, verbose=0), expected)
    converted.fit(X, Y, verbose=0)
    np.testing.assert_array_equal(model.predict(X, verbose=0), expected)
