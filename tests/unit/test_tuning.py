"""keras_prelu.tuning: a trial gets slopes that the layer, the conversion and the optimizer take."""

from contextlib import contextmanager

import keras
import keras_tuner as kt
import numpy as np
import pytest

import keras_prelu as kp
from tests.helpers import models


class Trial:
    """The hyperparameters of a trial that has chosen: what is asked for, and what is returned."""

    def __init__(self, **choices):
        self.choices, self.asked, self._parent = choices, {}, None

    def Choice(self, name, values):  # noqa: N802
        return self._get(name, values)

    def Float(self, name, low, high, sampling=None):  # noqa: N802
        return self._get(name, (low, high, sampling))

    @contextmanager
    def conditional_scope(self, parent, values):
        self._parent = self.choices[parent] in values
        yield
        self._parent = None

    def _get(self, name, values):
        self.asked[name] = values
        return None if self._parent is False else self.choices[name]


def test_each_map_is_tried_with_the_slopes_that_it_can_represent():
    trial = Trial(
        slope_parameterization="exp",
        slope_alpha_exp=0.25,
        slope_alpha_identity=0.0,
        slope_shared_axes="channel_shared",
        slope_multiplier=3.0,
    )
    chosen = kp.tuning.space(trial)
    assert chosen == kp.tuning.SlopeChoice(
        parameterization="exp", alpha=0.25, shared_axes="channel_shared", multiplier=3.0
    )
    assert trial.asked == {
        "slope_parameterization": ["identity", "exp"],
        "slope_alpha_identity": [0.0, 0.05, 0.25],
        "slope_alpha_exp": [0.05, 0.25],
        "slope_shared_axes": ["channel_wise", "channel_shared"],
        "slope_multiplier": (0.1, 30.0, "log"),
    }


def test_what_is_chosen_are_arguments():
    chosen = kp.tuning.SlopeChoice(
        parameterization="exp", alpha=0.1, shared_axes="channel_shared", multiplier=3.0
    )
    layer = kp.PReLU(**chosen.layer)
    layer.build((None, 5))
    assert keras.ops.convert_to_numpy(layer.alpha) == pytest.approx(0.1)
    model = models.live_in(models.mlp())
    x = models.samples(model, 60)
    converted = kp.convert(model, **chosen.conversion, calibration_data=x)
    for slopes in kp.diagnostics.layer_slopes(converted):
        assert (slopes.count, slopes.mean) == (1, pytest.approx(0.1))
    assert kp.SlopeOptimizer("adam", **chosen.optimizer).multiplier == 3.0
    parts = [(x[:40], np.tanh(x[:40, :3])), (x[40:], np.tanh(x[40:, :3]))]
    result = kp.finetune(
        converted, *parts, control=False, epochs=1, loss="mse", **chosen.finetuning
    )
    assert result.slope_multiplier == 3.0


def test_every_combination_that_keras_tuner_draws_is_one_that_a_layer_takes():
    maps = (*kp.parameterizations.names(), "positive")
    hp = kt.HyperParameters()
    kp.tuning.space(hp, name="first", parameterizations=maps)
    seen = set()
    for seed in range(60):
        for each in hp.space:
            hp.values[each.name] = each.random_sample(seed + len(each.name))
        chosen = kp.tuning.space(hp, name="first", parameterizations=maps)
        kp.PReLU(**chosen.layer)
        assert 0.1 <= chosen.multiplier <= 30.0
        seen.add((chosen.parameterization, chosen.alpha))
    assert {name for name, _ in seen} == set(maps)
    assert {alpha for name, alpha in seen if name == "identity"} == {0.0, 0.05, 0.25}
    assert {alpha for name, alpha in seen if name == "exp"} == {0.05, 0.25}


def test_what_no_search_can_use_is_refused():
    hp = kt.HyperParameters()
    with pytest.raises(ValueError, match="outside of"):
        kp.tuning.space(hp, alphas=(0.0,))  # "exp" has no slope of 0.
    with pytest.raises(ValueError, match="`alphas` is empty"):
        kp.tuning.space(hp, alphas=())
    with pytest.raises(ValueError, match="must be one of 'exp'"):
        kp.tuning.space(hp, parameterizations=("linear",))
    with pytest.raises(ValueError, match="multipliers"):
        kp.tuning.space(hp, multipliers=(3.0, 1.0))
