"""The largest slopes that calibration can make up for, layer by layer.

How much of what a ReLU put out the next layer can still get from the PReLU's output depends on how
many channels there are and how they are correlated: a narrow layer can't restore what its slopes
add. That share is measured for each site and each slope on a few samples, by least squares between
the channels. One threshold on it gives all sites their slopes; a bisection finds the largest
threshold at which the calibrated model's loss of function stays within the tolerance on held-out
samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.variables import snapshot
from keras_prelu.calibration.calibrate import calibrate, hold_out, with_graph
from keras_prelu.calibration.layerwise import Progress
from keras_prelu.calibration.records import Calibration
from keras_prelu.calibration.ridge import RidgeProblem
from keras_prelu.data.samples import as_samples, batches, model_inputs
from keras_prelu.errors import ConversionError, InvalidArgumentError, KerasPReLUWarning
from keras_prelu.graph.replacement import replaced
from keras_prelu.layers import PReLU
from keras_prelu.sites.prelu_layers import prelu_layers
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["SlopeSearch", "SlopeTrial", "find_slopes", "set_slope"]

Tensor = Any

_HALVINGS = 8
"""Slopes that are tried: the largest one, halved up to so many times."""
_BISECTIONS = 5
_CHANNELS = 256
"""So many channels of a site are looked at; with more the restoration is only easier."""
_ROWS_PER_CHANNEL = 5


@dataclass(frozen=True)
class SlopeTrial:
    """One choice of slopes, calibrated and judged on held-out samples.

    Attributes:
        threshold: The largest share of a site's output that its slopes were allowed to leave
            unrestored.
        loss: Mean squared change of the model's output over its variance.
        changed: How many samples' largest output is another one; None where no output is a vector.
        within: Whether that is within the tolerance.
    """

    threshold: float
    loss: float
    changed: int | None
    within: bool


@dataclass(frozen=True)
class SlopeSearch:
    """What a search for slopes found.

    Attributes:
        slopes: For the path of each PReLU layer its slope now.
        tolerance: The loss that was allowed.
        same_decisions: Whether no held-out sample's largest output was allowed to become another
            one.
        within: Whether the slopes found are within the tolerance; False where not even the smallest
            ones are, which the model then has.
        trials: What was tried, in order.
        calibration: The record of the calibration that the model has now.
    """

    slopes: dict[str, float]
    tolerance: float
    same_decisions: bool
    within: bool
    trials: tuple[SlopeTrial, ...]
    calibration: Calibration


def find_slopes(
    converted: keras.Model,
    original: keras.Model,
    samples: Any,
    *,
    tolerance: float | None = None,
    largest: float = 0.25,
    layers: Sequence[str] | None = None,
    refit_frozen: bool = False,
    batch_size: int = 128,
    memory_limit: float = 4e9,
    seed: int = 0,
    on_step: Progress | None = None,
) -> SlopeSearch:
    """Give each PReLU layer the largest slope that calibration can make up for, and calibrate, in
    place.

    Costs one pass over the samples and up to seven calibrations.

    Args:
        converted: What `convert(original, rescale="none")` returned.
        original: The ReLU model it was made from. Not changed.
        samples: Unlabeled samples, as in `calibrate`.
        tolerance: The mean squared change of the model's output that is allowed, over its variance,
            on held-out samples. Defaults to None, a loss that they can't tell from none: less than
            exchanging one of them would change (1 over their number), and where outputs are
            vectors, such as logits, every sample's largest one stays the same.
        largest: The largest slope to try; then its half, down to its 256th part. Defaults to 0.25.
        layers: Paths of the PReLU layers that get new slopes. Defaults to all.
        refit_frozen, batch_size, memory_limit, seed, on_step: As in `calibrate`; `on_step` is
            called through each calibration anew.

    Returns:
        The record, see `SlopeSearch`.

    Raises:
        InvalidArgumentError: A ValueError; the tolerance or the largest slope is not positive, or a
            map can't represent the slopes.
        CalibrationError, ConversionError, DataError: As in `calibrate`; or a path is not that of a
            PReLU layer.

    Example:

    >>> converted = keras_prelu.convert(model, rescale="none")
    >>> search = keras_prelu.find_slopes(converted, model, x_train[:512], tolerance=0.001)
    >>> search.within

    References:
        docs/explanation/calibration.md: a narrow layer loses what calibration can't restore.
    """
    if (tolerance is not None and not tolerance > 0) or not largest > 0:
        raise InvalidArgumentError(
            f"`tolerance` and `largest` must be positive. Received: tolerance={tolerance},"
            f" largest={largest}"
        )
    chosen = _layers(converted, layers)
    slopes = [largest * 0.5**i for i in range(_HALVINGS, -1, -1)]
    for layer in chosen.values():
        layer.parameterization.check(np.asarray(slopes))
    samples = as_samples(samples, role="calibration samples", labels="ignored").in_memory()
    original, converted = with_graph(original, samples.x), with_graph(converted, samples.x)
    inputs = model_inputs(original, samples, "calibration samples")
    original, converted = _taking_lists(original), _taking_lists(converted)
    search = _Search(converted, original, inputs, chosen, tolerance, seed)
    shares = _unrestored(converted, inputs, chosen, slopes, batch_size, np.random.default_rng(seed))
    return search.run(
        slopes,
        shares,
        lambda: calibrate(
            converted,
            original,
            inputs if len(inputs) > 1 else inputs[0],
            refit_frozen=refit_frozen,
            batch_size=batch_size,
            memory_limit=memory_limit,
            seed=seed,
            on_step=on_step,
        ),
    )


def set_slope(layer: PReLU, slope: float) -> None:
    """Give all slopes of a built layer one value."""
    layer.beta.assign(layer.parameterization.beta(np.full(layer.beta.shape, slope)))


class _Search:
    def __init__(
        self,
        converted: keras.Model,
        original: keras.Model,
        inputs: list[np.ndarray],
        layers: dict[str, PReLU],
        tolerance: float | None,
        seed: int,
    ) -> None:
        held_out = hold_out(len(inputs[0]), np.random.default_rng(seed))
        self._held_out = [array[held_out] for array in inputs]
        self._tolerance = 1.0 / int(held_out.sum()) if tolerance is None else tolerance
        self._same_decisions = tolerance is None
        self._converted = converted
        self._layers = layers
        self._decisions = _decisions(original, self._held_out)
        self._start = [(variable, snapshot(variable)) for variable in converted.variables]
        self._trials: list[SlopeTrial] = []

    def run(
        self, slopes: list[float], shares: dict[str, np.ndarray], fit: Callable[[], Calibration]
    ) -> SlopeSearch:
        """Leave the model with the largest slopes that are within the tolerance."""
        try:
            found = self._bisect(slopes, shares, fit)
        except BaseException:  # an interrupt too: slopes without a calibration are worse than none
            _assign(self._start)
            raise
        _assign(found.values)
        within = found.trial.within
        if not within:
            warnings.warn(
                f"Not even slopes of {slopes[0]:g} stay within the tolerance: the loss is"
                f" {found.trial.loss:.2g}, allowed are {self._tolerance:.2g}. More samples may"
                " help.",
                KerasPReLUWarning,
                stacklevel=4,
            )
        means = {
            path: float(np.mean(keras.ops.convert_to_numpy(layer.alpha)))
            for path, layer in self._layers.items()
        }
        return SlopeSearch(
            means,
            self._tolerance,
            self._same_decisions,
            within,
            tuple(self._trials),
            found.calibration,
        )

    def _bisect(
        self, slopes: list[float], shares: dict[str, np.ndarray], fit: Callable[[], Calibration]
    ) -> _Tried:
        """Try the largest slopes; if they are too large the smallest; if those are not, thresholds
        between."""
        thresholds = sorted({float(share) for values in shares.values() for share in values})
        low, high = 0, len(thresholds) - 1
        found = self._try(thresholds[high], slopes, shares, fit)
        if found.trial.within or low == high:
            return found
        found = self._try(thresholds[low], slopes, shares, fit)
        if not found.trial.within:
            return found
        for _ in range(_BISECTIONS):
            if high - low <= 1:
                break
            middle = (low + high) // 2
            tried = self._try(thresholds[middle], slopes, shares, fit)
            if tried.trial.within:
                low, found = middle, tried
            else:
                high = middle
        return found

    def _try(
        self,
        threshold: float,
        slopes: list[float],
        shares: dict[str, np.ndarray],
        fit: Callable[[], Calibration],
    ) -> _Tried:
        _assign(self._start)
        for path, layer in self._layers.items():
            able = np.flatnonzero(shares[path] <= threshold)
            set_slope(layer, slopes[able[-1] if able.size else 0])
        calibration = fit()
        changed = None
        if self._decisions:
            now = _decisions(self._converted, self._held_out)
            changed = sum(int(np.sum(a != b)) for a, b in zip(self._decisions, now, strict=True))
        within = calibration.error_after <= self._tolerance and not (
            self._same_decisions and changed
        )
        self._trials.append(SlopeTrial(threshold, calibration.error_after, changed, within))
        return _Tried(
            self._trials[-1],
            calibration,
            [(variable, snapshot(variable)) for variable, _ in self._start],
        )


@dataclass(frozen=True)
class _Tried:
    """A trial, with its calibration and the values that it left."""

    trial: SlopeTrial
    calibration: Calibration
    values: list[tuple[Any, np.ndarray]]


def _assign(values: list[tuple[Any, np.ndarray]]) -> None:
    for variable, value in values:
        variable.assign(value)


def _layers(converted: keras.Model, paths: Sequence[str] | None) -> dict[str, PReLU]:
    found = dict(prelu_layers(converted))
    missing = [path for path in paths or () if path not in found]
    if missing or not found:
        raise ConversionError(
            f"'{missing[0]}' is not a PReLU layer of the model, which are: {', '.join(found)}."
            if missing
            else f"Model '{converted.name}' has no PReLU layer. Convert it first."
        )
    return found if paths is None else {path: found[path] for path in paths}


@on_large_graphs
def _taking_lists(model: keras.Model) -> keras.Model:
    """The same layers as a model that takes its inputs as a list, whatever structure it has them
    in."""
    return keras.Model(list(model.inputs), list(model.outputs), name=model.name)


def _decisions(model: keras.Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The largest entry's index of each output that is a vector."""
    outputs = keras.tree.flatten(
        model.predict(
            inputs if len(inputs) > 1 else inputs[0], batch_size=model.inputs[0].shape[0], verbose=0
        )
    )
    return [
        output.argmax(axis=-1) for output in outputs if output.ndim == 2 and output.shape[1] > 1
    ]


