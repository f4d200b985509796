"""Predictions on several devices, for numbers of samples that they can't divide."""

import keras
import numpy as np
import pytest

from keras_prelu.data import prediction
from keras_prelu.data.prediction import predict


@pytest.mark.parametrize("count", [1, 33, 64])
@pytest.mark.parametrize("parts", [1, 3, 4])
def test_predictions_are_those_of_one_device(count, parts, monkeypatch):
    inputs = {"a": keras.Input((2,), name="a"), "b": keras.Input((1,), name="b")}
    model = keras.Model(inputs, {"sum": keras.layers.Concatenate()([inputs["a"], inputs["b"]])})
    x = {"a": np.arange(count * 2.0).reshape(count, 2), "b": np.arange(count * 1.0)[:, None]}
    sizes = []
    call = model.predict

    def divided(samples, batch_size=None, **options):
        length = len(samples["a"])
        sizes.extend({batch_size or 32, length % (batch_size or 32)} - {0})
        return call(samples, batch_size=batch_size, **options)

    monkeypatch.setattr(prediction, "replicas", lambda: parts)
    monkeypatch.setattr(model, "predict", divided)
    found = predict(model, x)["sum"]
    np.testing.assert_array_equal(found, np.concatenate([x["a"], x["b"]], axis=1))
    assert all(size % parts == 0 for size in sizes)
