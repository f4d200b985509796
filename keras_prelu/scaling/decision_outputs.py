"""Outputs whose decisions do not depend on a positive factor, according to the compiled loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_prelu.backend.keras_internals import compile_arguments
from keras_prelu.data.losses import resolved_loss
from keras_prelu.graph.layer_kinds import is_op_of_tensors, is_plain_call, keras_class
from keras_prelu.graph.output_names import output_names
from keras_prelu.graph.plan import ExecutionPlan, Step

__all__ = ["decision_outputs", "kind_of_probabilities", "output_probabilities"]

_CROSS_ENTROPIES = {
    keras.losses.BinaryCrossentropy: keras.losses.binary_crossentropy,
    keras.losses.BinaryFocalCrossentropy: keras.losses.binary_focal_crossentropy,
    keras.losses.CategoricalCrossentropy: keras.losses.categorical_crossentropy,
    keras.losses.CategoricalFocalCrossentropy: keras.losses.categorical_focal_crossentropy,
    keras.losses.SparseCategoricalCrossentropy: keras.losses.sparse_categorical_crossentropy,
}
"""The losses of classes and the functions that compute them."""

_FUNCTIONS = {"softmax": keras.activations.softmax, "sigmoid": keras.activations.sigmoid}
_OPS = {"Softmax": "softmax", "Sigmoid": "sigmoid"}


def kind_of_probabilities(step: Step) -> str:
    """Return what computes probabilities from logits in a step: "softmax", "sigmoid", or "".

    A positive factor of the logits keeps the most probable class of a softmax over the last axis,
    and the side of 1/2 on which each probability of a sigmoid is.

    Args:
        step: `Step`. A softmax or sigmoid layer or op, or a layer with such an activation.
    """
    layer = step.operation
    if getattr(layer, "axis", -1) != -1:
        return ""
    if not isinstance(layer, keras.layers.Layer):
        return _OPS.get(type(layer).__name__, "") if is_op_of_tensors(step) else ""
    if not is_plain_call(step):
        return ""
    if keras_class(layer) is keras.layers.Softmax:
        return "softmax"
    activation = getattr(layer, "activation", None)
    return next((name for name, function in _FUNCTIONS.items() if activation is function), "")


def output_probabilities(plan: ExecutionPlan) -> tuple[str, ...]:
    """Return `kind_of_probabilities` of what writes each output of a model."""
    writers = map(plan.writer, plan.outputs)
    return tuple("" if writer is None else kind_of_probabilities(writer) for writer in writers)


def decision_outputs(model: keras.Model, plan: ExecutionPlan) -> tuple[bool, ...]:
    """Return for each output of a model whether its compiled loss is one of classes.

    That is a cross-entropy of logits, or of the probabilities that the model computes from them.

    Args:
        model: `keras.Model`. It need not be compiled; then no output is.
        plan: `ExecutionPlan` of the model.
    """
    losses = _losses(model, len(plan.outputs))
    return tuple(
        _is_of_classes(loss, from_logits=not kind)
        for loss, kind in zip(losses, output_probabilities(plan), strict=True)
    )


def _losses(model: keras.Model, count: int) -> list[Any]:
    """Return the compiled loss of each output, or None."""
    loss = compile_arguments(model).get("loss")
    if isinstance(loss, Mapping):
        keys = [path[-1] if path else "" for path, _ in _outputs_by_path(model)]
        names: Sequence[Any] = output_names(model) or keys
        parts = [loss.get(key, loss.get(name)) for key, name in zip(keys, names, strict=True)]
    elif isinstance(loss, (list, tuple)):
        parts = list(loss) if len(loss) == count else [None] * count
    else:
        parts = [loss] * count
    return [None if part is None else resolved_loss(part) for part in parts]


def _outputs_by_path(model: keras.Model) -> list[tuple[tuple[Any, ...], Any]]:
    found: list[tuple[tuple[Any, ...], Any]] = keras.tree.flatten_with_path(model.output)
    return found


def _is_of_classes(loss: Any, *, from_logits: bool) -> bool:
    """Return whether a loss is a cross-entropy.

    Args:
        loss: Keras loss, function or None.
        from_logits: Boolean. Whether it has to be one of logits.
    """
    for cls, function in _CROSS_ENTROPIES.items():
        if isinstance(loss, cls):
            return not from_logits or bool(loss.get_config().get("from_logits"))
        if loss is function:
            return not from_logits
    return False