def _unrestored(
    converted: keras.Model,
    inputs: list[np.ndarray],
    layers: dict[str, PReLU],
    slopes: list[float],
    batch_size: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """For each layer and slope the share of the ReLU's output that least squares between the
    channels can't restore; it never falls."""
    rows: dict[str, list[np.ndarray]] = {path: [] for path in layers}
    size = converted.inputs[0].shape[0] or batch_size
    fraction = size / len(inputs[0])
    with replaced(
        [
            (layer, "call", _recorder(layer, rows[path], fraction, rng))
            for path, layer in layers.items()
        ]
    ):
        for batch in batches(inputs, size):
            tensors = [keras.ops.convert_to_tensor(array) for array in batch]
            converted(tensors if len(tensors) > 1 else tensors[0], training=False)
    return {
        path: (
            np.maximum.accumulate(
                [_share(np.concatenate(found), slope, layers[path].max_value) for slope in slopes]
            )
            if found
            else np.zeros(len(slopes))
        )
        for path, found in rows.items()
    }


def _recorder(
    layer: PReLU, rows: list[np.ndarray], fraction: float, rng: np.random.Generator
) -> Callable[[Tensor], Tensor]:
    """What applies ReLU in a PReLU's place and notes some rows of what reaches it, `fraction` of
    those that are wanted."""
    channels: list[np.ndarray] = []

    def record(inputs: Tensor) -> Tensor:
        values = keras.ops.convert_to_numpy(keras.ops.cast(inputs, "float32"))
        values = np.moveaxis(values, 1, -1) if layer.data_format == "channels_first" else values
        flat = values.reshape(-1, values.shape[-1])
        if not channels:
            channels.append(rng.permutation(flat.shape[1])[:_CHANNELS])
        wanted = int(np.ceil(fraction * _ROWS_PER_CHANNEL * max(len(channels[0]), 50)))
        rows.append(flat[rng.permutation(len(flat))[:wanted]][:, channels[0]])
        outputs = keras.ops.relu(inputs)
        return (
            outputs
            if layer.max_value is None
            else keras.ops.minimum(outputs, keras.ops.cast(layer.max_value, outputs.dtype))
        )

    return record


def _share(pre_activations: np.ndarray, slope: float, max_value: float | None) -> float:
    """Squared error of the best affine map from PReLU's outputs to ReLU's, over their variance, on
    a quarter of the rows."""
    x = pre_activations.astype(np.float64)
    high = np.inf if max_value is None else max_value
    targets, rows = np.clip(x, 0.0, high), np.minimum(np.where(x > 0, x, slope * x), high)
    problem = RidgeProblem(x.shape[1] + 1, x.shape[1])
    design = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    problem.add(
        design[None], (targets - rows)[None], targets[None], held_out=np.arange(len(x)) % 4 == 0
    )
    return min(problem.best().error, problem.error(None))
