"""Ranks of what rectifiers put out: how many directions of their channels carry something."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.data.samples import as_samples, model_inputs
from keras_prelu.graph.batch_probe import BatchProbe
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.sites.rectifier_calls import RectifierCall, RectifierRun
from keras_prelu.typing import Array, Tensor
from keras_prelu.utils.checks import check_integer

__all__ = [
    "MAX_ROWS",
    "Ranks",
    "SiteRanks",
    "activation_ranks",
    "output_rows",
    "positions_for",
    "representation_ranks",
    "site_ranks",
]

MAX_ROWS = 1024
"""The largest number of rows of which ranks are computed, at one rectifier."""
_ROUNDING = 1e-6
"""The size, relative to the activations, up to which a spread is rounding in float32."""


@dataclass(frozen=True)
class Ranks:
    """The ranks of a matrix of activations.

    Attributes:
        effective: Float. The effective rank.
        stable: Float. The stable rank.
    """

    effective: float
    stable: float


@dataclass(frozen=True)
class SiteRanks:
    """The ranks of the outputs of one rectifier.

    Attributes:
        path: String. The site's path, as in `find_sites`.
        channels: Integer. The number of channels, which the ranks can't exceed.
        rows: Integer. The number of rows of the matrix: samples, or their positions.
        effective: Float. The effective rank: the exponential of the entropy of the singular
            values, divided by their sum, of the centred outputs. 0 if the outputs are constant.
        stable: Float. The stable rank of the centred outputs: the square of their Frobenius norm
            over that of their spectral norm.
    """

    path: str
    channels: int
    rows: int
    effective: float
    stable: float


def activation_ranks(activations: Array) -> Ranks:
    """Return the effective and the stable rank of activations, centred over the rows.

    With singular values σ of the centred matrix A and p = σ / Σσ, the effective rank is
    exp(−Σ p ln p), and the stable rank ‖A‖_F² / ‖A‖₂² = Σσ² / max σ². Both are 0 for activations
    that are constant up to rounding, and NaN if an activation is not finite.

    Args:
        activations: Array of shape (rows, channels).

    References:
        Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality".
    """
    matrix = np.asarray(activations, dtype=np.float64)
    size = np.linalg.norm(matrix)
    if not np.isfinite(size):
        return Ranks(effective=math.nan, stable=math.nan)
    centred = matrix - matrix.mean(axis=0)
    wide = centred.shape[1] > centred.shape[0]
    # The eigenvalues of the smaller Gram matrix are the squares of the singular values, in float64
    # to 1e-8 of the largest one, at a fraction of the time.
    gram = centred @ centred.T if wide else centred.T @ centred
    squares = np.maximum(np.linalg.eigvalsh(gram), 0.0)
    largest = squares.max(initial=0.0)
    if math.sqrt(largest) <= _ROUNDING * size:
        return Ranks(effective=0.0, stable=0.0)
    shares = np.sqrt(squares) / np.sqrt(squares).sum()
    shares = shares[shares > 0]
    return Ranks(
        effective=float(np.exp(-np.sum(shares * np.log(shares)))),
        stable=float(squares.sum() / largest),
    )


@keeps_state("model")
def representation_ranks(
    model: keras.Model,
    samples: Any,
    *,
    max_samples: int = 512,
    batch_size: int = 128,
    seed: int = 0,
) -> tuple[SiteRanks, ...]:
    """Measure the effective and the stable rank of the outputs of each rectifier.

    A network that has learned for long often uses fewer directions than it has channels. The
    columns of the matrix are channels. Its rows are samples, or samples and positions (of images,
    sequences); of more than 1,024 rows, so many are drawn. The columns are centred.

    Args:
        model: Keras model. Nested models, and layers and models with Python code of their own, are
            included; sites that are not seen, as in `dead_units`, are left out.
        samples: Unlabeled samples: an array, or a list or dict of arrays for several inputs.
        max_samples: Integer. The largest number of samples that are used, drawn at random.
            Defaults to 512.
        batch_size: Integer. The number of samples in a batch. Defaults to 128.
        seed: Integer. Seed of the draws. Defaults to 0.

    Returns:
        A tuple of `SiteRanks`, one for each site that is seen, in execution order.

    Raises:
        DataError: If the samples do not fit the model.
        InvalidArgumentError: If `max_samples` is less than 2. A `ValueError`.

    Example:

    >>> [(site.path, site.effective, site.channels)
    ...     for site in keras_prelu.diagnostics.representation_ranks(model, x_test)]

    References:
        Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality"
        (EUSIPCO). Kumar et al. 2021, https://arxiv.org/abs/2010.14498 (ranks of networks that go
        on learning).
    """
    check_integer("max_samples", max_samples, minimum=2)
    data = as_samples(samples, model=model, labels="ignored")
    order = np.random.default_rng(seed).permutation(len(data))[:max_samples]
    data = data.take(np.sort(order))
    run, positions = RectifierRun(model, data.x), positions_for(len(data))

    def measure(tensors: list[Tensor]) -> dict[str, list[Tensor]]:
        rows: dict[str, list[Tensor]] = {}
        for call in run.calls(tensors):
            if 0 in call.outputs.shape[1:]:
                continue  # No channels, no rank.
            rows.setdefault(call.located.site.path, []).append(output_rows(call, positions))
        return rows

    by_path: dict[str, list[Array]] = {}
    batches = BatchProbe(run.graph, measure).batches(model_inputs(model, data), batch_size)
    for batch in batches if run.sites else ():
        for path, arrays in batch.values.items():
            by_path.setdefault(path, []).extend(arrays)
    return tuple(site_ranks(path, arrays) for path, arrays in by_path.items())


def positions_for(samples: int) -> int:
    """Return of how many positions of each sample ranks are computed, if it has so many."""
    return max(1, MAX_ROWS // max(1, samples))


def output_rows(call: RectifierCall, positions: int) -> Tensor:
    """Return the outputs of one call of a rectifier as rows of channels.

    Args:
        call: `RectifierCall`.
        positions: Integer. The largest number of positions of each sample. If there are more, these
            are drawn, the same for all samples.
    """
    values = keras.ops.cast(call.outputs, "float32")
    if call.located.data_format == "channels_first":
        values = keras.ops.moveaxis(values, 1, -1)
    sizes, channels = tuple(values.shape[1:-1]), values.shape[-1]
    if sizes and None not in sizes and math.prod(sizes) > positions:
        drawn = np.random.default_rng(0).permutation(math.prod(sizes))[:positions]
        values = keras.ops.reshape(values, (-1, math.prod(sizes), channels))
        values = keras.ops.take(values, np.sort(drawn), axis=1)
    return keras.ops.reshape(values, (-1, channels))


def site_ranks(path: str, parts: Sequence[Array]) -> SiteRanks:
    """Return the ranks at a site from the rows of its calls on all batches.

    Calls with another number of channels than the first are left out.
    """
    channels = parts[0].shape[1]
    rows = np.concatenate([part for part in parts if part.shape[1] == channels])
    if len(rows) > MAX_ROWS:
        rows = rows[np.sort(np.random.default_rng(0).permutation(len(rows))[:MAX_ROWS])]
    ranks = activation_ranks(rows)
    return SiteRanks(
        path=path,
        channels=channels,
        rows=len(rows),
        effective=ranks.effective,
        stable=ranks.stable,
    )
