"""keras_prelu.calibration.memory_plan: batches and activations for a limit."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.layerwise import LayerwiseCalibrator
from keras_prelu.calibration.memory_plan import plan_memory
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.calibration.samples import check_samples
from tests.helpers import models

L = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(40, 32, 32, 3)).astype("float32")
# Its PReLU reads and writes 32 × 32 × 50 values, more than any other step.
LARGEST = 2 * 32 * 32 * 50 * 4


def network(batch_size=None):
    inputs = keras.Input((32, 32, 3), batch_size=batch_size)
    x = L.Conv2D(50, 3, padding="same", activation="relu")(inputs)
    x = L.Conv2D(4, 3, strides=4, activation="relu")(x)
    return models.live_in(keras.Model(inputs, L.Dense(2)(L.Flatten()(x))))


def plan(model, **settings):
    samples = check_samples(model, IMAGES)
    converted = kp.convert(model, alpha=0.25, rescale="none")
    pair = ModelPair(model, converted, samples)
    return plan_memory(pair, samples.arrays, CalibrationConfig(**settings))


def test_batches_get_smaller_with_the_limit():
    model = network()
    sizes = [plan(model, memory_limit=limit).batch_size for limit in (0, 1e7, 4e7, 4e8, 4e9)]
    # Half of the limit holds four times what the largest step reads and writes.
    assert sizes == [1, 2, 8, 64, 128]


def test_what_batches_and_rows_take_is_not_left_for_activations():
    generous = plan(network(), memory_limit=1e9)
    assert generous.activations == 1e9 - 128 * 4 * LARGEST - 8 * 32e6
    assert plan(network(), memory_limit=1e8).activations == 0


@pytest.mark.parametrize("fixed", [None, 20])
def test_a_batch_size_that_is_given_stays(fixed):
    settings = {} if fixed else {"batch_size": 20}
    assert plan(network(fixed), memory_limit=0, **settings).batch_size == 20


def test_the_calibrator_uses_the_plan():
    model = network()
    samples = check_samples(model, IMAGES)
    pair = ModelPair(model, kp.convert(model, alpha=0.25, rescale="none"), samples)
    calibrator = LayerwiseCalibrator(pair, samples, CalibrationConfig(memory_limit=4e7))
    assert calibrator.batch_size == 8
