"""Calibration: refitting the linear layers of a converted model so that it computes what the original computes.

Layerwise least squares: for every linear layer in execution order, let z be its output in the original model and u its input in the
converted one, earlier layers already refitted. The new W', b' minimize Σ‖W'u + b' − z‖² + λ‖[W', b'] − [W, b]‖². One sweep carries
the activations of all samples through both models, so each layer is evaluated a fixed number of times.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu._backends import snapshot
from keras_prelu.data.samples import batches, model_inputs
from keras_prelu.errors import CalibrationError, InvalidArgumentError, KerasPReLUWarning
from keras_prelu.layers import PReLU
from keras_prelu.surgery.least_squares import RidgeProblem
from keras_prelu.surgery.linear import LinearView, linear_view
from keras_prelu.surgery.program import Program, Slot, Step, compile_program, execute
from keras_prelu.surgery.rewrite import copy_variables, rebuild
from keras_prelu.surgery.sites import locate_sites

__all__ = ["Calibration", "LayerCalibration", "calibrate"]

Tensor = Any
Batches = list[Tensor]
Progress = Callable[[int, int], None]

MINIMUM_SAMPLES = 5
_CHECK_TOLERANCE = 0.02  # relative; wide enough for bfloat16 layers, far below what a wrong padding or stride gives


@dataclass(frozen=True)
class LayerCalibration:
    """What calibration did to one linear layer.

    Attributes:
        path: The layer's path.
        layer: Its class name.
        rows: Rows of its least-squares problem (output positions of samples).
        unknowns: Weights of one output, bias included.
        error_before: Mean squared error of its output, in the converted model with the earlier layers refitted, over the variance of
            its output in the original; on held-out samples. None where it was not computed.
        error_after: The same after the refit.
        action: "refitted", or "kept" and why.
    """

    path: str
    layer: str
    rows: int
    unknowns: int
    error_before: float | None
    error_after: float | None
    action: str


@dataclass(frozen=True)
class Calibration:
    """What a calibration did. Errors are mean squared changes of the model's output over its variance, on held-out samples.

    Attributes:
        samples: Number of samples, held-out ones included.
        held_out: How many of them were held out from the fits.
        error_before: The converted model's error before calibration.
        error_after: Its error now.
        kept: Whether the refitted weights were kept; False where they were worse, and the model has its old weights.
        layers: A record for each linear layer, in execution order.
    """

    samples: int
    held_out: int
    error_before: float
    error_after: float
    kept: bool
    layers: tuple[LayerCalibration, ...]


def calibrate(
    converted: keras.Model,
    original: keras.Model,
    samples: Any,
    *,
    ridge: float = 1e-3,
    rows_per_unknown: int = 32,
    refit_frozen: bool = False,
    batch_size: int = 128,
    seed: int = 0,
    on_step: Progress | None = None,
) -> Calibration:
    """Refit the linear layers of a converted model, in place, so that it computes what the original computes.

    A fifth of the samples is held out. A layer's refit is taken if it lowers the error there, and in the end the model gets its old
    weights back if the output's error there has not become smaller: the result is never worse than none on held-out samples.

    Args:
        converted: What `convert(original, ...)` returned, perhaps saved and loaded since. Dense, convolution, transposed, depthwise and
            separable layers are refitted; the others are kept.
        original: The ReLU model it was made from. Not changed.
        samples: Unlabeled samples, at least 5: an array, or a list or dict of arrays for several inputs. A few hundred do.
        ridge: λ relative to the mean diagonal of the Gram matrix. Defaults to 1e-3.
        rows_per_unknown: How many rows to use for each unknown weight; spatial positions are sampled accordingly. Defaults to 32.
        refit_frozen: Whether layers with `trainable=False` are refitted too. Defaults to False.
        batch_size: Samples that go through a layer at once. Defaults to 128.
        seed: Seed of the held-out choice and of the sampled positions. The same seed gives the same weights.
        on_step: Called with (steps done, steps in all).

    Returns:
        The record, see `Calibration`.

    Raises:
        CalibrationError: The models do not belong together, have no graph, or there are too few samples.
        DataError: The samples do not fit the model, or hold NaN.
        InvalidArgumentError: A ValueError; an option is out of range.

    Example:

    >>> converted = keras_prelu.convert(model, rescale="none")
    >>> calibration = keras_prelu.calibrate(converted, model, x_train[:512])
    >>> calibration.error_after < calibration.error_before

    References:
        THEORY's section on conversion, layerwise least squares.
    """
    if not ridge > 0 or rows_per_unknown < 1 or batch_size < 1:
        raise InvalidArgumentError(
            f"`ridge` must be positive, `rows_per_unknown` and `batch_size` at least 1. Received: ridge={ridge}, "
            f"rows_per_unknown={rows_per_unknown}, batch_size={batch_size}"
        )
    inputs = model_inputs(original, samples, "calibration samples")
    count = len(inputs[0])
    if count < MINIMUM_SAMPLES:
        raise CalibrationError(f"Calibration needs at least {MINIMUM_SAMPLES} samples, better some hundreds. Received: {count}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    held_out = np.zeros(count, dtype=bool)
    held_out[order[: max(1, count // 5)]] = True
    fixed = converted.inputs[0].shape[0]
    options = _Options(ridge, rows_per_unknown, refit_frozen, fixed or batch_size, held_out, rng)
    return _Sweep(converted, original, options).run(inputs, on_step or (lambda done, total: None))


@dataclass(frozen=True)
class _Options:
    ridge: float
    rows_per_unknown: int
    refit_frozen: bool
    batch_size: int
    held_out: np.ndarray
    rng: np.random.Generator


class _Sweep:
    """One pass over the converted model's steps. Each slot holds two lists of batches: the original's values and the converted's."""

    def __init__(self, converted: keras.Model, original: keras.Model, options: _Options) -> None:
        self._options = options
        self._program = compile_program(converted)
        self._references = _references(self._program, converted, original)
        self._original: dict[Slot, Batches] = {}
        self._converted: dict[Slot, Batches] = {}
        self._refitted: set[int] = set()
        self._records: dict[str, LayerCalibration] = {}
        self._undo: list[tuple[Any, np.ndarray]] = []

    def run(self, inputs: list[np.ndarray], on_step: Progress) -> Calibration:
        before = self._uncalibrated_outputs(inputs)
        self._feed(inputs)
        waiting = list(self._program.steps)
        total = len(waiting)
        while waiting:
            progressed = self._pass(waiting, on_step, total)
            if not progressed:
                self._give_up_on_shared(waiting)
        targets = [self._original[slot] for slot in self._program.outputs]
        error_before = _output_error(before, targets, self._options)
        error_after = _output_error([self._converted[slot] for slot in self._program.outputs], targets, self._options)
        kept = error_after <= error_before
        if not kept:
            for variable, value in reversed(self._undo):
                variable.assign(value)
        return Calibration(
            samples=len(inputs[0]),
            held_out=int(self._options.held_out.sum()),
            error_before=error_before,
            error_after=error_after if kept else error_before,
            kept=kept,
            layers=tuple(self._records.values()),
        )

    def _uncalibrated_outputs(self, inputs: list[np.ndarray]) -> list[Batches]:
        """The outputs before anything is refitted."""
        self._feed(inputs)
        readers = _count_readers(self._program)
        for step in self._program.steps:
            self._converted.update(zip(step.outputs, self._run(step, self._converted), strict=True))
            _release(step, readers, self._converted)
        outputs = [self._converted[slot] for slot in self._program.outputs]
        self._converted, self._original = {}, {}
        return outputs

    def _feed(self, inputs: list[np.ndarray]) -> None:
        chunks = [[keras.ops.convert_to_tensor(array) for array in batch] for batch in batches(inputs, self._options.batch_size)]
        for i, slot in enumerate(self._program.inputs):
            self._original[slot] = self._converted[slot] = [chunk[i] for chunk in chunks]
        self._readers = _count_readers(self._program)

    def _pass(self, waiting: list[Step], on_step: Progress, total: int) -> bool:
        """Run every step that can run now. A layer called at several places waits for all its inputs, to be fitted to all."""
        progressed = False
        for step in list(waiting):
            if not all(slot in self._converted for slot in step.inputs):
                continue
            uses = [other for other in waiting if other.operation is step.operation] if self._must_fit(step) else [step]
            if not all(slot in self._converted for use in uses for slot in use.inputs):
                continue
            self._refit(step, uses)
            self._advance(step)
            waiting.remove(step)
            progressed = True
            on_step(total - len(waiting), total)
        return progressed

    def _must_fit(self, step: Step) -> bool:
        return id(step.operation) not in self._refitted and linear_view(step.operation) is not None

    def _give_up_on_shared(self, waiting: list[Step]) -> None:
        """No step can run: a shared layer's later call depends on its earlier one. Keep that layer's weights."""
        step = next(step for step in waiting if all(slot in self._converted for slot in step.inputs))
        self._keep(step, "its later calls depend on its earlier ones")

    def _keep(self, step: Step, reason: str) -> None:
        self._refitted.add(id(step.operation))
        self._records[step.path] = LayerCalibration(step.path, type(step.operation).__name__, 0, 0, None, None, f"kept: {reason}")

    def _advance(self, step: Step) -> None:
        same = all(self._original[slot] is self._converted[slot] for slot in step.inputs)
        reference = self._references.get(step.path, step.index)
        converted = self._run(step, self._converted)
        unchanged = same and reference is not None and _same_function(step.operation, reference)
        original = converted if unchanged else self._run(step, self._original, reference)
        self._converted.update(zip(step.outputs, converted, strict=True))
        self._original.update(zip(step.outputs, original, strict=True))
        _release(step, self._readers, self._converted, self._original)

    def _run(self, step: Step, values: Mapping[Slot, Batches], operation: Any = None) -> list[Batches]:
        """A step's outputs, batch by batch."""
        count = len(values[self._program.inputs[0]]) if not step.inputs else len(values[step.inputs[0]])
        per_batch = [execute(step, {slot: values[slot][i] for slot in step.inputs}, operation) for i in range(count)]
        return [list(column) for column in zip(*per_batch, strict=True)]

    # --- refitting one layer ---

    def _refit(self, step: Step, uses: Sequence[Step]) -> None:
        view = linear_view(step.operation)
        if view is None or id(step.operation) in self._refitted:
            return None
        if all(self._original[slot] is self._converted[slot] for use in uses for slot in use.inputs):
            return self._keep(step, "its input is unchanged")
        if not step.operation.trainable and not self._options.refit_frozen:
            return self._keep(step, "it is frozen")
        fit = self._fit(view, step, uses)
        self._refitted.add(id(step.operation))
        self._records[step.path] = fit
        return None

    def _fit(self, view: LinearView, step: Step, uses: Sequence[Step]) -> LayerCalibration:
        layer = step.operation
        intercept = _Intercept.of(layer, self._next_normalization(step) if len(uses) == 1 else None)
        reference_kernel, reference_bias = _weights(linear_view(self._references.get(step.path, step.index)))
        kernel, bias = _weights(view)
        old, reference = _stack(view, kernel, bias, intercept), _stack(view, reference_kernel, reference_bias, intercept)
        problem: RidgeProblem | None = None
        for use in uses:
            slot = use.inputs[0]
            for index, (sample, position, chosen) in enumerate(self._positions(view, self._converted[slot])):
                inputs = _numpy(view, self._converted[slot][index])
                rows = _with_ones(view.rows(inputs, sample, position), intercept)
                if problem is None:
                    if not _predicts(view, rows, old, bias, intercept, self._converted[slot][index], sample, position):
                        return self._record(step, 0, old.shape[1], None, None, "kept: its arithmetic is not the expected one")
                    problem = RidgeProblem(unknowns=old.shape[1], outputs=old.shape[2], groups=old.shape[0])
                targets = _with_ones(view.rows(_numpy(view, self._original[slot][index]), sample, position), intercept) @ reference
                problem.add(rows, targets - rows @ old, targets, held_out=self._options.held_out[chosen])
        assert problem is not None
        change = problem.solve(self._options.ridge)
        before, after = problem.error(None), problem.error(change)
        if not after < before:
            return self._record(step, problem.rows, old.shape[1], before, before, "kept: the refit did not help on held-out samples")
        self._write(view, old + change, intercept)
        return self._record(step, problem.rows, old.shape[1], before, after, "refitted")

    def _record(self, step: Step, rows: int, unknowns: int, before: float | None, after: float | None, action: str) -> LayerCalibration:
        return LayerCalibration(step.path, type(step.operation).__name__, rows, unknowns, before, after, action)

    def _write(self, view: LinearView, matrix: np.ndarray, intercept: _Intercept) -> None:
        if intercept.exists:
            vector = matrix[:, -1].reshape(-1)
            if intercept.bias is not None:
                self._assign(intercept.bias, vector)
            else:  # the bias b that the layer does not have: BatchNormalization(z + b) subtracts its moving mean less b
                mean = keras.ops.convert_to_numpy(intercept.moving_mean)
                self._assign(intercept.moving_mean, mean - vector)
            matrix = matrix[:, :-1]
        self._assign(view.kernel, view.from_matrix(matrix))

    def _assign(self, variable: Any, value: np.ndarray) -> None:
        self._undo.append((variable, snapshot(variable)))
        variable.assign(value.reshape(variable.shape))

    def _positions(self, view: LinearView, chunks: Batches) -> Any:
        """For each batch: sample indices in it, output positions, and the samples' indices among all."""
        total = sum(len(chunk) for chunk in chunks)
        rng = self._options.rng
        start = 0
        unknowns = int(np.prod(view.kernel.shape[:-1])) + 1
        for chunk in chunks:
            size = len(chunk)
            positions = view.positions(_last_shape(view, chunk))
            wanted = min(positions, -(-self._options.rows_per_unknown * unknowns // total))
            if wanted == positions:
                position = np.tile(np.arange(positions), size)
            else:
                position = np.argpartition(rng.random((size, positions)), wanted, axis=1)[:, :wanted].reshape(-1)
            sample = np.repeat(np.arange(size), wanted)
            yield sample, position, start + sample
            start += size

    def _next_normalization(self, step: Step) -> Any:
        """The BatchNormalization that alone reads the layer's output, if there is one and it is called once."""
        readers = [other for other in self._program.steps if step.outputs[0] in other.inputs]
        if len(readers) != 1 or step.outputs[0] in self._program.outputs:
            return None
        follower = readers[0].operation
        calls = sum(other.operation is follower for other in self._program.steps)
        return follower if isinstance(follower, keras.layers.BatchNormalization) and calls == 1 else None


@dataclass(frozen=True)
class _Intercept:
    """Where a refitted layer's bias goes: into its own, into the moving mean of a BatchNormalization, or nowhere."""

    bias: Any
    moving_mean: Any

    @classmethod
    def of(cls, layer: Any, normalization: Any) -> _Intercept:
        bias = layer.bias if getattr(layer, "use_bias", False) else None
        takes = bias is None and normalization is not None and getattr(layer, "activation", None) in (None, keras.activations.linear)
        return cls(bias, normalization.moving_mean if takes else None)

    @property
    def exists(self) -> bool:
        return self.bias is not None or self.moving_mean is not None


class _References:
    """For each step of the converted model, what computes the original's value there."""

    def __init__(self, by_call: dict[tuple[str, int], Any], by_path: dict[str, Any]) -> None:
        self._by_call = by_call
        self._by_path = by_path

    def get(self, path: str, index: int) -> Any:
        return self._by_call.get((path, index), self._by_path.get(path))


def _references(program: Program, converted: keras.Model, original: keras.Model) -> _References:
    """Match the converted model's layers with the original's by path, its PReLUs with the rectifiers that they replaced."""
    by_path: dict[str, Any] = {step.path: step.operation for step in compile_program(original).steps}
    paths = {step.path: step.operation for step in program.steps}
    by_call: dict[tuple[str, int], Any] = {}
    for item in locate_sites(original):
        if not isinstance(paths.get(item.site.target), PReLU):
            continue
        inline = item.site.kind == "inline"
        by_call[item.site.target, 0] = item.operation.activation if inline else item.operation
        if inline:
            by_path[item.site.target] = item.operation.activation
            by_path[item.site.path] = _linear_twin(item.operation)
    for step in program.steps:
        reference = by_call.get((step.path, step.index), by_path.get(step.path))
        matches = isinstance(step.operation, PReLU) or type(reference) is type(step.operation)
        if reference is None or not matches:
            raise CalibrationError(
                f"The converted model was not made from this original: layer '{step.path}' ({type(step.operation).__name__}) "
                f"has no counterpart in '{original.name}'."
            )
        shapes = [[tuple(v.shape) for v in getattr(layer, "weights", [])] for layer in (step.operation, reference)]
        if not isinstance(step.operation, PReLU) and shapes[0] != shapes[1]:
            raise CalibrationError(
                f"The converted model was not made from this original: the weights of layer '{step.path}' differ in shape."
            )
    return _References(by_call, by_path)


def _linear_twin(layer: Any) -> Any:
    """The layer without its inline activation, on copies of its weights."""
    twin = rebuild(layer, linear=True)
    twin.build_from_config(layer.get_build_config())
    copy_variables(layer, twin)
    return twin


def _same_function(operation: Any, reference: Any) -> bool:
    """Whether a layer of the converted model computes what the original's does: no PReLU, and equal weights."""
    if isinstance(operation, PReLU):
        return False
    pairs = zip(getattr(operation, "weights", []), getattr(reference, "weights", []), strict=True)
    return all(np.array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b)) for a, b in pairs)


