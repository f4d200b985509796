"""keras_prelu.diagnostics.slopes: summaries of slopes by layer."""

import numpy as np

import keras_prelu as kp
from tests.helpers import models


def test_summaries_of_all_layers_by_path():
    converted = kp.convert(models.nested(), alpha=0.3, rescale="none")
    converted.get_layer("backbone").get_layer("relu").beta.assign(
        np.log(np.linspace(0.1, 0.8, 8)).reshape(1, 1, 8)
    )
    first, second = kp.diagnostics.layer_slopes(converted)
    assert (first.path, first.count, second.path, second.count) == (
        "backbone/relu",
        8,
        "backbone/innermost/deep_prelu",
        4,
    )
    np.testing.assert_allclose(
        [first.mean, first.minimum, first.maximum], [0.45, 0.1, 0.8], rtol=1e-5
    )
    np.testing.assert_allclose([second.mean, second.minimum, second.maximum], 0.3, rtol=1e-5)


def test_a_shared_model_is_listed_once():
    assert len(kp.diagnostics.layer_slopes(kp.convert(models.siamese(), rescale="none"))) == 1
    assert kp.diagnostics.layer_slopes(models.mlp()) == ()
