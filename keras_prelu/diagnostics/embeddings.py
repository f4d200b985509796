"""Measures of how many directions embeddings use, which show whether they collapsed (claim 10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.errors import DataError

__all__ = ["CollapseAlarm", "Embeddings", "collapse_alarms", "embedding_statistics"]

_DIRECTIONS = {"spread": 1.0, "rank": 1.0, "participation": 1.0, "cosine": -1.0}
"""Of each statistic: 1 if small values mean collapse, −1 if large values do."""
_ROUNDING = 1e-28
"""The variance, relative to the mean square, that rounding leaves of identical rows."""


@dataclass(frozen=True)
class Embeddings:
    """Statistics of N embeddings of d dimensions.

    Attributes:
        samples: Integer. N.
        dimensions: Integer. d.
        spread: Float. √d times the standard deviation of the rows, each scaled to norm 1, averaged
            over the dimensions: 1 for isotropic rows, 0 for identical ones.
        rank: Float from 1 to min(N, d). RankMe: the exponential of the entropy of the singular
            values divided by their sum.
        participation: Float from 1 to d; 0 if nothing varies. Participation ratio of the
            covariance, (Σλ)² / Σλ².
        cosine: Float. The mean cosine of two different rows: 1 if all rows point the same way.
    """

    samples: int
    dimensions: int
    spread: float
    rank: float
    participation: float
    cosine: float


def embedding_statistics(z: Any) -> Embeddings:
    """Compute statistics of embeddings that need no labels.

    Compare them with those of a training run that is known to be healthy.

    Args:
        z: Array of shape (samples, dimensions) with at least two samples.

    Returns:
        An `Embeddings` with the statistics.

    Raises:
        DataError: If the array has another shape or holds values that are not finite.

    Example:

    >>> keras_prelu.diagnostics.embedding_statistics(model.predict(x_test)).rank

    References:
        Claim 10. Chen and He 2020, https://arxiv.org/abs/2011.10566 (spread). Garrido et al. 2022,
        https://arxiv.org/abs/2210.02885 (RankMe).
    """
    rows = np.asarray(keras.ops.convert_to_numpy(z), dtype=np.float64)
    if rows.ndim != 2 or len(rows) < 2 or not rows.shape[1] or not np.all(np.isfinite(rows)):
        raise DataError(
            "Embeddings must be finite numbers of shape (samples, dimensions), with at least two"
            f" samples. Received: shape={rows.shape}"
        )
    count, width = rows.shape
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    total = unit.sum(axis=0)
    return Embeddings(
        samples=count,
        dimensions=width,
        spread=float(unit.std(axis=0).mean() * np.sqrt(width)),
        rank=_rank(rows),
        participation=_participation(rows),
        cosine=float((total @ total - np.square(unit).sum()) / (count * (count - 1))),
    )


@dataclass(frozen=True)
class CollapseAlarm:
    """One statistic of embeddings, compared with healthy and with collapsed ones.

    Attributes:
        measure: String. The name of a statistic, an attribute of `Embeddings`.
        value: Float. The statistic of the embeddings in question.
        threshold: Float. Halfway between the healthy value and the collapsed value that are nearest
            to each other.
        raised: Boolean. Whether the value is on the collapsed side of the threshold.
    """

    measure: str
    value: float
    threshold: float
    raised: bool


def collapse_alarms(
    found: Embeddings, *, healthy: Sequence[Embeddings], collapsed: Sequence[Embeddings]
) -> tuple[CollapseAlarm, ...]:
    """Decide by each statistic whether embeddings have collapsed, with a positive control.

    The thresholds come from the control, since no threshold suits every N, d and task. All
    embeddings must have the same numbers of samples and dimensions.

    Args:
        found: `Embeddings`. The embeddings in question.
        healthy: Sequence of `Embeddings`. Embeddings that are known to be good.
        collapsed: Sequence of `Embeddings`. The positive control: the same training without what
            prevents collapse, such as the stopped gradient or a variance term.

    Returns:
        A tuple of `CollapseAlarm`, one for each statistic that separates the control from the
        healthy embeddings. The other statistics cannot raise an alarm.

    Raises:
        DataError: If there are no healthy or no collapsed embeddings, if numbers of samples or
            dimensions differ, or if no statistic separates the two groups.

    Example:

    >>> statistics = keras_prelu.diagnostics.embedding_statistics
    >>> isotropic, z = np.random.default_rng(0).normal(size=(2, 100, 8))
    >>> collapsed = np.ones((100, 8)) + 0.01 * z
    >>> keras_prelu.diagnostics.collapse_alarms(statistics(z), healthy=[statistics(isotropic)],
    ...     collapsed=[statistics(collapsed)])

    References:
        Claim 10.
    """
    if not healthy or not collapsed:
        raise DataError(
            "Alarms need at least one healthy and one collapsed run. Received:"
            f" {len(healthy)} healthy, {len(collapsed)} collapsed"
        )
    shapes = {(each.samples, each.dimensions) for each in (found, *healthy, *collapsed)}
    if len(shapes) > 1:
        raise DataError(
            "The statistics depend on the numbers of samples and dimensions, so all runs must have"
            f" the same. Received: (samples, dimensions) of {sorted(shapes)}"
        )
    alarms = []
    for measure, sign in _DIRECTIONS.items():
        lowest_healthy = min(sign * getattr(each, measure) for each in healthy)
        highest_collapsed = max(sign * getattr(each, measure) for each in collapsed)
        if highest_collapsed < lowest_healthy:
            threshold, value = (
                sign * (highest_collapsed + lowest_healthy) / 2,
                getattr(found, measure),
            )
            alarms.append(
                CollapseAlarm(
                    measure=measure,
                    value=value,
                    threshold=threshold,
                    raised=sign * value < sign * threshold,
                )
            )
    if not alarms:
        raise DataError(
            "No statistic tells the collapsed runs from the healthy ones, so they are no positive"
            " control: train one without what prevents collapse."
        )
    return tuple(alarms)


def _rank(rows: np.ndarray) -> float:
    singular_values = np.linalg.svd(rows, compute_uv=False)
    if not singular_values.sum():
        return 1.0
    shares = singular_values / singular_values.sum()
    shares = shares[shares > 0]
    return float(np.exp(-np.sum(shares * np.log(shares))))


def _participation(rows: np.ndarray) -> float:
    eigenvalues = np.square(np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False))
    if eigenvalues.sum() <= _ROUNDING * np.square(rows).sum():
        return 0.0
    return float(eigenvalues.sum() ** 2 / np.square(eigenvalues).sum())
