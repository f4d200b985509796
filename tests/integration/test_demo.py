"""keras_prelu.demo: how well conversions preserve a network trained on the bundled digits."""

import keras
import numpy as np
import pytest

from keras_prelu.demo import digits_network, run_demo


@pytest.mark.slow
@pytest.mark.tensorflow  # The fastest for convolutions on CPUs.
def test_calibration_keeps_the_function_and_nothing_else_does():
    demo = run_demo((0,), epochs=12)
    assert demo.original_accuracy[0] > 97.0
    changes = {
        conversion.rescale: (conversion.accuracy_change[0], conversion.logit_error[0])
        for conversion in demo.conversions
    }
    assert list(changes) == ["none", "analytic", "calibrated"]
    assert changes["none"][0] < -5.0
    assert changes["analytic"][1] > 0.1
    assert changes["calibrated"][0] >= -1.0  # one seed; three of 360 samples
    assert changes["calibrated"][1] <= 0.01

    result = demo.comparison
    assert result.samples == 360
    np.testing.assert_allclose(100 * result.a, demo.tuned_accuracy[0])
    np.testing.assert_allclose(100 * result.b, demo.control_accuracy[0])
    assert demo.first.model is not demo.converted
    assert (result.verdict == "better") == (
        result.low > 0 and (result.p_value is None or result.p_value < 0.05)
    )


def test_the_network():
    model = digits_network()
    assert sum(isinstance(layer, keras.layers.ReLU) for layer in model.layers) == 4
    assert model.output_shape == (None, 10)
