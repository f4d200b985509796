"""keras_prelu.diagnostics.signal: second moments of networks whose signal is known (claims 3 and
4)."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.diagnostics import signal_by_depth
from tests.helpers import custom, models

L = keras.layers


def deep(alpha, initializer, depth=6, width=256):
    keras.utils.set_random_seed(0)
    steps = [
        part
        for _ in range(depth)
        for part in (L.Dense(width, kernel_initializer=initializer), kp.PReLU(alpha))
    ]
    return keras.Sequential([keras.Input((width,)), *steps])


def test_signal_keeps_its_strength_with_our_initialization_and_grows_with_hes():
    x = np.random.default_rng(0).normal(size=(256, 256)).astype("float32")
    for initializer, per_layer in (
        (kp.initializers.PReLUHeNormal(0.5, seed=1), 1.0),
        (keras.initializers.HeNormal(seed=1), 1.25),
    ):
        layers = signal_by_depth(deep(0.5, initializer), x, batch_size=100)
        linear, rectifiers = layers[::2], layers[1::2]
        assert {layer.kind for layer in linear} == {"linear"}
        for layer in linear:
            assert layer.gain == pytest.approx(layer.predicted, rel=0.1)
        for layer in rectifiers:
            assert layer.gain == pytest.approx(layer.predicted, rel=0.1)
            assert layer.predicted == pytest.approx(0.625)
        growth = (linear[-1].moment / linear[0].moment) ** (1 / (len(linear) - 1))
        assert growth == pytest.approx(per_layer, rel=0.05)
        backward = (linear[0].gradient / linear[-1].gradient) ** (1 / (len(linear) - 1))
        assert backward == pytest.approx(per_layer, rel=0.05)


def test_a_negative_path_carries_alpha_c_to_the_depth():
    """Claim 3: one unit a layer, weights 0.8, all pre-activations negative, so that the derivative
    is (α·c)^L."""
    steps = [part for _ in range(5) for part in (L.Dense(1), kp.PReLU(0.25))]
    model = keras.Sequential([keras.Input((1,)), *steps])
    for layer in model.layers[::2]:
        layer.set_weights([np.full((1, 1), 0.8), np.full(1, -1.0)])
    layers = signal_by_depth(model, np.float32([[-1.0], [-2.0]]))
    ratio = layers[1].gradient / layers[-1].gradient
    assert np.sqrt(ratio) == pytest.approx((0.25 * 0.8) ** 4)


def test_against_numpy_with_an_inline_relu_and_several_batches():
    model = models.live_in(
        keras.Sequential([keras.Input((6,)), L.Dense(4, activation="relu"), L.Dense(3)])
    )
    x = models.samples(model, 50)
    (w, b), (v, c) = (layer.get_weights() for layer in model.layers)
    h = np.maximum(x @ w + b, 0)
    first, second = signal_by_depth(model, x, probes=50, batch_size=16)
    assert (first.kind, second.kind) == ("linear, rectified", "linear")
    np.testing.assert_allclose(
        [first.moment, second.moment], [np.mean(h**2), np.mean((h @ v + c) ** 2)], rtol=1e-5
    )
    np.testing.assert_allclose(
        [first.gain, second.gain],
        [np.mean(h**2) / np.mean(x**2), second.moment / np.mean(h**2)],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        [first.predicted, second.predicted], [6 * np.mean(w**2) / 2, 4 * np.mean(v**2)], rtol=1e-5
    )
    projection = np.random.default_rng([0, 0]).normal(size=(50, 3))
    np.testing.assert_allclose(second.gradient, np.mean(projection**2), rtol=1e-5)
    np.testing.assert_allclose(first.gradient, np.mean((projection @ v.T) ** 2), rtol=1e-5)


def test_gradients_of_several_batches(monkeypatch):
    """In a linear network the gradients are those of the projection alone."""
    model = models.live_in(keras.Sequential([keras.Input((6,)), L.Dense(4), L.Dense(3)]))
    x = models.samples(model, 30)
    monkeypatch.setattr("keras_prelu.diagnostics.call_gradients._VALUES_PER_BATCH", 7 * 4)
    layers = signal_by_depth(model, x, probes=10)
    projections = np.concatenate(
        [np.random.default_rng([0, i]).normal(size=(n, 3)) for i, n in enumerate((4, 4, 2))]
    )
    np.testing.assert_allclose(layers[1].gradient, np.mean(projections**2), rtol=1e-5)
    np.testing.assert_allclose(
        layers[0].gradient,
        np.mean((projections @ model.layers[1].get_weights()[0].T) ** 2),
        rtol=1e-5,
    )


@pytest.mark.parametrize(("build", "again"), [(models.nested, False), (models.siamese, True)])
def test_paths_of_nested_and_shared_layers(build, again):
    model = kp.convert(models.live_in(build()), rescale="none")
    paths = [layer.path for layer in signal_by_depth(model, models.samples(model, 4))]
    assert any("/" in path for path in paths)
    assert len(set(paths)) == len(paths)
    assert any(path.endswith("#2") for path in paths) == again
    with pytest.raises(kp.errors.InvalidArgumentError, match="probes"):
        signal_by_depth(model, models.samples(model, 4), probes=0)


@pytest.mark.parametrize("converted", [False, True])
def test_layers_inside_custom_layers_carry_the_signal_of_those_outside(converted):
    outer = models.live_in(custom.around(custom.Outer(4), shape=(5,)))
    layers = outer.layers[-1]
    inputs = x = keras.Input((5,))
    for block in layers.blocks:
        x = L.ReLU()(block.dense.__class__.from_config(block.dense.get_config())(x) - 0.1)
    flat = keras.Model(inputs, layers.mlp(x))
    flat.set_weights(outer.get_weights())
    samples = models.samples(outer, 30)
    pair = (
        [kp.convert(model, rescale="none") for model in (outer, flat)]
        if converted
        else [outer, flat]
    )
    inside, outside = (signal_by_depth(model, samples, batch_size=20) for model in pair)
    if converted:
        assert {layer.kind for layer in inside} == {"rectifier", "linear, rectified", "linear"}
        # In the graph an inline activation is a layer of its own.
        inside, outside = (
            [layer for layer in part if layer.kind == "rectifier"] for part in (inside, outside)
        )
    assert len(inside) == len(outside) == (6 if converted else 7)
    for one, other in zip(inside, outside, strict=True):
        assert one.path.startswith("outer")
        np.testing.assert_allclose(
            [one.moment, one.gradient], [other.moment, other.gradient], rtol=1e-4
        )
