"""profile="deployment": one bounded slope a layer, and no caps that cut off next to nothing."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.constraints import Between
from keras_prelu.errors import InvalidArgumentError, KerasPReLUWarning
from keras_prelu.sites.clipping import clipped_shares
from keras_prelu.sites.prelu_layers import prelu_layers
from tests.helpers import custom, models

L = keras.layers
CAP = 1.0


def capped():
    """A ReLU layer, an inline ReLU6 and an uncapped ReLU; the first cap cuts off a tenth."""
    inputs = keras.Input((4, 4, 2))
    x = L.ReLU(CAP, name="low")(inputs)
    x = L.Conv2D(3, 2, activation="relu6", name="high")(x)
    x = L.Conv2D(3, 1, activation="relu", name="open")(x)
    return models.live_in(keras.Model(inputs, L.Dense(2)(L.Flatten()(x)), name="capped"))


def samples(share):
    """Images of which a share of the pixels is above the cap and all others are at most half of
    it."""
    x = np.random.default_rng(0).uniform(-0.5, 0.5, 64 * 32).astype("float32")
    x[: round(share * len(x))] = 2 * CAP
    return x.reshape(64, 4, 4, 2)


def prelus(model):
    return {layer.name: layer for layer in model.layers if isinstance(layer, kp.PReLU)}


def test_layers_have_one_slope_within_bounds():
    model = capped()
    converted = kp.convert(model, profile="deployment", calibration_data=samples(0.0))
    assert all(layer.alpha.shape[-1] == 1 for layer in prelus(converted).values())
    for layer in prelus(converted).values():
        constraint = layer.alpha_constraint
        assert isinstance(constraint, Between)
        assert (constraint.minimum, constraint.maximum) == (0.001, 1.0)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(layer.alpha), 0.001)
    error = kp.theory.relative_error(
        *(m.predict(samples(0), verbose=0) for m in (converted, model))
    )
    assert error < 1e-3


def test_caps_that_cut_off_next_to_nothing_are_removed():
    conversion = kp.run_conversion(
        capped(), profile="deployment", calibration_data=samples(1 / 2048)
    )
    low, high = conversion.caps
    assert (low.path, low.max_value, low.removed) == ("low", CAP, True)
    assert low.clipped == pytest.approx(1 / 2048)
    assert (high.path, high.clipped, high.removed) == ("high", 0.0, True)
    assert {layer.max_value for layer in prelus(conversion.model).values()} == {None}


def test_caps_that_cut_off_more_stay_and_are_named():
    with pytest.warns(KerasPReLUWarning, match=r"caps of 1 of 2 sites stay.*'low' \(10\.0%\)"):
        conversion = kp.run_conversion(
            capped(), profile="deployment", calibration_data=samples(0.1)
        )
    assert [cap.removed for cap in conversion.caps] == [False, True]
    assert prelus(conversion.model)["low"].max_value == CAP


def test_without_samples_all_caps_stay():
    with pytest.warns(KerasPReLUWarning, match="caps of 2 sites stay.*calibration_data"):
        conversion = kp.run_conversion(capped(), profile="deployment")
    assert [(cap.clipped, cap.removed) for cap in conversion.caps] == [(None, False)] * 2


def test_without_caps_nothing_is_said():
    assert kp.run_conversion(models.mlp(), profile="deployment").caps == ()
    assert kp.run_conversion(capped()).caps == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "phone"}, "`profile` must be one of 'deployment', or None. Received: 'phone'"),
        ({"shared_axes": None}, "sets shared_axes='channel_shared': leave it out"),
        ({"parameterization": "exp"}, "needs slopes of at most 1: .* Received: 'exp'"),
        ({"alpha": 1.5, "rescale": "none"}, "Slopes from 1.5 to 1.5 are not within 0.001 and 1"),
    ],
)
def test_arguments_that_contradict_the_profile(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        kp.convert(models.mlp(), **{"profile": "deployment", **arguments})


def test_the_sigmoid_keeps_its_own_bounds():
    converted = kp.convert(
        models.mlp(), profile="deployment", parameterization="sigmoid", rescale="none"
    )
    assert {layer.parameterization.name for layer in prelus(converted).values()} == {"sigmoid"}


def test_shares_are_those_of_all_outputs():
    """In batches of unequal size."""
    x = samples(0.1)
    shares = clipped_shares(capped(), x, [x], batch_size=60)
    assert shares == {"low": pytest.approx(round(0.1 * x.size) / x.size), "high": 0.0}


def test_caps_inside_python_code_are_measured_and_removed():
    inputs = keras.Input((4, 4, 2))
    model = models.live_in(keras.Model(inputs, custom.Block(3, name="block")(inputs)))
    conversion = kp.run_conversion(
        model, profile="deployment", calibration_data=0.1 * samples(0.0), rescale="none"
    )
    assert [(cap.path, cap.clipped, cap.removed) for cap in conversion.caps] == [
        ("block/stack[1]", 0.0, True)
    ]
    caps = {layer.max_value for _, layer in prelu_layers(conversion.model)}
    assert caps == {None}
