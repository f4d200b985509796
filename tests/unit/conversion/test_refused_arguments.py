"""Arguments without a meaning are one line that names the argument, before anything is computed."""

import numpy as np
import pytest

import keras_prelu as kp
from tests.helpers import models

MODEL = models.live_in(models.mlp())
X = models.samples(MODEL, 40)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kp.convert(MODEL, alpha=np.array([0.1, 0.2])), "`alpha` must be a finite number"),
        (lambda: kp.convert(MODEL, include=MODEL.layers[0]), "name of the layer: 'first'"),
        (lambda: kp.convert(MODEL, exclude=[MODEL.layers[0]]), "name of the layer: 'first'"),
        (lambda: kp.convert(MODEL, alpha_regularizer="nope"), "`alpha_regularizer` must be"),
        (lambda: kp.convert(MODEL, beta_regularizer="nope"), "`beta_regularizer` must be"),
        (lambda: kp.equalize(MODEL, passes="3"), "`passes` must be an integer"),
        (lambda: kp.equalize(MODEL, passes=2.5), "`passes` must be an integer"),
        (lambda: kp.diagnose(MODEL, X, loss="nope"), "There is no Keras loss 'nope'"),
        *(
            (
                lambda value=value: kp.convert(
                    MODEL, alpha="auto", tolerance=value, calibration_data=X
                ),
                "`tolerance` must be a finite number of at least 0",
            )
            for value in (-1, float("nan"), "0.1")
        ),
    ],
)
def test_one_line(call, message):
    with pytest.raises(kp.errors.InvalidArgumentError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
