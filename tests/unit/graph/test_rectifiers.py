"""keras_prelu.graph.rectifiers: the classification, on plain dicts."""

import numpy as np
import pytest

from keras_prelu.graph.rectifiers import Rectifier, applied, classify


@pytest.mark.parametrize(
    ("class_name", "config", "expected"),
    [
        ("ReLU", {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}, Rectifier("relu")),
        (
            "ReLU",
            {"max_value": 6, "negative_slope": 0.1, "threshold": 0},
            Rectifier("relu", 0.1, 6.0),
        ),
        ("LeakyReLU", {"negative_slope": 0.3}, Rectifier("leaky_relu", 0.3)),
        ("PReLU", {"shared_axes": [1, 2]}, Rectifier("prelu", None)),
        ("Relu6", {}, Rectifier("op", 0.0, 6.0)),
        ("LeakyRelu", {"negative_slope": 0.05}, Rectifier("op", 0.05)),
        ("ELU", {}, Rectifier("elu", smooth="elu")),
        ("Gelu", {}, Rectifier("op", smooth="gelu")),
        ("Clip", {"x_min": 0, "x_max": 6}, Rectifier("op", 0.0, 6.0)),
        ("Clip", {"x_min": np.float32(0), "x_max": np.float32(4)}, Rectifier("op", 0.0, 4.0)),
        ("Clip", {"x_min": 0, "x_max": np.full(3, 4.0)}, Rectifier("op", 0.0, 4.0)),
        ("Clip", {"x_min": 0, "x_max": np.inf}, Rectifier("op")),
        ("Clip", {"x_min": 0, "x_max": None}, Rectifier("op")),
        ("Clip", {"x_min": 0, "x_max": np.array([4.0, 5.0])}, None),
        ("Clip", {"x_min": 0, "x_max": 0}, None),
        ("Clip", {"x_min": -1, "x_max": 6}, None),
        ("Maximum", {"constant": 0}, Rectifier("op")),
        ("Maximum", {"constant": np.float32(0)}, Rectifier("op")),
        ("Maximum", {"constant": np.zeros(3)}, Rectifier("op")),
        ("Maximum", {"constant": np.array([0.0, 1.0])}, None),
        ("Maximum", {"constant": 1}, None),
        ("Maximum", {}, None),
        ("Threshold", {"threshold": 0.0, "default_value": 0.0}, Rectifier("op")),
        ("Threshold", {"threshold": 1.0, "default_value": 0.0}, None),
        ("LeakyRelu", {"negative_slope": np.array([0.1, 0.2])}, None),
        ("ReLU", {"max_value": np.array([0.1, 0.2])}, None),
        ("BatchNormalization", {}, None),
    ],
)
def test_classification(class_name, config, expected):
    assert classify(class_name, config) == expected


@pytest.mark.parametrize(
    ("class_name", "config", "reason"),
    [
        ("ReLU", {"threshold": 1.0}, "threshold of 1"),
        ("ReLU", {"max_value": 0.0}, "capped at 0"),
        ("PReLU", {"parameterization": "exp"}, "already"),
    ],
)
def test_what_cannot_be_converted_has_a_reason(class_name, config, reason):
    assert reason in classify(class_name, config).reason


@pytest.mark.parametrize(
    ("rectifier", "class_name", "expected"),
    [
        (Rectifier("function", 0.1, 6.0), "Dense", Rectifier("inline", 0.1, 6.0)),
        (Rectifier("leaky_relu", 0.3), "Activation", Rectifier("activation", 0.3)),
        (Rectifier("elu", smooth="elu"), "Conv2D", Rectifier("inline", smooth="elu")),
        (None, "Dense", None),
    ],
)
def test_what_a_layer_applies(rectifier, class_name, expected):
    assert applied(rectifier, class_name) == expected


def test_what_a_layer_applies_and_cannot_be_converted_has_a_reason():
    assert "loop" in applied(Rectifier("function"), "LSTM").reason
    assert "inside" in applied(Rectifier("prelu", None), "Dense").reason
    assert applied(Rectifier("prelu", None, reason="already"), "Dense").reason == "already"
