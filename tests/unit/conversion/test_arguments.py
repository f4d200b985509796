"""keras_prelu.conversion.arguments: what a conversion does, decided from its arguments alone."""

import pytest

from keras_prelu.conversion.arguments import RescalingDecision, decide_rescaling, limit_slope


@pytest.mark.parametrize(
    ("alpha", "rescale", "has_samples", "method", "slope"),
    [
        (0.25, "auto", True, "calibrated", 0.25),
        (0.25, "auto", False, "moments", 0.05),
        (-0.25, "auto", False, "moments", -0.05),
        (0.03, "auto", False, "moments", 0.03),
        (0.01, "auto", False, "none", 0.01),
        (0.0, "auto", False, "none", 0.0),
        (0.25, "none", False, "none", 0.25),
        (0.25, "analytic", False, "analytic", 0.25),
        (0.25, "moments", False, "moments", 0.25),
        (0.3, "calibrated", True, "calibrated", 0.3),
        ("auto", "auto", True, "calibrated", 0.25),
        ("auto", "calibrated", True, "calibrated", 0.25),
    ],
)
def test_decisions(alpha, rescale, has_samples, method, slope):
    is_cautious = rescale == "auto" and not has_samples and method == "moments"
    assert decide_rescaling(alpha, rescale, has_samples=has_samples) == RescalingDecision(
        method=method,
        slope=slope,
        requested_slope=0.25 if alpha == "auto" else alpha,
        searches_slopes=alpha == "auto",
        is_cautious=is_cautious,
    )


def test_limits_keep_the_sign():
    assert limit_slope(-0.25, 0.05) == -0.05
    assert limit_slope(0.01, 0.05) == 0.01
