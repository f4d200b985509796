"""The losses of a model's outputs, for each sample, as `compile` combines them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.backend.keras_internals import compile_arguments, keras_mask, ranks_aligned
from keras_prelu.data.losses import resolved_loss
from keras_prelu.errors import DataError, InvalidArgumentError, reason_of

__all__ = [
    "CHOSEN_BY_LABELS",
    "OutputLoss",
    "OutputStructure",
    "SampleLosses",
    "loss_weights_of",
    "output_losses",
    "sample_losses",
]

CHOSEN_BY_LABELS = ("crossentropy", "ce")
"""Names of the cross-entropy that Keras chooses by the shapes of labels and outputs."""


@dataclass(frozen=True, kw_only=True)
class OutputStructure:
    """The arrangement and the names of a model's outputs.

    Attributes:
        positions: Structure of the outputs, with the position of each output at its leaf.
        names: Tuple of str. The keys of a dict of outputs, or else the names that a functional
            model gives its outputs.
    """

    positions: Any
    names: tuple[str, ...]

    @classmethod
    def of(cls, model: keras.Model, outputs: Any) -> OutputStructure:
        """Return the structure of outputs that a model returned."""
        leaves = keras.tree.flatten(outputs)
        names = tuple(getattr(model, "output_names", None) or ())
        if isinstance(outputs, Mapping):
            names = tuple(sorted(outputs))
        if len(names) != len(leaves):
            names = tuple(f"output_{number}" for number in range(1, len(leaves) + 1))
        return cls(
            positions=keras.tree.pack_sequence_as(outputs, list(range(len(leaves)))), names=names
        )

    def __len__(self) -> int:
        return len(self.names)

    def _is_nested(self) -> bool:
        outer = self.positions
        parts = outer.values() if isinstance(outer, Mapping) else outer if len(self) > 1 else ()
        return not all(isinstance(part, int) for part in parts)

    def pack(self, parts: Sequence[Any]) -> Any:
        """Return parts, one for each output, in the structure of the outputs."""
        return keras.tree.map_structure(lambda position: parts[position], self.positions)

    def aligned(self, parts: Any, what: str) -> list[Any]:
        """Return what is given for some or all of the outputs, in their order.

        Args:
            parts: A dict by the names of the outputs, which may lack some; a list for all; or a
                single part if there is one output.
            what: Str. What the parts are, for messages.

        Returns:
            List with None for outputs for which nothing is given.

        Raises:
            DataError: The parts are of other outputs.
        """
        if parts is None:
            return [None] * len(self)
        if self._is_nested():
            # As in Keras, what is given for outputs in a structure has that structure.
            found: list[Any] = [None] * len(self)
            if _fill(found, self.positions, parts):
                return found
        if isinstance(parts, Mapping):
            unknown = [name for name in parts if name not in self.names]
            if unknown and len(parts) == len(self) == 1:
                return list(parts.values())
            if unknown:
                raise DataError(
                    f"The {what} are for an output '{unknown[0]}', but the model's outputs are"
                    f" {', '.join(map(repr, self.names))}."
                )
            return [parts.get(name) for name in self.names]
        if isinstance(parts, (list, tuple)) and len(parts) == len(self):
            return list(parts)
        if isinstance(parts, (list, tuple)) or len(self) > 1:
            count = len(parts) if isinstance(parts, (list, tuple)) else 1
            raise DataError(
                f"The model has {len(self)} outputs ({', '.join(map(repr, self.names))}), the"
                f" {what} have {count}. Give a dict with these names, or a list in this order."
            )
        return [parts]


def _fill(found: list[Any], positions: Any, parts: Any) -> bool:
    """Put parts at the positions of a structure, and return whether they have that structure.

    Containers may be of other classes: Keras and TensorFlow wrap those that a model holds.
    """
    if isinstance(positions, int):
        found[positions] = parts
        return True
    if isinstance(positions, Mapping):
        return (
            isinstance(parts, Mapping)
            and parts.keys() == positions.keys()
            and all(_fill(found, positions[name], parts[name]) for name in positions)
        )
    return (
        isinstance(parts, (list, tuple))
        and len(parts) == len(positions)
        and all(_fill(found, *pair) for pair in zip(positions, parts, strict=True))
    )


@dataclass(frozen=True, kw_only=True)
class OutputLoss:
    """The loss of one output.

    Attributes:
        output: Int. The position of the output.
        function: Keras loss, function, or name of a loss that depends on the labels.
        weight: Float. Its weight in the sum of all losses.
    """

    output: int
    function: Any
    weight: float


@dataclass(frozen=True, kw_only=True)
class SampleLosses:
    """The loss of each sample of a batch at one output.

    Attributes:
        values: Tensor of shape (samples,). Losses times weights, averaged over a sample's time
            steps or pixels.
        mass: Tensor of shape (samples,). By whose mean Keras divides the mean of the values: the
            share that is not masked, or the weights, depending on the loss's reduction.
    """

    values: Any
    mass: Any


def loss_weights_of(model: keras.Model) -> Any:
    """Return the weights of the outputs that a model is compiled with, or None."""
    return compile_arguments(model).get("loss_weights")


def output_losses(loss: Any, loss_weights: Any, structure: OutputStructure) -> list[OutputLoss]:
    """Return the losses of a model's outputs, as `compile` assigns them.

    Args:
        loss: Keras loss; for several outputs one for all, or a list or dict of them, with None for
            outputs without loss.
        loss_weights: Float, or list or dict of floats, or None.
        structure: `OutputStructure`.

    Raises:
        DataError: Losses are of other outputs than the model's.
        InvalidArgumentError: There is no such loss. A `ValueError`.
    """
    is_of_all = not isinstance(loss, (list, tuple, Mapping)) or (
        isinstance(loss, Mapping) and "class_name" in loss
    )
    if is_of_all:
        losses = [loss] * len(structure)
    elif len(structure) == 1 and isinstance(loss, (list, tuple)):
        losses = [list(loss)]  # Several losses of one output.
    else:
        losses = structure.aligned(loss, "losses")
    weights: list[Any]
    if isinstance(loss_weights, (int, float)):
        weights = [loss_weights] * len(structure)
    elif len(structure) == 1 and isinstance(loss_weights, (list, tuple)):
        weights = [list(loss_weights)]
    else:
        weights = structure.aligned(loss_weights, "weights of the losses")
    result = []
    for output, (of_output, weight) in enumerate(zip(losses, weights, strict=True)):
        functions = of_output if isinstance(of_output, list) else [of_output]
        factors = weight if isinstance(weight, list) else [weight] * len(functions)
        result += [
            OutputLoss(
                output=output, function=_function(one), weight=1.0 if factor is None else factor
            )
            for one, factor in zip(functions, factors, strict=True)
            if one is not None
        ]
    return result


def sample_losses(
    loss: OutputLoss, labels: Any, output: Any, weights: Any = None, mask: Any = None
) -> SampleLosses:
    """Return the loss of each sample at an output.

    Args:
        loss: `OutputLoss`.
        labels: Tensor of labels.
        output: Tensor of what the model predicts.
        weights: Tensor of weights of the samples, or of their time steps, or None.
        mask: Tensor of booleans, or None: the mask that the model attached to the output.

    Raises:
        InvalidArgumentError: The loss gives no value for each sample. A `ValueError`.
    """
    function = _chosen(loss.function, labels, output)
    is_object = isinstance(function, keras.losses.Loss)
    dtype = function.dtype if is_object else keras.config.floatx()
    truth = keras.ops.convert_to_tensor(labels, dtype=dtype)
    predicted = keras.ops.convert_to_tensor(output, dtype=dtype)
    # As Keras does in training; else the loss would compare each label with all outputs.
    truth, predicted = ranks_aligned(truth, predicted)
    try:
        losses = (function.call if is_object else function)(truth, predicted)
    except Exception as error:  # Each backend has exceptions of its own, users' code any.
        raise InvalidArgumentError(
            f"The loss {loss_name(function)} can't be computed from labels of shape"
            f" {tuple(truth.shape[1:])} and outputs of shape {tuple(predicted.shape[1:])} a sample"
            f" ({reason_of(error, 80)})."
        ) from error
    if not len(losses.shape) or losses.shape[0] != predicted.shape[0]:
        raise InvalidArgumentError(
            "The loss must give a value for each sample, so that models can be compared by it."
            f" Received: values of shape {tuple(losses.shape)} for {predicted.shape[0]} samples"
        )
    valid = _product(_like(mask, losses), _like(keras_mask(losses), losses))
    factor = _product(valid, _like(weights, losses))
    divides_by_weights = getattr(function, "reduction", "") == "mean_with_sample_weight"
    mass = factor if divides_by_weights else valid
    return SampleLosses(
        values=_by_sample(losses if factor is None else losses * factor),
        mass=keras.ops.ones_like(_by_sample(losses)) if mass is None else _by_sample(mass),
    )


def loss_name(loss: Any) -> str:
    """Return the name of a loss for messages."""
    if isinstance(loss, str):
        return loss
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", type(loss).__name__))


def _function(loss: Any) -> Any:
    is_by_labels = isinstance(loss, str) and loss.lower() in CHOSEN_BY_LABELS
    return loss if is_by_labels else resolved_loss(loss)


def _chosen(function: Any, labels: Any, output: Any) -> Any:
    """Return the cross-entropy that Keras chooses for labels and outputs of these shapes."""
    if not isinstance(function, str):
        return function
    if output.shape[-1] == 1:
        return keras.losses.BinaryCrossentropy()
    is_sparse = len(labels.shape) < len(output.shape) or labels.shape[-1] == 1
    return (
        keras.losses.SparseCategoricalCrossentropy()
        if is_sparse
        else keras.losses.CategoricalCrossentropy()
    )


def _like(factor: Any, losses: Any) -> Any:
    """Return a factor in the dtype of losses and with axes for theirs, or None."""
    if factor is None:
        return None
    factor = keras.ops.cast(keras.ops.convert_to_tensor(factor), losses.dtype)
    if len(factor.shape) == len(losses.shape) + 1 and factor.shape[-1] == 1:
        factor = keras.ops.squeeze(factor, -1)
    while len(factor.shape) < len(losses.shape):
        factor = keras.ops.expand_dims(factor, -1)
    return keras.ops.broadcast_to(factor, losses.shape)


def _product(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return one * other


def _by_sample(values: Any) -> Any:
    axes = tuple(range(1, len(values.shape)))
    return keras.ops.mean(values, axis=axes) if axes else values