def _count_readers(program: Program) -> dict[Slot, int]:
    readers: dict[Slot, int] = {}
    for step in program.steps:
        for slot in set(step.inputs):
            readers[slot] = readers.get(slot, 0) + 1
    for slot in (*program.inputs, *program.outputs):
        readers[slot] = readers.get(slot, 0) + 1
    return readers


def _release(step: Step, readers: dict[Slot, int], *stores: dict[Slot, Batches]) -> None:
    """Free what no later step reads."""
    for slot in set(step.inputs):
        readers[slot] -= 1
        if readers[slot] == 0:
            for store in stores:
                store.pop(slot, None)


def _weights(view: LinearView | None) -> tuple[np.ndarray, np.ndarray | None]:
    assert view is not None
    bias = view.layer.bias if getattr(view.layer, "use_bias", False) else None
    kernel = keras.ops.convert_to_numpy(view.kernel).astype(np.float64)
    return kernel, None if bias is None else keras.ops.convert_to_numpy(bias).astype(np.float64)


def _stack(view: LinearView, kernel: np.ndarray, bias: np.ndarray | None, intercept: _Intercept) -> np.ndarray:
    """Kernel and bias as one matrix (groups, unknowns, outputs)."""
    matrix = view.to_matrix(kernel)
    if not intercept.exists:
        return matrix
    row = np.zeros((matrix.shape[0], 1, matrix.shape[2])) if bias is None else bias.reshape(matrix.shape[0], 1, matrix.shape[2])
    return np.concatenate([matrix, row], axis=1)


