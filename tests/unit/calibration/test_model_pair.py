"""keras_prelu.calibration.model_pair: one pair serves several calibrations of changing weights."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.layerwise import LayerwiseCalibrator
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.calibration.samples import check_samples
from keras_prelu.calibration.slope_search import set_slope
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.sites.prelu_layers import prelu_layers
from tests.helpers import custom, models

L = keras.layers


def network():
    return custom.around(custom.Block(name="in"), L.Dense(4, activation="relu"), L.Dense(2))


def calibrated_at(slope, model, converted, samples):
    """The weights after a calibration of its own."""
    for _, layer in prelu_layers(converted):
        set_slope(layer, slope)
    kp.calibrate(converted, model, samples)
    return converted.get_weights()


def test_calibrations_of_one_pair_are_those_of_pairs_of_their_own():
    model = models.live_in(network())
    x = models.samples(model, 60)
    converted = kp.convert(model, rescale="none")
    initial = converted.get_weights()
    samples = check_samples(model, x)
    pair = ModelPair(model, converted, samples)
    calibrator = LayerwiseCalibrator(pair, samples, CalibrationConfig())
    for slope in (0.25, 0.1):
        converted.set_weights(initial)
        expected = calibrated_at(slope, model, kp.convert(model, rescale="none"), x)
        for _, layer in prelu_layers(converted):
            set_slope(layer, slope)
        calibrator.run()
        for one, other in zip(converted.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_weights_are_compared_as_they_are_now():
    model = models.live_in(models.mlp())
    converted = kp.convert(model, rescale="none")
    pair = ModelPair(model, converted, check_samples(model, models.samples(model, 10)))
    first = pair.plan.steps[0]
    assert pair.computes_the_same(first)
    first.operation.bias.assign(first.operation.bias + 1.0)
    assert not pair.computes_the_same(first)


@pytest.mark.parametrize("function", [kp.calibrate, kp.distill, kp.find_slopes])
@pytest.mark.parametrize("make", [network, models.mlp], ids=["custom", "mlp"])
def test_exchanged_models_are_refused_and_unchanged(function, make):
    model = models.live_in(make())
    x = models.samples(model, 20)
    converted = kp.convert(model, rescale="none", alpha=0.25)
    before = [weight.copy() for weight in (*model.get_weights(), *converted.get_weights())]
    with pytest.raises(InvalidArgumentError, match="exchanged"):
        function(model, converted, x)
    with pytest.raises(InvalidArgumentError, match="the same model"):
        function(converted, converted, x)
    for wrong, name in ((None, "original"), (3.0, "original")):
        with pytest.raises(InvalidArgumentError, match=f"`{name}` must be"):
            function(converted, wrong, x)
    with pytest.raises(InvalidArgumentError, match="`converted` must be"):
        function(x, model, x)
    after = (*model.get_weights(), *converted.get_weights())
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))
