"""The refit of one linear layer to the original's output, on its inputs in the converted model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.calibration.activation_store import Activations
from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.ridge import RidgeProblem
from keras_prelu.calibration.samples import SampleSplit
from keras_prelu.graph.hooks import HookTarget, attributes_set
from keras_prelu.graph.layer_kinds import has_linear_activation, is_channels_last
from keras_prelu.graph.linear_layers import LinearView
from keras_prelu.typing import Tensor

__all__ = ["Assignment", "Fit", "InputPair", "Intercept", "fit_layer", "linear_output"]


_CHECK_TOLERANCE = 0.02
"""Relative tolerance, above bfloat16's errors and far below those of a wrong padding or stride."""

_ROUNDING = 1e-12
"""An error below which a layer is not refitted.

Such an error is float32's rounding, and a refit could only make bit-identical outputs differ.
"""


@dataclass(frozen=True)
class InputPair:
    """The inputs of one call of a layer, in both models.

    Attributes:
        original: `Activations` in the original model.
        converted: `Activations` in the converted model.
    """

    original: Activations
    converted: Activations


@dataclass(frozen=True)
class Intercept:
    """The variable that takes the bias of a refitted layer, if there is one.

    The variable is the layer's own bias or the moving mean of a BatchNormalization after it.
    BatchNormalization(z + b) is the same as subtracting b from the moving mean, so a layer without
    a bias of its own can get one there.

    Attributes:
        bias: Variable or None. The layer's own bias.
        moving_mean: Variable or None. The moving mean that takes the bias if there is no `bias`.
    """

    bias: Any
    moving_mean: Any

    @classmethod
    def of_layer(cls, view: LinearView, normalization: Any) -> Intercept:
        """Return the intercept of a layer.

        Args:
            view: `LinearView` of the layer.
            normalization: `keras.layers.BatchNormalization` that alone reads the layer's output, or
                None.
        """
        has_place = (
            view.bias is None and normalization is not None and has_linear_activation(view.layer)
        )
        return cls(bias=view.bias, moving_mean=normalization.moving_mean if has_place else None)

    @property
    def exists(self) -> bool:
        return self.bias is not None or self.moving_mean is not None


@dataclass(frozen=True)
class Assignment:
    """A variable and its new value."""

    variable: Any
    value: np.ndarray


@dataclass(frozen=True)
class Fit:
    """The outcome of fitting a layer.

    Attributes:
        rows: Integer. Rows of the least-squares problem.
        unknowns: Integer. Weights of one output, bias included.
        ridge: Float or None. λ relative to the mean diagonal of the Gram matrix; None if nothing
            was solved.
        error_before: Float or None. Squared error divided by the targets' variance on held-out
            samples, with the old weights; None if the layer can't be fitted.
        error_after: Float or None. The same error with the new weights.
        assignments: Tuple of `Assignment`. Empty if the layer keeps its weights.
        reason: String. Why the layer keeps its weights, or "".
    """

    rows: int = 0
    unknowns: int = 0
    ridge: float | None = None
    error_before: float | None = None
    error_after: float | None = None
    assignments: tuple[Assignment, ...] = ()
    reason: str = ""


def fit_layer(
    view: LinearView,
    counterpart: LinearView,
    calls: Sequence[InputPair],
    intercept: Intercept,
    config: CalibrationConfig,
    split: SampleSplit,
) -> Fit:
    """Fit a layer to all its calls.

    Args:
        view: `LinearView` of the layer in the converted model. Nothing is assigned to it.
        counterpart: `LinearView` of the same layer in the original.
        calls: Sequence with an `InputPair` for each call of the layer.
        intercept: `Intercept` of the layer.
        config: `CalibrationConfig`. Settings of the fit.
        split: `SampleSplit`. The division into samples that fit and samples that judge.

    Returns:
        A `Fit`.
    """
    design = _Design(view, intercept)
    current, target = design.matrix(view), design.matrix(counterpart)
    groups, unknowns, outputs = current.shape
    problem = RidgeProblem(unknowns=unknowns, outputs=outputs, groups=groups)
    as_expected = _add_rows(problem, design, calls, current, target, config, split)
    if split.exchange is not None:
        as_expected = bool(split.exchange.gather(np.array(as_expected)).all())
    if not as_expected:
        return Fit(unknowns=unknowns, reason="its arithmetic is not the expected one")
    if split.exchange is not None:
        problem.combine(split.exchange)
    return _solve(problem, design, current, config.ridge)


def _solve(problem: RidgeProblem, design: _Design, current: np.ndarray, ridge: float | None) -> Fit:
    error_before = problem.error(None)
    if error_before <= _ROUNDING:
        return Fit(
            rows=problem.rows,
            unknowns=problem.unknowns,
            error_before=error_before,
            error_after=error_before,
            reason="its output is right already",
        )
    solution = problem.best() if ridge is None else problem.solution(ridge)
    helps = solution.error < error_before
    return Fit(
        rows=problem.rows,
        unknowns=problem.unknowns,
        ridge=solution.ridge,
        error_before=error_before,
        error_after=solution.error if helps else error_before,
        assignments=design.assignments(current + solution.change) if helps else (),
        reason="" if helps else "the refit did not help on held-out samples",
    )


def _add_rows(
    problem: RidgeProblem,
    design: _Design,
    calls: Sequence[InputPair],
    current: np.ndarray,
    target: np.ndarray,
    config: CalibrationConfig,
    split: SampleSplit,
) -> bool:
    """Add this host's rows to a problem.

    Return False if the layer doesn't compute what its `LinearView` predicts.
    """
    for call in calls:
        for batch in _sampled_batches(design.view, call, config, split):
            rows = design.rows(batch.converted, batch.positions)
            if problem.rows == 0 and not design.predicts(
                rows @ current, batch.converted, batch.positions
            ):
                return False
            targets = design.rows(batch.original, batch.positions) @ target
            problem.add(rows, targets - rows @ current, targets, held_out=batch.held_out)
    return True


