"""keras_prelu.training.config: settings are checked where they are given, and given once."""

import pytest

import keras_prelu as kp
from keras_prelu.training.config import merge


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (kp.FitConfig, {"epochs": 0}, "epochs=0"),
        (kp.FitConfig, {"batch_size": 0}, "batch_size=0"),
        (kp.FitConfig, {"optimizer": "adam", "learning_rate": 0.1}, "learning_rate=0.1"),
        (kp.SlopeConfig, {"multiplier": 0.0}, "multiplier=0.0"),
        (kp.SlopeConfig, {"multiplier": "2"}, "multiplier='2'"),
        (kp.SlopeConfig, {"clipnorm": True}, "clipnorm=True"),
        (kp.SlopeConfig, {"frozen_epochs": -1}, "frozen_epochs=-1"),
        (kp.SlopeConfig, {"warmup_epochs": -0.5}, "warmup_epochs=-0.5"),
    ],
)
def test_settings_out_of_range(kind, settings, message):
    with pytest.raises(kp.errors.InvalidArgumentError, match=message):
        kind(**settings)


def test_slopes_train_at_their_full_rate_before_the_end():
    slopes = kp.SlopeConfig(frozen_epochs=1.5, warmup_epochs=0.5)
    slopes.check_within(2)
    with pytest.raises(kp.errors.InvalidArgumentError, match=r"within the 1 epochs.*1\.5 and 0\.5"):
        slopes.check_within(1)


def test_settings_are_given_one_way():
    single = {"epochs": 3, "batch_size": None, "seed": 0}
    assert merge(kp.FitConfig, None, single, role="fit") == kp.FitConfig(epochs=3)
    config = kp.FitConfig(epochs=3)
    assert merge(kp.FitConfig, config, dict.fromkeys(single), role="fit") is config
    with pytest.raises(kp.errors.InvalidArgumentError, match="both ways: `epochs`, `seed` beside"):
        merge(kp.FitConfig, config, single, role="fit")
    with pytest.raises(kp.errors.InvalidArgumentError, match=r"`fit` must be a FitConfig.* dict"):
        merge(kp.FitConfig, {"epochs": 3}, {}, role="fit")
