"""When a refit is kept: simulated, and against closed forms."""

import numpy as np
import pytest

from keras_prelu.calibration.acceptance import is_improvement


def unimproved(count, rng):
    """Outputs before and after, whose errors are equally large on average, and targets."""
    targets = rng.normal(size=(count, 1))
    before, after = (targets + rng.normal(size=(count, 1)) for _ in range(2))
    return [before], [after], [targets]


@pytest.mark.parametrize("count", [25, 100])
def test_what_gains_nothing_is_kept_as_often_as_one_standard_error_says(count):
    rng = np.random.default_rng(0)
    kept = np.mean([is_improvement(*unimproved(count, rng)) for _ in range(4000)])
    assert kept == pytest.approx(0.159, abs=0.02)  # beyond one standard deviation of a Gaussian


@pytest.mark.parametrize("count", [1, 2, 3, 5, 25])
def test_what_gains_much_is_kept(count):
    rng = np.random.default_rng(1)
    targets = rng.normal(size=(count, 4, 4))
    error = rng.normal(size=targets.shape)
    assert is_improvement([targets + error], [targets + 0.1 * error], [targets])


@pytest.mark.parametrize("count", [2, 4])
def test_of_few_samples_the_error_must_be_halved_if_one_dominates(count):
    """The others lose a little, so that the gain is less than one standard error."""
    targets = np.random.default_rng(3).normal(size=(count, 2))
    error = np.zeros_like(targets)
    error[0] = 1.0, -1.0
    after = np.where(error, np.sqrt(0.5) * error, 1e-3)
    assert not is_improvement([targets + error], [targets + 1.001 * after], [targets])
    assert is_improvement([targets + error], [targets + 0.999 * after], [targets])


def test_of_one_sample_the_error_must_be_halved():
    targets, half = np.array([[1.0, 2.0]]), np.sqrt(0.5)
    assert not is_improvement([targets + 1.0], [targets + 1.001 * half], [targets])
    assert is_improvement([targets + 1.0], [targets + 0.999 * half], [targets])


def test_equal_gains_are_certain():
    targets = np.arange(8.0)[:, None]
    assert is_improvement([targets + 0.1], [targets + 0.09], [targets])
    assert not is_improvement([targets + 0.09], [targets + 0.1], [targets])


def test_unchanged_outputs_are_kept():
    targets = np.ones((1, 2))
    assert is_improvement([targets + 1], [targets + 1], [targets])


def test_outputs_that_are_not_finite():
    targets = np.arange(4.0)[:, None]
    nan = np.full_like(targets, np.nan)
    assert is_improvement([nan], [targets], [targets])
    assert not is_improvement([targets + 1], [nan], [targets])
    assert not is_improvement([nan], [nan], [targets])


def test_outputs_count_by_their_variance():
    """The gain of a large output does not hide the loss of a small one."""
    rng = np.random.default_rng(2)
    large, small = 1e3 * rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
    error = rng.normal(size=(50, 3))
    before = [large + error, small + 0.01 * error]
    after = [large, small + error]
    assert not is_improvement(before, after, [large, small])
