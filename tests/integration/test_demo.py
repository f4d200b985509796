"""keras_prelu.demo: a network that goes on learning, and a healthy one."""

import keras
import numpy as np
import pytest

from keras_prelu.demo import digits_network, going_on, run_demo


@pytest.mark.slow
@pytest.mark.tensorflow  # The backend that `make demo` runs on.
def test_the_demonstration(monkeypatch):
    monkeypatch.setattr(going_on, "BEFORE", 3)
    monkeypatch.setattr(going_on, "AFTER", 2)
    stages = []
    demo = run_demo((0,), epochs=8, on_progress=stages.append)
    learning = demo.going_on
    assert np.shape(learning.before) == (1, 3)
    names = [curve.name for curve in learning.curves]
    assert names == [
        "ReLU going on",
        "converted once",
        "fresh ReLU network",
        "fresh network with slopes",
    ]
    # Every network learns each task: nine in ten digits would be wrong by chance.
    assert all(max(curve.errors[0]) < 25.0 for curve in learning.curves)
    assert len(stages) == 7

    healthy = demo.healthy
    assert healthy.largest_difference == 0.0
    tuning = healthy.tuning
    assert tuning.comparison.samples == 360
    assert tuning.control.score_before == tuning.prelu.score_before > 0.9
    assert tuning.model is not healthy.converted


def test_tasks_are_the_same_digits_in_another_order_of_pixels():
    digits = going_on.data.load("digits")
    first, second = (going_on._task(digits, 0, number) for number in (0, 1))
    pixels = digits.train.x.reshape(-1, 64)
    for task in (first, second):
        np.testing.assert_array_equal(np.sort(task.train.x, axis=1), np.sort(pixels, axis=1))
        np.testing.assert_array_equal(task.train.y, digits.train.y)
    assert not np.array_equal(first.train.x, second.train.x)
    again = going_on._task(digits, 0, 1)
    np.testing.assert_array_equal(again.test.x, second.test.x)


def test_the_healthy_network():
    model = digits_network()
    assert sum(isinstance(layer, keras.layers.ReLU) for layer in model.layers) == 4
    assert model.output_shape == (None, 10)
