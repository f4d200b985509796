"""A calibration that runs out of memory names the layer, what is missing, and what to do."""

import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.calibration import refit_layers
from keras_prelu.calibration.out_of_memory import naming_layer
from tests.helpers import models


class ResourceExhaustedError(Exception):
    """Named like TensorFlow's."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 32.0 GiB for an array with shape (65537, 65537)"),
        ResourceExhaustedError("Unable to allocate 32.0 GiB for an array.\nmore lines"),
        RuntimeError("[enforce fail] can't allocate memory: Unable to allocate 32.0 GiB"),
    ],
)
def test_the_layer_and_the_size_are_named_and_weights_are_as_before(error, monkeypatch):
    model = models.live_in(models.mlp())
    converted = kp.convert(model, alpha=0.25, rescale="none")
    before = converted.get_weights()

    fits, fit_layer = [], refit_layers.fit_layer

    def second_fails(*args, **kwargs):
        fits.append(args)
        if len(fits) == 2:
            raise error
        return fit_layer(*args, **kwargs)

    monkeypatch.setattr(refit_layers, "fit_layer", second_fails)
    with pytest.raises(kp.errors.CalibrationError) as caught:
        kp.calibrate(converted, model, models.samples(model, 60))
    message = str(caught.value)
    assert f"'{fits[1][0].layer.name}'" in message
    assert "32.0 GiB" in message
    assert "--memory-limit" in message
    assert "\n" not in message
    for old, new in zip(before, converted.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_other_errors_stay_as_they_are():
    with pytest.raises(ValueError, match="other"), naming_layer("conv"):
        raise ValueError("other")
