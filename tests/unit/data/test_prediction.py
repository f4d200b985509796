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


@pytest.mark.parametrize(("own", "parts", "hosts"), [(4, 2, 1), (4, 3, 1), (5, 2, 1), (None, 2, 2)])
@pytest.mark.parametrize("count", [1, 9, 10])
def test_a_fixed_batch_size_is_kept_on_several_devices(own, parts, hosts, count, monkeypatch):
    inputs = keras.Input((2,), batch_size=own)
    model = keras.Model(inputs, [inputs * 2.0, keras.ops.sum(inputs, axis=-1)])
    sizes, call = set(), keras.Model.__call__

    def heard(self, x, *arguments, **options):
        sizes.add(x.shape[0])
        return call(self, x, *arguments, **options)

    monkeypatch.setattr(prediction, "replicas", lambda: parts)
    monkeypatch.setattr(prediction, "hosts", lambda: hosts)
    monkeypatch.setattr(keras.Model, "__call__", heard)
    x = np.arange(count * 2.0, dtype="float32").reshape(count, 2)
    doubled, summed = predict(model, x)
    np.testing.assert_array_equal(doubled, 2 * x)
    np.testing.assert_array_equal(summed, x.sum(axis=1))
    assert sizes == {own or 32}