def _with_ones(rows: np.ndarray, intercept: _Intercept) -> np.ndarray:
    rows = rows.astype(np.float64)
    return np.concatenate([rows, np.ones((*rows.shape[:-1], 1))], axis=-1) if intercept.exists else rows


def _numpy(view: LinearView, tensor: Tensor) -> np.ndarray:
    return view.channels_last(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")))


def _last_shape(view: LinearView, tensor: Tensor) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    return (shape[0], *shape[2:], shape[1]) if getattr(view.layer, "data_format", None) == "channels_first" else shape


def _predicts(
    view: LinearView,
    rows: np.ndarray,
    matrix: np.ndarray,
    bias: np.ndarray | None,
    intercept: _Intercept,
    inputs: Tensor,
    sample: np.ndarray,
    position: np.ndarray,
) -> bool:
    """Whether rows × matrix is what the layer computes: the guard against a view that misreads a layer."""
    predicted = np.moveaxis(rows @ matrix, 0, 1).reshape(len(sample), -1)
    activation = getattr(view.layer, "activation", None)
    if activation is not None:
        predicted = keras.ops.convert_to_numpy(activation(keras.ops.convert_to_tensor(predicted, dtype="float32")))
    actual = _numpy(view, view.layer(inputs))
    actual = actual.reshape(actual.shape[0], -1, actual.shape[-1])
    if actual.shape[1] != view.positions(_last_shape(view, inputs)) or actual.shape[2] != predicted.shape[1]:
        return False
    actual = actual[sample, position]
    scale = float(np.sqrt(np.mean(np.square(actual)))) + 1e-12
    return float(np.sqrt(np.mean(np.square(predicted - actual)))) <= _CHECK_TOLERANCE * scale


def _output_error(outputs: Sequence[Batches], targets: Sequence[Batches], options: _Options) -> float:
    """Mean squared difference over the targets' variance, on held-out samples; the mean over outputs."""
    errors = []
    for output, target in zip(outputs, targets, strict=True):
        a, b = (
            np.concatenate([keras.ops.convert_to_numpy(keras.ops.cast(chunk, "float32")) for chunk in chunks]).astype(np.float64)
            for chunks in (output, target)
        )
        a, b = a[options.held_out], b[options.held_out]
        variance = float(np.var(b))
        errors.append(float(np.mean(np.square(a - b))) / variance if variance > 0 else float(np.mean(np.square(a - b))))
    if not np.all(np.isfinite(errors)):
        warnings.warn("The outputs of the models are not finite on some calibration samples.", KerasPReLUWarning, stacklevel=5)
    return float(np.mean(errors))
