"""The rows of the problem of a layer: how many, where from, and that they fit the layer."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.calibration import layer_fit, layer_rows
from keras_prelu.calibration.activation_store import Activations
from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.design import Design, Intercept
from keras_prelu.calibration.layer_rows import InputPair, LayerRows
from keras_prelu.calibration.samples import split_samples
from keras_prelu.graph.linear_layers import linear_view
from tests.helpers import models

L = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(60, 12, 12, 16)).astype("float32")


def rows_of(layer, batch_size=16, images=IMAGES, seed=0):
    if not layer.built:
        layer.build((None, *images.shape[1:]))
    view = linear_view(layer)
    design = Design(view, Intercept.of_layer(view, None))
    batches = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    activations = Activations(samples=len(images), batches=batches)
    matrix = design.matrix(view)
    return LayerRows(
        design,
        [InputPair(original=activations, converted=activations)],
        matrix,
        matrix,
        CalibrationConfig(seed=seed),
        split_samples(len(images), batch_size, seed=0),
    )


@pytest.mark.parametrize(
    ("layer", "rows"),
    [
        # 16 rows for each of 9 · 16 + 1 unknowns, in whole positions of 60 samples.
        (L.Conv2D(4, 3, padding="same"), 60 * 39),
        # One channel has 10 unknowns, one group 37: the fewest rows, not 16 · 145.
        (L.DepthwiseConv2D(3, padding="same"), 60 * 35),
        (L.Conv2D(8, 3, padding="same", groups=4), 60 * 35),
        (L.DepthwiseConv2D(3, strides=4), 60 * 9),  # All of 3 × 3 positions.
    ],
)
def test_the_number_of_rows_follows_the_unknowns_of_one_group(layer, rows):
    source = rows_of(layer)
    assert source.count == rows
    assert sum(block.rows.shape[1] for block in source) == rows


def test_all_rows_of_a_wide_layer_have_a_limited_number_of_entries(monkeypatch):
    monkeypatch.setattr(layer_rows, "_MOST_ENTRIES", 145 * 600)
    assert rows_of(L.Conv2D(4, 3, padding="same")).count == 600


@pytest.mark.parametrize("layer", [L.Conv2D(4, 3), L.DepthwiseConv2D(3)])
def test_rows_do_not_depend_on_batches_or_blocks(layer, monkeypatch):
    def whole(source):
        blocks = list(source)
        for block, design in zip(blocks, source.designs(), strict=True):
            np.testing.assert_array_equal(block.rows, design)
        return (
            np.concatenate([block.rows for block in blocks], axis=1),
            np.concatenate([block.targets for block in blocks], axis=1),
            np.concatenate([block.held_out for block in blocks]),
        )

    first = whole(rows_of(layer, 16))
    monkeypatch.setattr(layer_rows, "CHUNK_BYTES", 1e5)
    assert len(list(rows_of(layer, 7))) > 9
    for one, other in zip(first, whole(rows_of(layer, 7)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(first[0], whole(rows_of(layer, 16, seed=1))[0])


@pytest.mark.parametrize("layer", [L.Conv2D(4, 3), L.DepthwiseConv2D(3), L.Conv2D(8, 3, groups=4)])
def test_targets_are_outputs_of_the_layer(layer):
    source = rows_of(layer)
    assert source.are_as_expected()
    outputs = keras.ops.convert_to_numpy(layer(IMAGES))
    flat = outputs.reshape(-1, outputs.shape[-1])
    block = next(iter(source))
    targets = np.moveaxis(block.targets, 0, 1).reshape(block.targets.shape[1], -1)
    for target in targets[:50]:
        assert np.abs(flat - target).max(axis=1).min() < 1e-4
    np.testing.assert_array_equal(block.residuals, np.zeros_like(block.residuals))


def test_a_layer_whose_matrix_is_too_large_is_refitted_by_conjugate_gradients(monkeypatch):
    model = models.live_in(models.convolutional())
    x = models.samples(model, 200)
    errors = {}
    for name, share, least in (("direct", 0.25, 64e6), ("streamed", 0.0, 0.0)):
        monkeypatch.setattr(layer_fit, "_DIRECT_SHARE", share)
        monkeypatch.setattr(layer_fit, "_DIRECT_BYTES", least)
        record = kp.calibrate(kp.convert(model, alpha=0.25, rescale="none"), model, x)
        errors[name] = record.error_after
        assert all(layer.action == "refitted" for layer in record.layers[1:])
    assert errors["streamed"] < 1.2 * errors["direct"]
    assert errors["streamed"] != errors["direct"]


def test_a_constraint_holds_under_conjugate_gradients(monkeypatch):
    monkeypatch.setattr(layer_fit, "_DIRECT_SHARE", 0.0)
    monkeypatch.setattr(layer_fit, "_DIRECT_BYTES", 0.0)
    inputs = keras.Input((6,))
    x = L.Dense(16, activation="relu")(inputs)
    model = models.live_in(keras.Model(inputs, L.Dense(3, kernel_constraint="non_neg")(x)))
    kernel = model.layers[-1].kernel
    kernel.assign(keras.ops.abs(kernel))
    converted = kp.convert(model, alpha=0.25, rescale="none")
    record = kp.calibrate(converted, model, models.samples(model, 300))
    assert record.layers[-1].action == "refitted"
    assert record.layers[-1].error_after < record.layers[-1].error_before
    assert keras.ops.convert_to_numpy(converted.layers[-1].kernel).min() >= 0
