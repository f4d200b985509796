"""The networks of keras.applications: which sites are converted, and that conversion at slope 0 is
exact, bit for bit."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from tests.helpers import models

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


EXACT = ("ResNet50", "VGG16", "DenseNet121", "InceptionV3", "Xception", "NASNetMobile")


@pytest.mark.parametrize(
    "name",
    [
        # Keras does not build NASNet on PyTorch.
        pytest.param(name, marks=pytest.mark.tensorflow if name == "NASNetMobile" else ())
        for name in BY_DEFAULT
    ],
)
def test_ordinary_sites_are_converted_by_default_and_exactly(name):
    """Gates, as in hard-sigmoid blocks, and smooth activations are not."""
    size = 75 if name.startswith(("Inception", "Xception")) else 32
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=10)
    sites = kp.find_sites(model)
    assert (len(sites), sum(not site.on_request for site in sites)) == BY_DEFAULT[name]
    for site in sites:
        assert site.convertible
        assert not site.on_request or site.is_smooth or "gate" in site.reason
    if name in EXACT:
        check_bit_for_bit(models.live_in(model))


def check_bit_for_bit(model):
    converted = kp.convert(
        model, alpha=0.0, parameterization="identity", rescale="none", include="*"
    )
    x = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype("float32")
    assert (
        keras.ops.convert_to_numpy(converted(x)).tobytes()
        == keras.ops.convert_to_numpy(model(x)).tobytes()
    )
    assert len(kp.diagnostics.layer_slopes(converted)) == len(kp.find_sites(model))
