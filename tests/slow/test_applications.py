"""Conversion at slope 0 is exact, bit for bit, on the networks of keras.applications."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from tests.helpers import models

SITES = {
    "ResNet50": 49,
    "VGG16": 15,
    "DenseNet121": 121,
    "InceptionV3": 94,
    "Xception": 35,
    "NASNetMobile": 192,
}


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", SITES)
def test_bit_for_bit(name):
    size = 75 if name in ("InceptionV3", "Xception") else 32
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), include_top=False, pooling="avg"
    )
    models.live_in(model)
    sites = kp.find_sites(model)
    assert len([site for site in sites if site.convertible]) == len(sites)
    assert len(sites) == SITES[name] - (
        2 if name == "VGG16" else 0
    )  # two of VGG16's are in its top
    converted = kp.convert(model, alpha=0.0, parameterization="identity", rescale="none")
    x = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype("float32")
    assert (
        keras.ops.convert_to_numpy(converted(x)).tobytes()
        == keras.ops.convert_to_numpy(model(x)).tobytes()
    )
    assert len(kp.diagnostics.layer_slopes(converted)) == len(sites)
