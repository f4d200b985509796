"""Masks of time steps are in a converted, calibrated or baked model what they are in the original."""

import warnings

import keras
import numpy as np
import pytest

import keras_prelu as kp
from tests.helpers import masks, models

EXACT = {"alpha": 0.0, "parameterization": "identity", "rescale": "none"}


@pytest.fixture(autouse=True)
def _without_keras_on_masks():
    with warnings.catch_warnings():
        # A nested model does not support masking, as Keras says whenever it is called.
        warnings.filterwarnings("ignore", message="Layer '.*' was passed an input with a mask")
        warnings.filterwarnings("ignore", message=".*was passed an input with a mask")
        yield


def _samples(model, count):
    if model.inputs[0].dtype == "int32":
        return np.resize(np.array(masks.IDS), (count, 6))
    x = np.random.default_rng(3).normal(size=(count, 6, 4)).astype("float32")
    x[1::2, 3:] = 0.0
    return x


def _assert_same(model, other, x):
    np.testing.assert_allclose(_outputs(other, x), _outputs(model, x), rtol=1e-5, atol=1e-6)


def _outputs(model, x):
    """Run a model eagerly: compiling takes longer than everything else here."""
    return keras.ops.convert_to_numpy(model(x))


@pytest.mark.parametrize("build", masks.ALL)
def test_converted_and_baked(build):
    model = models.live_in(build())
    x = _samples(model, 5)
    converted = kp.convert(model, **EXACT)
    _assert_same(model, converted, x)
    _assert_same(model, kp.bake(converted), x)
    targets = np.ones(_outputs(model, x).shape)
    for each in (model, converted):
        each.compile("sgd", "mse", run_eagerly=True)
    losses = [each.evaluate(x, targets, verbose=0) for each in (model, converted)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_baked_with_different_slopes():
    model = models.live_in(masks.op_drops_the_mask())
    converted = models.with_slopes(kp.convert(model, **EXACT))
    _assert_same(converted, kp.bake(converted), _samples(model, 5))


def test_saved_and_loaded(tmp_path):
    model = models.live_in(masks.op_drops_the_mask())
    converted = kp.convert(model, **EXACT)
    kp.save_model(converted, tmp_path / "model.keras")
    x = _samples(model, 5)
    loaded = kp.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("build", "memory_limit"),
    [(masks.concatenated, 4e9), (masks.concatenated, 0), (masks.inline_inside_nested, 4e9)],
)
def test_calibrated(build, memory_limit):
    model = models.live_in(build())
    x = np.random.default_rng(0).integers(1, 20, size=(60, 6))
    x[::2, 3:] = 0
    conversion = kp.run_conversion(model, alpha=0.1, calibration_data=x, memory_limit=memory_limit)
    before, after = (each.predict(x, verbose=0) for each in (model, conversion.model))
    error = kp.theory.relative_error(after, before)
    assert error < 3 * conversion.calibration.error_after + 1e-6
