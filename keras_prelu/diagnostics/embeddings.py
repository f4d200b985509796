"""Whether embeddings have collapsed: measures of how many directions they use (claim 10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.errors import DataError

__all__ = ["CollapseAlarm", "Embeddings", "collapse_alarms", "embedding_statistics"]

_MEASURES = {"spread": 1.0, "rank": 1.0, "participation": 1.0, "cosine": -1.0}
"""With 1 where less of it means collapse, −1 where more of it does."""
_ROUNDING = 1e-28  # squared: what subtracting the mean leaves of rows that are all the same


@dataclass(frozen=True)
class Embeddings:
    """Measures of N embeddings of d dimensions.

    Attributes:
        samples, dimensions: N and d.
        spread: Mean over the dimensions of the standard deviation of the rows, each scaled to norm
            1, times √d: 1 where they are isotropic, 0 where all are the same.
        rank: RankMe, exp(entropy of the singular values divided by their sum), from 1 to min(N, d).
        participation: Participation ratio of the covariance, (Σλ)² / Σλ², from 1 to d; 0 where
            nothing varies.
        cosine: Mean cosine of two different rows: 1 where all point the same way.
    """

    samples: int
    dimensions: int
    spread: float
    rank: float
    participation: float
    cosine: float


def embedding_statistics(z: Any) -> Embeddings:
    """Measure embeddings.

    Args:
        z: Embeddings of shape (samples, dimensions), two samples at least.

    Returns:
        The measures. None of them needs labels; compare them with those of a run that is known to
        be healthy.

    Raises:
        DataError: The shape is another, or a number is not finite.

    Example:

    >>> keras_prelu.diagnostics.embedding_statistics(encoder.predict(x)).rank

    References:
        Claim 10. Chen and He 2020, https://arxiv.org/abs/2011.10566 (spread). Garrido et al. 2022,
        https://arxiv.org/abs/2210.02885 (RankMe).
    """
    rows = np.asarray(keras.ops.convert_to_numpy(z), dtype=np.float64)
    if rows.ndim != 2 or len(rows) < 2 or not rows.shape[1] or not np.all(np.isfinite(rows)):
        raise DataError(
            "Embeddings are finite numbers of shape (samples, dimensions), two samples at least."
            f" Received: shape {rows.shape}"
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
    """One measure of embeddings beside those of runs that are known to be healthy and known to have
    collapsed.

    Attributes:
        measure: An attribute of `Embeddings`.
        value: Of the embeddings in question.
        threshold: Halfway from the healthy run that is nearest to the collapsed ones to the
            collapsed one that is nearest to it.
        raised: Whether the value is on the collapsed runs' side of it.
    """

    measure: str
    value: float
    threshold: float
    raised: bool


def collapse_alarms(
    found: Embeddings, *, healthy: Sequence[Embeddings], collapsed: Sequence[Embeddings]
) -> tuple[CollapseAlarm, ...]:
    """Whether embeddings have collapsed, by each measure, with a positive control: no threshold is
    good for every N, d and task.

    Args:
        found: Measures of the embeddings in question.
        healthy: Of runs that are known to be good.
        collapsed: Of the positive control: the same training without what prevents collapse (the
            stopped gradient, a variance term). All are of as many samples and dimensions as
            `found`.

    Returns:
        A record for each measure that tells the control from the healthy runs; the others can't
        raise an alarm.

    Raises:
        DataError: There are no healthy or no collapsed runs, numbers of samples or dimensions
            differ, or no measure tells them apart.

    Example:

    >>> measure = keras_prelu.diagnostics.embedding_statistics
    >>> keras_prelu.diagnostics.collapse_alarms(measure(z), healthy=[measure(good)],
    ...     collapsed=[measure(control)])

    References:
        Claim 10.
    """
    if not healthy or not collapsed:
        raise DataError("Alarms need a healthy and a collapsed run at least.")
    if len({(run.samples, run.dimensions) for run in (found, *healthy, *collapsed)}) > 1:
        raise DataError(
            "The measures depend on the numbers of samples and dimensions: all runs must have the"
            " same."
        )
    alarms = []
    for measure, sign in _MEASURES.items():
        good, bad = (
            sign * np.array([getattr(run, measure) for run in runs])
            for runs in (healthy, collapsed)
        )
        if bad.max() < good.min():
            threshold, value = sign * (bad.max() + good.min()) / 2, getattr(found, measure)
            alarms.append(
                CollapseAlarm(
                    measure, value, float(threshold), bool(sign * value < sign * threshold)
                )
            )
    if not alarms:
        raise DataError(
            "No measure tells the collapsed runs from the healthy ones: they are no positive"
            " control."
        )
    return tuple(alarms)


def _rank(rows: np.ndarray) -> float:
    values = np.linalg.svd(rows, compute_uv=False)
    if not values.sum():
        return 1.0
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(np.exp(-np.sum(shares * np.log(shares))))


def _participation(rows: np.ndarray) -> float:
    values = np.square(np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False))
    if values.sum() <= _ROUNDING * np.square(rows).sum():
        return 0.0
    return float(values.sum() ** 2 / np.square(values).sum())
