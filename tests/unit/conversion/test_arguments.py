"""keras_prelu.conversion.arguments: what a conversion does, decided from its arguments alone."""

import pytest

import keras_prelu as kp
from keras_prelu.conversion.arguments import choose_method, choose_slopes

POSITIVE = kp.constraints.AtLeast().minimum


@pytest.mark.parametrize(
    ("alpha", "parameterization", "rescale", "has_samples", "slope", "name"),
    [
        (None, None, "auto", False, 0.0, "identity"),
        (None, "identity", "auto", False, 0.0, "identity"),
        (None, None, "auto", True, 0.25, "exp"),
        (None, None, "calibrated", True, 0.25, "exp"),
        (None, None, "none", False, 0.25, "exp"),
        (None, "identity", "moments", False, 0.25, "identity"),
        (None, "identity", "auto", True, 0.25, "identity"),
        (None, "square", "auto", False, 0.25, "square"),
        (None, kp.parameterizations.Sigmoid(), "auto", False, 0.25, "sigmoid"),
        (None, "positive", "auto", False, POSITIVE, "identity"),
        (None, "positive", "auto", True, POSITIVE, "identity"),
        (0.1, "positive", "none", False, 0.1, "identity"),
        (0.1, None, "auto", False, 0.1, "exp"),
        (0, None, "auto", True, 0.0, "identity"),
        (-0.1, None, "none", False, -0.1, "identity"),
        ("auto", None, "auto", True, 0.25, "exp"),
    ],
)
def test_slopes(alpha, parameterization, rescale, has_samples, slope, name):
    chosen = choose_slopes(alpha, parameterization, rescale, has_samples=has_samples)
    assert (chosen.slope, chosen.parameterization.name) == (slope, name)
    assert (chosen.constraint is not None) == (parameterization == "positive")
    assert chosen.are_searched == (alpha == "auto")


@pytest.mark.parametrize(
    ("rescale", "has_samples", "method"),
    [
        ("auto", True, "calibrated"),
        ("auto", False, "none"),
        ("none", False, "none"),
        ("moments", True, "moments"),
        ("analytic", False, "analytic"),
        ("calibrated", True, "calibrated"),
    ],
)
def test_methods(rescale, has_samples, method):
    assert choose_method(rescale, has_samples=has_samples) == method


def test_a_slope_below_the_minimum_of_positive_is_refused():
    with pytest.raises(ValueError, match=r"The slope 0\.0005 is below 0\.001.*'identity'"):
        choose_slopes(0.0005, "positive", "none", has_samples=False)