@dataclass(frozen=True)
class _Positions:
    """The output positions of a batch that become rows.

    Attributes:
        sample: Integer array. For each row, the index of its sample in the batch.
        position: Integer array. For each row, the index of its output position.
    """

    sample: np.ndarray
    position: np.ndarray


@dataclass(frozen=True)
class _SampledBatch:
    """The inputs of a layer for one batch in both models, and the rows to take from them.

    The output positions become rows, some of which are held out.
    """

    original: Tensor
    converted: Tensor
    positions: _Positions
    held_out: np.ndarray


def _sampled_batches(
    view: LinearView, call: InputPair, config: CalibrationConfig, split: SampleSplit
) -> Iterator[_SampledBatch]:
    """Yield each batch with random positions, whose number follows from `rows_per_unknown`."""
    unknowns = int(np.prod(view.kernel.shape[:-1])) + 1
    held_out, start = split.local_held_out, 0
    for number, original, converted in zip(
        split.batch_numbers, call.original, call.converted, strict=True
    ):
        size, available = len(converted), view.positions(_channels_last_shape(view, converted))
        wanted = min(available, -(-config.rows_per_unknown * unknowns // split.total))
        if wanted == available:
            position = np.tile(np.arange(available), size)
        else:
            # The positions depend on the number of the batch, not on the host that has it.
            rng = np.random.default_rng([config.seed, unknowns, number])
            order = np.argpartition(rng.random((size, available)), wanted, axis=1)
            position = order[:, :wanted].reshape(-1)
        sample = np.repeat(np.arange(size), wanted)
        yield _SampledBatch(
            original=original,
            converted=converted,
            positions=_Positions(sample=sample, position=position),
            held_out=held_out[start + sample],
        )
        start += size


class _Design:
    """The least-squares form of a layer: output = design rows × matrix.

    Args:
        view: `LinearView` of the layer in the converted model.
        intercept: `Intercept` of the layer. If there is one, it is the last row of the matrix.
    """

    def __init__(self, view: LinearView, intercept: Intercept) -> None:
        self.view = view
        self._intercept = intercept

    def matrix(self, view: LinearView) -> np.ndarray:
        """Return a layer's kernel and bias as one float64 matrix (groups, unknowns, outputs)."""
        matrix = view.to_matrix(keras.ops.convert_to_numpy(view.kernel).astype(np.float64))
        if not self._intercept.exists:
            return matrix
        if view.bias is None:
            bias = np.zeros((matrix.shape[0], 1, matrix.shape[2]))
        else:
            bias = view.bias_to_matrix(keras.ops.convert_to_numpy(view.bias).astype(np.float64))
        return np.concatenate([matrix, bias], axis=1)

    def rows(self, inputs: Tensor, positions: _Positions) -> np.ndarray:
        """Return the design rows (groups, rows, unknowns) in float64."""
        rows = self.view.rows(
            _to_numpy(self.view, inputs), positions.sample, positions.position
        ).astype(np.float64)
        if not self._intercept.exists:
            return rows
        return np.concatenate([rows, np.ones((*rows.shape[:-1], 1))], axis=-1)

    def predicts(self, product: np.ndarray, inputs: Tensor, positions: _Positions) -> bool:
        """Return whether rows × matrix is what the layer computes.

        This guards against a `LinearView` that misinterprets a layer.
        """
        view = self.view
        predicted = np.moveaxis(product, 0, 1).reshape(len(positions.sample), -1)
        outputs = view.flat_outputs(_to_numpy(view, linear_output(view.layer, inputs)))
        if (
            outputs.shape[1] != view.positions(_channels_last_shape(view, inputs))
            or outputs.shape[2] != predicted.shape[1]
        ):
            return False
        outputs = outputs[positions.sample, positions.position]
        scale = float(np.sqrt(np.mean(np.square(outputs)))) + 1e-12
        deviation = float(np.sqrt(np.mean(np.square(predicted - outputs))))
        return deviation <= _CHECK_TOLERANCE * scale

    def assignments(self, matrix: np.ndarray) -> tuple[Assignment, ...]:
        """Return the assignments that set the layer's weights to a matrix."""
        view, intercept = self.view, self._intercept
        if not intercept.exists:
            return (Assignment(variable=view.kernel, value=view.from_matrix(matrix)),)
        kernel = Assignment(variable=view.kernel, value=view.from_matrix(matrix[:, :-1]))
        vector = matrix[:, -1:]
        if intercept.bias is not None:
            bias = Assignment(variable=intercept.bias, value=view.bias_from_matrix(vector))
            return kernel, bias
        old_mean = keras.ops.convert_to_numpy(intercept.moving_mean)
        moving_mean = Assignment(
            variable=intercept.moving_mean, value=old_mean - vector.reshape(-1)
        )
        return kernel, moving_mean


def linear_output(layer: Any, inputs: Tensor) -> Tensor:
    """Return the output of a layer before its inline activation."""
    if has_linear_activation(layer):
        return layer(inputs)
    with attributes_set([HookTarget(layer, "activation")], keras.activations.linear):
        return layer(inputs)


def _to_numpy(view: LinearView, tensor: Tensor) -> np.ndarray:
    return view.channels_last(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")))


def _channels_last_shape(view: LinearView, tensor: Tensor) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    return shape if is_channels_last(view.layer) else (shape[0], *shape[2:], shape[1])
