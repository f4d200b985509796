"""Refitting one linear layer to the original's output, on the inputs it gets in the converted
model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.calibration.activation_store import Activations
from keras_prelu.calibration.ridge import Exchange, RidgeProblem
from keras_prelu.graph.linear_layers import LinearView
from keras_prelu.graph.replacement import replaced

__all__ = ["Fit", "FitOptions", "Intercept", "fit_layer"]

Tensor = Any

# Relative; wide enough for bfloat16 layers, far below what a wrong padding or stride gives
_CHECK_TOLERANCE = 0.02
_EXACT = (
    1e-12  # an error that is float32's rounding; a refit could only lose the equality bit for bit
)


@dataclass(frozen=True)
class FitOptions:
    """How a layer is fitted.

    Attributes:
        ridge: λ relative to the mean diagonal of the Gram matrix; None for the best of `RIDGES` on
            held-out samples.
        rows_per_unknown: Rows wanted for each unknown; spatial positions are sampled accordingly.
        held_out: For each sample of this host, whether it judges instead of fitting.
        samples: How many there are on all hosts.
        batches: The numbers of this host's batches among those of all.
        seed: Of the positions, which depend on it and the batch's number.
        exchange: How hosts that have a part of the samples each share what they found; None where
            this one has all.
    """

    ridge: float | None
    rows_per_unknown: int
    held_out: np.ndarray
    samples: int
    batches: np.ndarray
    seed: int
    exchange: Exchange | None


@dataclass(frozen=True)
class Intercept:
    """Where a refitted layer's bias goes: into its own, into the moving mean of a
    BatchNormalization after it, or nowhere.

    BatchNormalization(z + b) subtracts its moving mean less b, so a layer without a bias gets one
    there.
    """

    bias: Any
    moving_mean: Any

    @classmethod
    def of(cls, view: LinearView, normalization: Any) -> Intercept:
        """For a layer and the BatchNormalization that alone reads its output, if there is one."""
        takes = view.bias is None and normalization is not None and _is_linear(view.layer)
        return cls(view.bias, normalization.moving_mean if takes else None)

    @property
    def exists(self) -> bool:
        return self.bias is not None or self.moving_mean is not None


@dataclass(frozen=True)
class Fit:
    """The outcome of fitting a layer.

    Attributes:
        rows, unknowns: The size of the problem.
        ridge: λ, relative to the mean diagonal of the Gram matrix; None where nothing was solved.
        error_before, error_after: Squared error over the targets' variance, on held-out samples;
            None where the layer can't be fitted.
        assignments: Variables and their new values; empty where the old weights are as good, or
            `reason` says why not.
        reason: Why the layer keeps its weights, or "".
    """

    rows: int
    unknowns: int
    ridge: float | None
    error_before: float | None
    error_after: float | None
    assignments: tuple[tuple[Any, np.ndarray], ...]
    reason: str

    @classmethod
    def none(cls, reason: str) -> Fit:
        """For a layer that is not fitted at all."""
        return cls(0, 0, None, None, None, (), reason)


def fit_layer(
    view: LinearView,
    reference: LinearView,
    uses: Sequence[tuple[Activations, Activations]],
    intercept: Intercept,
    options: FitOptions,
) -> Fit:
    """Fit a layer to all places where it is called.

    Args:
        view: The layer in the converted model. Nothing is assigned here.
        reference: The same layer in the original.
        uses: For each call of the layer, its inputs in the original and in the converted model,
            batch by batch.
        intercept: Where its bias goes.
        options: See `FitOptions`.
    """
    current, target = (_matrix(layer, intercept) for layer in (view, reference))
    groups, unknowns, outputs = current.shape
    problem = RidgeProblem(unknowns, outputs, groups)
    trusted = _accumulate(problem, view, uses, intercept, options, current, target)
    if options.exchange is not None:
        trusted = bool(options.exchange.gather(np.array(trusted)).all())
    if not trusted:
        return Fit(0, unknowns, None, None, None, (), "its arithmetic is not the expected one")
    if options.exchange is not None:
        problem.combine(options.exchange)
    before = problem.error(None)
    if before <= _EXACT:
        return Fit(problem.rows, unknowns, None, before, before, (), "its output is right already")
    found = problem.best() if options.ridge is None else problem.solution(options.ridge)
    if not found.error < before:
        return Fit(
            problem.rows,
            unknowns,
            found.ridge,
            before,
            before,
            (),
            "the refit did not help on held-out samples",
        )
    return Fit(
        problem.rows,
        unknowns,
        found.ridge,
        before,
        found.error,
        _assignments(view, current + found.change, intercept),
        "",
    )


def _accumulate(
    problem: RidgeProblem,
    view: LinearView,
    uses: Sequence[tuple[Activations, Activations]],
    intercept: Intercept,
    options: FitOptions,
    current: np.ndarray,
    target: np.ndarray,
) -> bool:
    """Add this host's rows; False where the layer doesn't compute what the view says."""
    for originals, converteds in uses:
        for original, converted, sample, position, chosen in _sampled(
            view, originals, converteds, options
        ):
            rows = _design(view, converted, sample, position, intercept)
            if problem.rows == 0 and not _predicts(
                view, rows @ current, converted, sample, position, intercept
            ):
                return False
            targets = _design(view, original, sample, position, intercept) @ target
            problem.add(rows, targets - rows @ current, targets, held_out=options.held_out[chosen])
    return True


def _sampled(
    view: LinearView, originals: Activations, converteds: Activations, options: FitOptions
) -> Iterator[tuple[Tensor, Tensor, np.ndarray, np.ndarray, np.ndarray]]:
    """For each batch: its inputs, and of each row to use the sample in the batch, the output
    position, and the sample among all."""
    unknowns = int(np.prod(view.kernel.shape[:-1])) + 1
    start = 0
    for number, original, converted in zip(options.batches, originals, converteds, strict=True):
        size, positions = len(converted), view.positions(_channels_last_shape(view, converted))
        wanted = min(positions, -(-options.rows_per_unknown * unknowns // options.samples))
        if wanted == positions:
            position = np.tile(np.arange(positions), size)
        else:
            drawn = np.random.default_rng([options.seed, unknowns, number]).random(
                (size, positions)
            )
            position = np.argpartition(drawn, wanted, axis=1)[:, :wanted].reshape(-1)
        sample = np.repeat(np.arange(size), wanted)
        yield original, converted, sample, position, start + sample
        start += size


def _matrix(view: LinearView, intercept: Intercept) -> np.ndarray:
    """Kernel and bias as one matrix (groups, unknowns, outputs) in float64."""
    matrix = view.to_matrix(keras.ops.convert_to_numpy(view.kernel).astype(np.float64))
    if not intercept.exists:
        return matrix
    if view.bias is None:
        bias = np.zeros((matrix.shape[0], 1, matrix.shape[2]))
    else:
        bias = view.bias_to_matrix(keras.ops.convert_to_numpy(view.bias).astype(np.float64))
    return np.concatenate([matrix, bias], axis=1)


def _design(
    view: LinearView, inputs: Tensor, sample: np.ndarray, position: np.ndarray, intercept: Intercept
) -> np.ndarray:
    """Design rows in float64, with a column of ones for the intercept."""
    rows = view.rows(_as_numpy(view, inputs), sample, position).astype(np.float64)
    return (
        np.concatenate([rows, np.ones((*rows.shape[:-1], 1))], axis=-1)
        if intercept.exists
        else rows
    )


def _predicts(
    view: LinearView,
    product: np.ndarray,
    inputs: Tensor,
    sample: np.ndarray,
    position: np.ndarray,
    intercept: Intercept,
) -> bool:
    """Whether rows × matrix is what the layer computes: the guard against a view that misreads a
    layer."""
    predicted = np.moveaxis(product, 0, 1).reshape(len(sample), -1)
    actual = view.flat_outputs(_as_numpy(view, linear_output(view.layer, inputs)))
    if (
        actual.shape[1] != view.positions(_channels_last_shape(view, inputs))
        or actual.shape[2] != predicted.shape[1]
    ):
        return False
    actual = actual[sample, position]
    scale = float(np.sqrt(np.mean(np.square(actual)))) + 1e-12
    return float(np.sqrt(np.mean(np.square(predicted - actual)))) <= _CHECK_TOLERANCE * scale


def linear_output(layer: Any, inputs: Tensor) -> Tensor:
    """What a layer computes before its own activation."""
    if _is_linear(layer):
        return layer(inputs)
    with replaced([(layer, "activation", keras.activations.linear)]):
        return layer(inputs)


def _assignments(
    view: LinearView, matrix: np.ndarray, intercept: Intercept
) -> tuple[tuple[Any, np.ndarray], ...]:
    if not intercept.exists:
        return ((view.kernel, view.from_matrix(matrix)),)
    kernel, vector = view.from_matrix(matrix[:, :-1]), matrix[:, -1:]
    if intercept.bias is not None:
        return (view.kernel, kernel), (intercept.bias, view.bias_from_matrix(vector))
    return (view.kernel, kernel), (
        intercept.moving_mean,
        keras.ops.convert_to_numpy(intercept.moving_mean) - vector.reshape(-1),
    )


def _is_linear(layer: Any) -> bool:
    return getattr(layer, "activation", None) in (None, keras.activations.linear)


def _as_numpy(view: LinearView, tensor: Tensor) -> np.ndarray:
    return view.channels_last(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")))


def _channels_last_shape(view: LinearView, tensor: Tensor) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    return (
        (shape[0], *shape[2:], shape[1])
        if getattr(view.layer, "data_format", None) == "channels_first"
        else shape
    )
