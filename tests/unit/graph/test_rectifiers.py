"""keras_prelu.graph.rectifiers: the classification, on plain dicts."""

import pytest

from keras_prelu.graph.rectifiers import Rectifier, classify


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
        ("Activation", {"activation": "relu"}, Rectifier("activation")),
        ("Activation", {"activation": "relu6"}, Rectifier("activation", 0.0, 6.0)),
        ("Conv2D", {"activation": "leaky_relu"}, Rectifier("inline", 0.2)),
        (
            "Dense",
            {"activation": {"class_name": "ReLU", "config": {"max_value": 2.0}}},
            Rectifier("inline", 0.0, 2.0),
        ),
        ("Relu6", {}, Rectifier("op", 0.0, 6.0)),
        ("LeakyRelu", {"negative_slope": 0.05}, Rectifier("op", 0.05)),
        ("Activation", {"activation": "sigmoid"}, None),
        ("Dense", {"activation": "linear"}, None),
        (
            "Dense",
            {"activation": {"class_name": "ELU", "config": {}}},
            Rectifier("inline", smooth="elu"),
        ),
        (
            "Dense",
            {"activation": {"class_name": "function", "module": "builtins", "config": "relu6"}},
            Rectifier("inline", 0.0, 6.0),
        ),
        (
            "Dense",
            {"activation": {"class_name": "function", "module": "mine", "config": "relu"}},
            None,
        ),
        ("ELU", {}, Rectifier("elu", smooth="elu")),
        ("Activation", {"activation": "swish"}, Rectifier("activation", smooth="silu")),
        ("Gelu", {}, Rectifier("op", smooth="gelu")),
        ("Clip", {"x_min": 0, "x_max": 6}, Rectifier("op", 0.0, 6.0)),
        ("Clip", {"x_min": -1, "x_max": 6}, None),
        ("Maximum", {"constant": 0}, Rectifier("op")),
        ("Maximum", {"constant": 1}, None),
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
        ("LSTM", {"activation": "relu"}, "loop"),
        ("Dense", {"activation": {"class_name": "PReLU", "config": {}}}, "inside"),
    ],
)
def test_what_cannot_be_converted_has_a_reason(class_name, config, reason):
    assert reason in classify(class_name, config).reason
