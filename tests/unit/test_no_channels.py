"""Rectifiers of tensors without channels: there is nothing to convert, and nothing fails."""

import keras
import numpy as np

import keras_prelu as kp

L = keras.layers
X = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")


def _network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    h = L.Dense(6, name="dense")(inputs)
    parts = [L.ReLU(name="empty")(h[:, 6:]), L.ReLU(name="full")(h)]
    return keras.Model(inputs, L.Dense(3, name="last")(L.Concatenate()(parts)))


def test_it_is_left_as_it_is():
    model = _network()
    empty, full = kp.find_sites(model)
    assert (empty.convertible, empty.reason) == (False, "it has no channels")
    assert full.convertible
    sloped = kp.convert(model, alpha=0.1, rescale="none")
    (kernel, bias), (last, offset) = (
        model.get_layer(name).get_weights() for name in ("dense", "last")
    )
    h = X @ kernel + bias
    expected = np.where(h > 0, h, 0.1 * h) @ last + offset
    for made in (
        sloped,
        kp.bake(sloped),
        kp.simplify(sloped, X).model,
        kp.convert(sloped, to="leaky_relu"),
    ):
        np.testing.assert_allclose(made.predict(X, verbose=0), expected, rtol=1e-4, atol=1e-5)
    automatic = kp.convert(model, alpha="auto", calibration_data=X)
    assert [slopes.path for slopes in kp.diagnostics.layer_slopes(automatic)] == ["full"]


def test_the_diagnosis_leaves_it_out():
    diagnosis = kp.diagnose(_network(), X)
    assert [site.path for site in diagnosis.ranks] == ["full"]
    assert [(site.path, site.units) for site in diagnosis.units] == [("empty", 0), ("full", 6)]
    assert diagnosis.measures["dead"] == 0.0
