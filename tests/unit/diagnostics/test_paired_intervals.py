"""keras_prelu.diagnostics.paired_intervals: the ends of intervals, and how often they err."""

import itertools
import math

import numpy as np
import pytest
from scipy import optimize, stats

from keras_prelu.diagnostics.paired_intervals import (
    mean_intervals,
    outcome_intervals,
    samples_for_equality,
)


def likely_share(samples, only_a, only_b, difference):
    """The share of samples that only b gets right which maximizes the likelihood."""

    def negative_log_likelihood(share):
        shares = [share + difference, share, 1 - 2 * share - difference]
        return -stats.multinomial.logpmf(
            [only_a, only_b, samples - only_a - only_b], samples, np.clip(shares, 1e-12, 1)
        )

    bounds = max(0.0, -difference), (1 - difference) / 2
    return optimize.minimize_scalar(
        negative_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-10}
    ).x


def tail(samples, only_a, only_b, difference):
    """The probability of a score at least as large, by a sum over all outcomes."""

    def score(wins, losses):
        share = likely_share(samples, wins, losses, difference)
        variance = samples * (2 * share + difference * (1 - difference))
        return (wins - losses - samples * difference) / math.sqrt(max(variance, 1e-12))

    share = likely_share(samples, only_a, only_b, difference)
    shares = [share + difference, share, 1 - 2 * share - difference]
    observed = score(only_a, only_b)
    return sum(
        stats.multinomial.pmf([wins, losses, samples - wins - losses], samples, shares)
        for wins, losses in itertools.product(range(samples + 1), repeat=2)
        if wins + losses <= samples and score(wins, losses) >= observed - 1e-6
    )


@pytest.mark.parametrize(("only_a", "only_b"), [(4, 1), (0, 2), (6, 0)])
def test_the_ends_are_where_an_exact_test_turns(only_a, only_b):
    samples = 8
    low = outcome_intervals(samples, only_a, only_b).low
    assert (
        tail(samples, only_a, only_b, low - 0.005)
        < 0.025
        < tail(samples, only_a, only_b, low + 0.005)
    )


def test_intervals_of_outcomes_are_symmetrical_and_nested():
    one, other = outcome_intervals(40, 7, 2), outcome_intervals(40, 2, 7)
    assert (one.low, one.inner_low) == (-other.high, -other.inner_high)
    assert one.low < one.inner_low < 5 / 40 < one.inner_high < one.high


def test_many_discordant_samples_have_the_interval_of_the_normal_distribution():
    samples, only_a, only_b = 10_000, 900, 700
    gain = (only_a - only_b) / samples
    error = math.sqrt((only_a + only_b) / samples - gain**2) / math.sqrt(samples)
    result = outcome_intervals(samples, only_a, only_b)
    np.testing.assert_allclose(
        [result.low, result.high], [gain - 1.96 * error, gain + 1.96 * error], atol=2e-4
    )


def test_without_a_discordant_sample_a_point_takes_299_samples():
    assert samples_for_equality(0.01) == 299
    assert outcome_intervals(298, 0, 0).inner_high > 0.01
    assert outcome_intervals(299, 0, 0).inner_high < 0.01
    np.testing.assert_allclose(
        outcome_intervals(299, 0, 0).inner_low, 0.05 ** (1 / 299) - 1, rtol=1e-3
    )
    assert samples_for_equality(0.0) == math.inf


@pytest.mark.parametrize(
    ("gains", "note"),
    [
        (np.ones(1), "fewer than 20"),
        (np.repeat([0.0, 1.0], [500, 19]), "fewer than 20"),
        (np.append(np.full(99, 0.1), -50.0), "a few samples"),
        (np.append(np.ones(99), np.nan), "not finite"),
    ],
)
def test_where_there_is_no_interval_the_reason_is_given(gains, note):
    result = mean_intervals(gains)
    assert (result.low, result.high, result.inner_low) == (-math.inf, math.inf, -math.inf)
    assert note in result.note


def test_symmetrical_gains_have_students_interval():
    gains = np.concatenate([np.arange(1.0, 51.0), -np.arange(1.0, 51.0)])
    expected = stats.ttest_1samp(gains, 0.0).confidence_interval(0.95)
    result = mean_intervals(gains)
    np.testing.assert_allclose([result.low, result.high], expected, rtol=1e-9)


def test_equal_gains_have_an_interval_without_width():
    result = mean_intervals(np.full(30, 0.1))
    np.testing.assert_allclose([result.low, result.high], [0.1, 0.1])
    assert mean_intervals(np.zeros(30)).inner_high == 0.0


def test_skewness_widens_the_side_of_the_tail():
    """The corrected end is where Hall's transformation of the statistic is the quantile of t."""
    gains = np.random.default_rng(0).exponential(1.0, 400)
    result = mean_intervals(gains)
    student = stats.ttest_1samp(gains, 0.0).confidence_interval(0.95)
    np.testing.assert_allclose(result.low, student.low)
    assert result.high > student.high
    skewness = stats.skew(gains) / 20
    t = (gains.mean() - result.high) / (gains.std(ddof=1) / 20)
    transformed = t + skewness * t**2 / 3 + skewness**2 * t**3 / 27 + skewness / 6
    np.testing.assert_allclose(transformed, stats.t.ppf(0.025, 399), rtol=1e-6)


SHAPES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.standard_t(3, size=n),
    "skewed": lambda rng, n: rng.lognormal(0, 1.5, n) - math.exp(1.125),
    "zeros": lambda rng, n: np.where(
        rng.random(n) < 0.2, rng.lognormal(0, 1, n) - math.exp(0.5), 0
    ),
}
TRIALS = 400
LIMIT = 0.05 + 3 * math.sqrt(0.05 * 0.95 / TRIALS)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("samples", [1, 5, 20, 50, 300])
def test_equal_models_are_told_apart_in_at_most_five_percent(shape, samples):
    rng = np.random.default_rng(samples)
    intervals = [mean_intervals(SHAPES[shape](rng, samples)) for _ in range(TRIALS)]
    wrong = sum(interval.low > 0 or interval.high < 0 for interval in intervals)
    assert wrong <= LIMIT * TRIALS


@pytest.mark.parametrize("samples", [1, 20, 100, 300])
@pytest.mark.parametrize("discordant", [0.01, 0.05])
def test_a_point_worse_is_called_as_good_in_at_most_five_percent(samples, discordant):
    rng = np.random.default_rng(samples)
    shares = [(discordant - 0.01) / 2, (discordant + 0.01) / 2, 1 - discordant]
    drawn = rng.multinomial(samples, shares, size=TRIALS)
    intervals = [outcome_intervals(samples, int(wins), int(losses)) for wins, losses, _ in drawn]
    assert sum(interval.inner_low >= -0.01 for interval in intervals) <= LIMIT * TRIALS
