"""keras_prelu.data.value_range: pixels that do not fit a model's first layers."""

import warnings

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.data.value_range import range_misfit
from keras_prelu.errors import KerasPReLUWarning

L = keras.layers
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3)).astype("uint8")
UNIT = (PIXELS / 255.0).astype("float32")
CENTRED = (UNIT * 2 - 1).astype("float32")


def network(*first):
    return keras.Sequential(
        [keras.Input((6, 6, 3)), *first, L.Conv2D(2, 3, activation="relu"), L.Flatten(), L.Dense(2)]
    )


def nested():
    return keras.Sequential([keras.Input((6, 6, 3)), L.RandomFlip(), network(L.Rescaling(1 / 255))])


def normalized(data):
    layer = L.Normalization()
    layer.adapt(data)
    return network(layer)


def divides_by_an_operation():
    inputs = keras.Input((6, 6, 3))
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(L.Conv2D(2, 3)(inputs / 255.0))))


@keras.saving.register_keras_serializable("tests.range")
class Scales(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.scale, self.conv = L.Rescaling(1 / 255), L.Conv2D(2, 3, activation="relu")

    def call(self, x):
        return self.conv(self.scale(x))


def subclassed():
    model = Scales()
    model(UNIT)
    return model


@pytest.mark.parametrize(
    ("make", "x", "said"),
    [
        (network, UNIT, ""),
        (network, CENTRED, ""),
        (network, PIXELS, "no first layer"),
        (network, PIXELS.astype("float32"), "no first layer"),
        (network, UNIT * 0, ""),
        (lambda: network(L.Rescaling(1 / 255)), PIXELS, ""),
        (lambda: network(L.Rescaling(1 / 255)), UNIT, "scaled twice"),
        (lambda: network(L.Rescaling(1 / 127.5, offset=-1)), UNIT, "scaled twice"),
        (lambda: network(L.Rescaling(1 / 127.5, offset=-1)), PIXELS, ""),
        (lambda: network(L.Rescaling(2.0)), PIXELS, "scales them only to 0 to"),
        (nested, PIXELS, ""),
        (nested, UNIT, "scaled twice"),
        (lambda: normalized(PIXELS), PIXELS, ""),
        (lambda: normalized(PIXELS), UNIT, "scaled twice"),
        (lambda: normalized(UNIT), UNIT, ""),
        (lambda: normalized(UNIT), PIXELS, "scales them only to"),
        (lambda: network(L.BatchNormalization()), PIXELS, ""),  # Not followed.
        (divides_by_an_operation, PIXELS, ""),
        (divides_by_an_operation, UNIT, ""),
        (subclassed, PIXELS, ""),
        (subclassed, UNIT, "scaled twice"),
    ],
)
def test_ranges(make, x, said):
    misfit = range_misfit(make(), x)
    assert said in misfit
    assert bool(misfit) == bool(said)


def test_samples_that_are_no_images():
    model = keras.Sequential([keras.Input((5,)), L.Dense(2, activation="relu")])
    assert range_misfit(model, np.arange(50.0).reshape(10, 5)) == ""


@pytest.mark.parametrize(
    "use",
    [
        lambda model: kp.diagnostics.dead_units(model, PIXELS),
        lambda model: kp.diagnostics.diagnose(model, PIXELS),
        lambda model: kp.compare(model, model, (PIXELS, np.arange(8) % 2)),
        lambda model: kp.convert(model, calibration_data=PIXELS),
        lambda model: kp.revive(model, PIXELS),
    ],
)
def test_public_functions_warn_once(use):
    model = network()
    with pytest.warns(KerasPReLUWarning, match=r"reach from \d to 255, and no first layer") as seen:
        use(model)
    assert [warning.category for warning in seen].count(KerasPReLUWarning) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", KerasPReLUWarning)
        use(model)
