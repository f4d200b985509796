"""keras_prelu.diagnostics.ranks, against singular values from NumPy's SVD."""

import math

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.diagnostics.ranks import MAX_ROWS, activation_ranks
from tests.helpers import models

L = keras.layers


def reference(activations):
    """The definitions, from the singular values of the centred matrix in float64."""
    matrix = np.asarray(activations, dtype="float64")
    values = np.linalg.svd(matrix - matrix.mean(axis=0), compute_uv=False)
    shares = values / values.sum()
    entropy = -sum(share * math.log(share) for share in shares if share > 0)
    return math.exp(entropy), float(np.sum(values**2) / values[0] ** 2)


@pytest.mark.parametrize("shape", [(200, 7), (7, 200), (30, 30)])
def test_ranks_are_those_of_the_singular_values(shape):
    rng = np.random.default_rng(0)
    activations = rng.normal(size=shape) * np.logspace(0, -3, shape[1]) + 5.0
    ranks = activation_ranks(activations.astype("float32"))
    effective, stable = reference(activations.astype("float32"))
    assert ranks.effective == pytest.approx(effective, rel=1e-5)
    assert ranks.stable == pytest.approx(stable, rel=1e-9)


def test_known_ranks():
    orthogonal = np.linalg.qr(np.random.default_rng(0).normal(size=(40, 6)))[0]
    balanced = orthogonal - orthogonal.mean(axis=0)
    spread = np.linalg.qr(balanced)[0] @ np.diag([2.0, 2.0, 2.0, 0.0, 0.0, 0.0])
    ranks = activation_ranks(spread - spread.mean(axis=0))
    assert ranks.effective == pytest.approx(3.0, rel=1e-6)
    assert ranks.stable == pytest.approx(3.0, rel=1e-6)


def test_constant_and_broken_activations():
    constant = np.full((50, 4), 1.2345, "float32")
    assert activation_ranks(constant) == kp.diagnostics.ranks.Ranks(effective=0.0, stable=0.0)
    constant[0, 0] = np.inf
    assert math.isnan(activation_ranks(constant).effective)


def test_low_rank_noise_of_float32_does_not_count():
    """Five directions among a hundred channels, as float32 activations."""
    rng = np.random.default_rng(0)
    activations = (rng.normal(size=(300, 5)) @ rng.normal(size=(5, 100))).astype("float32")
    assert activation_ranks(activations).effective == pytest.approx(
        reference(activations)[0], rel=1e-4
    )
    assert activation_ranks(activations).effective < 5.01


def layer_outputs(model, x):
    """The outputs of each rectifier, by running the layers one by one."""
    found, value = {}, x
    for layer in model.layers:
        value = layer(value)
        if isinstance(layer, (L.ReLU, kp.PReLU)) or getattr(layer, "activation", None) is (
            keras.activations.relu
        ):
            found[layer.name] = np.asarray(keras.ops.convert_to_numpy(value))
    return found


@pytest.mark.backends
@pytest.mark.parametrize("convert", [False, True])
def test_ranks_of_a_network(convert):
    model = models.live_in(models.mlp())
    if convert:
        model = models.with_slopes(kp.convert(model, rescale="none", parameterization="identity"))
    x = models.samples(model, 100)
    sites = kp.diagnostics.representation_ranks(model, x, batch_size=32)
    outputs = layer_outputs(model, x)
    assert [site.path for site in sites] == list(outputs)
    for site in sites:
        effective, stable = reference(outputs[site.path])
        assert (site.rows, site.channels) == (100, 8)
        assert site.effective == pytest.approx(effective, rel=1e-4)
        assert site.stable == pytest.approx(stable, rel=1e-4)


def ranks_and_rows_of_images(size, count, padding):
    """Return the ranks at the only rectifier of a network, and all rows of its outputs."""
    layers = [L.Conv2D(4, 3, padding=padding), L.ReLU(name="act"), L.Flatten(), L.Dense(2)]
    model = models.live_in(keras.Sequential([keras.Input((size, size, 2)), *layers]))
    x = models.samples(model, count)
    (site,) = kp.diagnostics.representation_ranks(model, x)
    return site, layer_outputs(model, x)["act"].reshape(-1, 4)


@pytest.mark.backends
def test_positions_of_images_are_rows_and_channels_are_columns():
    site, rows = ranks_and_rows_of_images(6, count=20, padding="valid")
    assert (site.rows, site.channels) == (20 * 16, 4)
    assert site.effective == pytest.approx(reference(rows)[0], rel=1e-4)
    assert site.stable == pytest.approx(reference(rows)[1], rel=1e-4)


def test_of_many_positions_some_are_drawn():
    site, all_rows = ranks_and_rows_of_images(16, count=64, padding="same")
    assert site.rows == MAX_ROWS
    assert site.effective == pytest.approx(reference(all_rows)[0], rel=0.05)


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="no channels-first convolutions on the CPU"
)
def test_channels_first():
    layers = [L.Conv2D(4, 3, data_format="channels_first"), L.ReLU(name="act"), L.Flatten()]
    model = models.live_in(keras.Sequential([keras.Input((2, 6, 6)), *layers, L.Dense(2)]))
    x = models.samples(model, 20)
    (site,) = kp.diagnostics.representation_ranks(model, x)
    rows = np.moveaxis(layer_outputs(model, x)["act"], 1, -1).reshape(-1, 4)
    assert (site.channels, site.rows) == (4, 320)
    assert site.effective == pytest.approx(reference(rows)[0], rel=1e-4)


def test_a_model_that_is_called_twice_has_the_rows_of_both_calls():
    inner = keras.Sequential([keras.Input((6,)), L.Dense(6), L.ReLU(name="act")], name="inner")
    inputs = keras.Input((6,))
    model = models.live_in(keras.Model(inputs, L.Dense(2)(inner(inner(inputs)))))
    samples = models.samples(model, 30)
    (site,) = kp.diagnostics.representation_ranks(model, samples)
    first = inner.predict(samples, verbose=0)
    rows = np.concatenate([first, inner.predict(first, verbose=0)])
    assert (site.path, site.rows) == ("inner/act", 60)
    assert site.effective == pytest.approx(reference(rows)[0], rel=1e-4)


@pytest.mark.parametrize("build", models.ALL)
def test_every_kind_of_model_is_measured(build):
    model = models.live_in(build())
    sites = kp.diagnostics.representation_ranks(model, models.samples(model, 20))
    seen = [
        site.path
        for site in kp.diagnostics.dead_units(model, models.samples(model, 20))
        if site.seen
    ]
    assert [site.path for site in sites] == seen
    assert all(0 <= site.effective <= site.channels + 1e-6 for site in sites)
    assert all(0 <= site.stable <= site.channels + 1e-6 for site in sites)


def test_too_few_samples_are_refused():
    with pytest.raises(kp.errors.InvalidArgumentError, match="max_samples"):
        kp.diagnostics.representation_ranks(models.mlp(), np.zeros((5, 6)), max_samples=1)
