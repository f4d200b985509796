"""keras_prelu.theory: closed forms against quadrature, Monte Carlo, finite differences and the
figures of the claims."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import integrate, stats

from keras_prelu import theory
from tests.helpers import references

ALPHAS = st.floats(-1, 2)
MUS = st.floats(-3, 3)
SIGMAS = st.floats(0.2, 3)


def expectation(function, mu, sigma):
    """E[function(x)] for x ~ N(μ, σ²), by adaptive quadrature over z = (x − μ)/σ.

    `function` may have a kink at x = 0, so each side of it is integrated alone. The kink is the
    only inner limit: a second one at μ, which may be as small as 1e-308, would leave an interval
    too short to hold the nodes of a quadrature.
    """
    kink = np.clip(-mu / sigma, -12.0, 12.0)
    return sum(
        integrate.quad(lambda z: function(mu + sigma * z) * stats.norm.pdf(z), low, high)[0]
        for low, high in ((-12.0, kink), (kink, 12.0))
    )


@example(alpha=-1.0, mu=2.225e-308, sigma=0.2)
@given(ALPHAS, MUS, SIGMAS)
def test_moments_equal_quadrature(alpha, mu, sigma):
    phi = lambda x: references.prelu(x, alpha)  # noqa: E731
    derivative = lambda x: 1.0 if x > 0 else alpha  # noqa: E731
    close = {"rtol": 1e-6, "atol": 1e-7}
    mean = expectation(phi, mu, sigma)
    np.testing.assert_allclose(theory.output_mean(alpha, mu, sigma), mean, **close)
    np.testing.assert_allclose(
        theory.output_second_moment(alpha, mu, sigma),
        expectation(lambda x: phi(x) ** 2, mu, sigma),
        **close,
    )
    np.testing.assert_allclose(
        theory.output_variance(alpha, mu, sigma),
        expectation(lambda x: (phi(x) - mean) ** 2, mu, sigma),
        **close,
    )
    covariance = expectation(lambda x: (x - mu) * phi(x), mu, sigma)
    np.testing.assert_allclose(
        theory.input_output_covariance(alpha, mu, sigma), covariance, **close
    )
    np.testing.assert_allclose(
        theory.derivative_mean(alpha, mu, sigma), expectation(derivative, mu, sigma), **close
    )
    relu_mean = expectation(lambda x: max(x, 0.0), mu, sigma)
    covariance = expectation(lambda x: (max(x, 0.0) - relu_mean) * (phi(x) - mean), mu, sigma)
    variance = expectation(lambda x: (phi(x) - mean) ** 2, mu, sigma)
    if variance > 1e-3:
        np.testing.assert_allclose(
            theory.restoring_factor(alpha, mu, sigma), covariance / variance, rtol=1e-4, atol=1e-5
        )
    np.testing.assert_allclose(
        theory.derivative_second_moment(alpha, mu, sigma),
        expectation(lambda x: derivative(x) ** 2, mu, sigma),
        **close,
    )


@given(ALPHAS, SIGMAS)
def test_third_moment_and_skewness_equal_quadrature(alpha, sigma):
    phi = lambda x: references.prelu(x, alpha)  # noqa: E731
    np.testing.assert_allclose(
        theory.output_third_moment(alpha, sigma),
        expectation(lambda x: phi(x) ** 3, 0.0, sigma),
        rtol=1e-6,
        atol=1e-7,
    )
    mean, deviation = theory.output_mean(alpha, 0, 1), np.sqrt(theory.output_variance(alpha, 0, 1))
    if deviation > 0.1:
        expected = expectation(lambda x: ((phi(x) - mean) / deviation) ** 3, 0.0, 1.0)
        np.testing.assert_allclose(theory.output_skewness(alpha), expected, rtol=1e-5, atol=1e-6)


def test_skewness_falls_from_relu_to_linear():
    skewness = theory.output_skewness(np.linspace(0, 1, 11))
    assert np.all(np.diff(skewness) < 0)
    np.testing.assert_allclose(skewness[-1], 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("alpha", "identity", "reconstruction"),
    [(0.0, 0.584, 0.856), (0.25, 0.665, 0.940), (0.5, None, 0.980), (1.0, 1.0, 1.0)],
)
def test_figures_of_claim_8(alpha, identity, reconstruction):
    sigma = 1.7
    if identity is not None:
        np.testing.assert_allclose(
            theory.bn_gamma_identity(alpha, sigma) / sigma, identity, atol=5e-4
        )
    np.testing.assert_allclose(
        theory.bn_gamma_reconstruction(alpha, sigma) / sigma, reconstruction, atol=5e-4
    )


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.7])
def test_gammas_of_claim_8_equal_least_squares(alpha):
    x = np.random.default_rng(0).normal(0, 2.0, 2_000_000)
    y = references.prelu(x, alpha)
    normalized = (y - y.mean()) / y.std()
    np.testing.assert_allclose(theory.bn_gamma_identity(alpha, 2.0), y.std(), rtol=2e-3)
    np.testing.assert_allclose(
        theory.bn_gamma_reconstruction(alpha, 2.0), np.mean(normalized * x), rtol=2e-3
    )


@pytest.mark.parametrize(
    ("alpha", "expected"), [(0, 1.0), (0.01, 0.961), (0.25, 0.36), (0.5, 0.111), (1, 0.0)]
)
def test_figures_of_claim_9(alpha, expected):
    np.testing.assert_allclose(theory.derivative_relative_variance(alpha), expected, atol=5e-4)
    np.testing.assert_allclose(
        theory.derivative_relative_variance(alpha), ((1 - alpha) / (1 + alpha)) ** 2, atol=1e-12
    )


@given(st.floats(0, 2), MUS, SIGMAS)
def test_relative_variance_is_that_of_the_derivative(alpha, mu, sigma):
    mean, second = (
        theory.derivative_mean(alpha, mu, sigma),
        theory.derivative_second_moment(alpha, mu, sigma),
    )
    np.testing.assert_allclose(
        theory.derivative_relative_variance(alpha, mu, sigma),
        (second - mean**2) / mean**2,
        rtol=1e-6,
        atol=1e-6,
    )


def test_a_path_of_negative_pre_activations():
    alpha, weight, depth = 0.3, 1.4, 7
    x = -1.0
    step = 1e-6

    def path(x):
        for _ in range(depth):
            x = references.prelu(weight * x, alpha)
        return float(x)

    np.testing.assert_allclose(
        theory.path_gradient_factor(alpha, weight, depth),
        (path(x + step) - path(x - step)) / (2 * step),
        rtol=1e-6,
    )
    assert theory.path_gradient_factor(0.0, 1.4, 1) == 0.0


def test_second_moment_gain_equals_monte_carlo():
    rng = np.random.default_rng(0)
    alpha, fan_in, variance = 0.4, 50, 0.03
    z = rng.normal(size=(200_000, 1))
    y = references.prelu(z, alpha)
    weights = rng.normal(0, np.sqrt(variance), size=(200_000, fan_in))
    samples = np.sum(weights * references.prelu(rng.normal(size=(200_000, fan_in)), alpha), axis=1)
    np.testing.assert_allclose(
        theory.second_moment_gain(alpha, variance, fan_in), np.mean(samples**2), rtol=0.02
    )
    np.testing.assert_allclose(
        theory.second_moment_gain(alpha, theory.he_variance(alpha, fan_in), fan_in), 1.0
    )
    np.testing.assert_allclose(np.mean(y**2), (1 + alpha**2) / 2, rtol=0.01)
    np.testing.assert_allclose(
        theory.network_gain(0.25, 3), theory.second_moment_gain(0.25, 2 / 8, 8) ** 3
    )


@pytest.mark.parametrize("name", sorted(theory.L2_FIXED_POINTS))
def test_slope_derivatives_equal_finite_differences(name):
    beta, step = np.linspace(-3, 3, 13), 1e-6
    numeric = (theory.slope(name, beta + step) - theory.slope(name, beta - step)) / (2 * step)
    np.testing.assert_allclose(theory.slope_derivative(name, beta), numeric, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(theory.slope(name, 0.0), theory.L2_FIXED_POINTS[name])


@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_equalizing_scales_make_norms_equal(producer, consumer):
    scale = theory.equalizing_scales(producer, consumer)
    np.testing.assert_allclose(scale * producer, consumer / scale)


@given(st.floats(-37, 8))
def test_normal_distribution(r):
    np.testing.assert_allclose(theory.normal_cdf(r), stats.norm.cdf(r), rtol=1e-10, atol=0)
    np.testing.assert_allclose(theory.normal_pdf(r), stats.norm.pdf(r), rtol=1e-10, atol=0)


def test_the_relative_error_is_one_minus_the_explained_variance():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(50, 3))
    outputs = targets + rng.normal(size=(50, 3))
    residual = ((outputs - targets) ** 2).sum() / ((targets - targets.mean()) ** 2).sum()
    assert theory.relative_error(outputs, targets) == pytest.approx(residual, rel=1e-12)
    assert theory.relative_error(np.full((50, 3), targets.mean()), targets) == pytest.approx(1.0)
    assert theory.relative_error([3.0, 3.0], [1.0, 1.0]) == 4.0
