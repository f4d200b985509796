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
    converted = kp.convert(
        model, alpha=0.0, parameterization="identity", rescale="none", include="*"
    )
    x = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype("float32")
    assert (
        keras.ops.convert_to_numpy(converted(x)).tobytes()
        == keras.ops.convert_to_numpy(model(x)).tobytes()
    )
    assert len(kp.diagnostics.layer_slopes(converted)) == len(sites)


BY_DEFAULT = {
    "DenseNet121": (121, 121),
    "EfficientNetB0": (49, 0),
    "EfficientNetV2B0": (55, 0),
    "InceptionResNetV2": (243, 243),
    "InceptionV3": (94, 94),
    "MobileNet": (27, 27),
    "MobileNetV2": (35, 35),
    "MobileNetV3Large": (48, 19),
    "MobileNetV3Small": (42, 14),
    "NASNetMobile": (192, 192),
    "ResNet50": (49, 49),
    "ResNet50V2": (49, 49),
    "VGG16": (15, 15),
    "VGG19": (18, 18),
    "Xception": (35, 35),
}
"""How many sites a classifier has, and how many of them are converted by default."""


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", BY_DEFAULT)
def test_ordinary_sites_are_converted_by_default(name):
    """Gates, as in hard-sigmoid blocks, and smooth activations are not."""
    size = 75 if name.startswith(("Inception", "Xception")) else 32
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=10)
    sites = kp.find_sites(model)
    assert (len(sites), sum(not site.on_request for site in sites)) == BY_DEFAULT[name]
    for site in sites:
        assert site.convertible
        assert not site.on_request or site.is_smooth or "gate" in site.reason
