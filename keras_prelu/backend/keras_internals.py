"""Access to private parts of Keras without a public equivalent, each behind one function.

Whatever a future version of Keras may break is in this module and nowhere else;
`tests/backends/test_keras_internals.py` tests each piece by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import keras
from keras.src import backend
from keras.src.backend.common import masking
from keras.src.losses.loss import squeeze_or_expand_to_same_rank
from keras.src.models.functional import Functional, functional_like_constructor
from keras.src.ops.function import Function, make_node_key
from keras.src.ops.numpy import Multiply
from keras.src.utils.tracking import Tracker

__all__ = [
    "EXECUTION_FUNCTIONS",
    "MOVING_AVERAGES",
    "Functional",
    "Node",
    "added_losses",
    "backend_namespaces",
    "begin_at_epoch",
    "built_for",
    "compile_arguments",
    "compiled_metrics",
    "copy_tf_wrapper",
    "direct_sublayers",
    "functional_like_constructor",
    "has_automatic_name",
    "has_settable_rate",
    "index_by_identity",
    "is_sparse",
    "keep_losses",
    "keras_mask",
    "metric_direction",
    "metric_function",
    "moving_averages",
    "nodes_in_order",
    "nodes_kept",
    "nodes_of_graph",
    "optimizer_config",
    "optimizer_map",
    "own_attributes",
    "producer",
    "ranks_aligned",
    "recurrent_states",
    "set_keras_mask",
    "state_by_variable",
    "state_variables",
    "steps_counter",
    "sublayers",
    "treat_apart",
    "unlocked",
    "untrack",
    "variable_index",
    "variable_key",
    "weight_decay_exclusions",
]


class Node(NamedTuple):
    """One call of an operation in a graph."""

    operation: keras.Operation
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]


def nodes_in_order(function: Any) -> Iterator[Node]:
    """Yield the calls in a `keras.Function` or functional model, without the inputs.

    The calls are in the order in which Keras executes them.
    """
    for depth in sorted(function._nodes_by_depth, reverse=True):
        for node in function._nodes_by_depth[depth]:
            if node.operation and not node.is_input:
                inputs, outputs = tuple(node.input_tensors), tuple(node.output_tensors)
                yield Node(
                    operation=node.operation,
                    args=node.arguments.args,
                    kwargs=node.arguments.kwargs,
                    inputs=inputs,
                    outputs=outputs,
                )


@contextmanager
def nodes_kept(layers: Sequence[keras.layers.Layer]) -> Iterator[None]:
    """Forget the calls of layers on symbolic tensors that are made within the context."""
    lists = [nodes for layer in layers for nodes in (layer._inbound_nodes, layer._outbound_nodes)]
    lengths = [len(nodes) for nodes in lists]
    try:
        yield
    finally:
        for nodes, length in zip(lists, lengths, strict=True):
            del nodes[length:]


def producer(tensor: keras.KerasTensor) -> keras.Operation:
    """Return the operation that created a symbolic tensor."""
    return tensor._keras_history.operation


def is_sparse(tensor: keras.KerasTensor) -> bool:
    """Return whether a symbolic tensor stands for sparse ones.

    `tensor.sparse` is also True for products of dense tensors with numbers and arrays, and for what
    is computed from them: `keras.ops.multiply` takes all that is not a tensor for sparse.
    """
    found: set[int] = set()
    pending = [tensor] if tensor.sparse and backend.SUPPORTS_SPARSE_TENSORS else []
    while pending:
        operation, node_index, _ = pending.pop()._keras_history
        inputs = operation._inbound_nodes[node_index].input_tensors
        sparse = [each for each in inputs if each.sparse]
        if not sparse and not isinstance(operation, Multiply):
            return True
        pending += [each for each in sparse if id(each) not in found]
        found.update(map(id, sparse))
    return False


def has_automatic_name(tensor: keras.KerasTensor) -> bool:
    """Return whether Keras, and not the user, named a symbolic tensor."""
    return bool(tensor.name.startswith("keras_tensor"))


def sublayers(layer: Any) -> list[keras.layers.Layer]:
    """Return the layers inside a layer, at any depth, without the layer itself."""
    return (
        list(layer._flatten_layers(include_self=False))
        if isinstance(layer, keras.layers.Layer)
        else []
    )


def direct_sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return the layers that a layer holds itself, without those inside them."""
    return list(layer._flatten_layers(include_self=False, recursive=False))


def own_attributes(layer: Any) -> list[tuple[str, Any]]:
    """Return the names and values of the attributes that a layer's own class set.

    Attributes that Keras, TensorFlow or PyTorch set are left out.
    """
    # PyTorch stores attributes that are modules in a dictionary of their own.
    attributes = {**vars(layer), **vars(layer).get("_modules", {})}
    return [
        (name, value)
        for name, value in attributes.items()
        if name not in _attributes_of_keras() and not name.startswith("_self_")
    ]


@functools.cache
def _attributes_of_keras() -> frozenset[str]:
    # A model sets those of a Sequential: the functions that `fit` and `predict` compile, and more.
    return frozenset({*vars(keras.layers.Layer()), *vars(keras.Sequential(name="unused"))}) | {
        "_functional",
        "_layers",
        "_modules",
        "_torch_params",
    }


@contextmanager
def unlocked(layer: keras.layers.Layer) -> Iterator[None]:
    """Let a built layer take new sublayers within the context.

    Keras locks a layer when it is built, against code that adds state too late.
    """
    tracker = layer._tracker
    locked = tracker.locked
    tracker.unlock()
    try:
        yield
    finally:
        if locked:
            tracker.lock()


def steps_counter(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Return the variable in which an optimizer counts its steps.

    The public `iterations` differs from it if gradients accumulate.
    """
    return optimizer._iterations


def built_for(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Return the variables that an optimizer was built to train."""
    return list(optimizer._trainable_variables)


MOVING_AVERAGES = "_model_variables_moving_average"
"""The attribute in which an optimizer with `use_ema` keeps moving averages of its variables."""


def state_by_variable(optimizer: keras.optimizers.Optimizer) -> dict[str, list[Any]]:
    """Return the state that an optimizer keeps for each of the variables that it trains.

    Keras's optimizers, and those that are written as its documentation says, hold it in lists with
    one entry for each variable: moments, accumulators, accumulated gradients, moving averages.

    Args:
        optimizer: Keras optimizer that updates variables itself, not one that delegates. Built.

    Returns:
        Dict from the name of an attribute to its list, in the order of the variables. An entry that
        is no `keras.Variable` stands for a variable without such state.
    """
    count = len(optimizer._trainable_variables)
    return {
        name: list(value)
        for name, value in vars(optimizer).items()
        if name not in ("_trainable_variables", "_variables")
        and isinstance(value, (list, tuple))
        and len(value) == count
        and any(isinstance(entry, keras.Variable) for entry in value)
    }


def variable_index(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> int | None:
    """Return the place of a variable among those that an optimizer trains, or None."""
    index: int | None = optimizer._trainable_variables_indices.get(optimizer._var_key(variable))
    return index


def begin_at_epoch(model: keras.Model, epoch: int) -> None:
    """Let the `fit` that has just begun start at the given epoch.

    `keras.callbacks.BackupAndRestore` does this too.
    """
    model._initial_epoch = epoch


def keras_mask(tensor: Any) -> Any:
    """Return the mask that a layer attached to a tensor, symbolic or not, or None."""
    return masking.get_keras_mask(tensor)


def set_keras_mask(tensor: Any, mask: Any) -> None:
    """Attach a mask to a tensor, or remove its mask if `mask` is None."""
    masking.set_keras_mask(tensor, mask)


def state_variables(layer: Any) -> list[keras.Variable]:
    """Return the variables of a layer, at any depth, that may change while it is called.

    They are the variables that were created as not trainable (moving statistics, states of
    recurrent layers, counters), and those of random generators and metrics. Weights that are
    frozen are not among them.
    """
    layers = [layer, *sublayers(layer)] if isinstance(layer, keras.layers.Layer) else []
    variables = [variable for each in layers for variable in each._non_trainable_variables]
    variables += [each.state for inner in layers for each in inner._seed_generators]
    for inner in layers:
        variables += [*inner.metrics_variables, *recurrent_states(inner)]
    unique = {id(variable): variable for variable in variables}
    return list(unique.values())


def seed_states(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Return the states of the random generators of a layer, at any depth."""
    return [each.state for inner in (layer, *sublayers(layer)) for each in inner._seed_generators]


def added_losses(layer: keras.layers.Layer) -> list[Any]:
    """Return the losses that the last call of a layer added, at any depth.

    Unlike `layer.losses`, they don't include the regularizers of weights.
    """
    return [loss for each in (layer, *sublayers(layer)) for loss in each._get_own_losses()]


def recurrent_states(layer: Any) -> list[keras.Variable]:
    """Return the states that a stateful recurrent layer carries to the next batch.

    Keras does not count them among the layer's variables.
    """
    if not isinstance(layer, keras.layers.RNN) or not layer.stateful:
        return []
    return [
        state for state in keras.tree.flatten(layer.states) if isinstance(state, keras.Variable)
    ]


@contextmanager
def keep_losses(layer: Any) -> Iterator[None]:
    """Restore the losses that the last call of a layer left, at any depth, after the context."""
    layers = [layer, *sublayers(layer)] if isinstance(layer, keras.layers.Layer) else []
    kept = [(each, list(each._losses), set(each._loss_ids)) for each in layers]
    try:
        yield
    finally:
        for each, losses, ids in kept:
            each._losses.clear()
            each._losses.extend(losses)
            each._loss_ids.clear()
            each._loss_ids.update(ids)


def backend_namespaces() -> tuple[ModuleType, ...]:
    """Return the modules in which Keras looks up the functions of its backend, such as `map`."""
    return backend, backend.core


def moving_averages(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Return the moving averages that an optimizer with `use_ema` keeps of its variables.

    Raises:
        AttributeError: The optimizer keeps none, or is not built.
    """
    return list(getattr(optimizer, MOVING_AVERAGES))


def optimizer_config(optimizer: keras.optimizers.Optimizer, **stand_ins: Any) -> dict[str, Any]:
    """Return the configuration of an optimizer, with a schedule or function as the object itself.

    The class of the schedule need not be registered, nor have a configuration.

    Args:
        optimizer: Keras optimizer.
        **stand_ins: Values that take the place of attributes of the optimizer in the configuration.
    """
    setting = optimizer._learning_rate
    is_object = callable(setting) and not isinstance(setting, keras.Variable)
    if is_object:
        stand_ins["_learning_rate"] = None
    # `copy.copy` would save and load the optimizer.
    stand_in = object.__new__(type(optimizer))
    vars(stand_in).update(vars(optimizer), **stand_ins)
    config = dict(stand_in.get_config())
    if is_object and "learning_rate" in config:
        config["learning_rate"] = setting
    return config


def has_settable_rate(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether the learning rate of an optimizer is a number, which can be set."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return isinstance(optimizer._learning_rate, keras.Variable)


def optimizer_map(optimizer: keras.optimizers.Optimizer) -> Any:
    """Return the map or function by which a `MultiOptimizer` chooses; None for other optimizers."""
    return getattr(optimizer, "_optimizer_map", None)


class DecayExclusions(NamedTuple):
    """What an optimizer excludes from weight decay.

    Attributes:
        keys: Frozen set. Keys of variables, see `variable_key`.
        pattern: String. Regular expression that matches names of variables, or "".
    """

    keys: frozenset[Any]
    pattern: str


def weight_decay_exclusions(optimizer: keras.optimizers.Optimizer) -> DecayExclusions:
    """Return what `exclude_from_weight_decay` was called with."""
    pattern = getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
    return DecayExclusions(
        keys=frozenset(getattr(optimizer, "_exclude_from_weight_decay", ())),
        pattern="" if pattern is None else pattern.pattern,
    )


def variable_key(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> Any:
    """Return the key by which an optimizer knows a variable."""
    return optimizer._var_key(variable)


def treat_apart(
    optimizer: keras.optimizers.Optimizer,
    is_member: Callable[[keras.Variable], bool],
    *,
    rate: Callable[[Any], Any] | None,
    clip: Callable[[Any], Any] | None,
) -> None:
    """Let an optimizer treat some of its variables apart, in place.

    They get no weight decay. All else that the optimizer does for all variables together, such as
    clipping by the global norm, remains as it is.

    Args:
        optimizer: Keras optimizer that updates variables itself, not one that delegates.
        is_member: Function that returns whether a variable is treated apart.
        rate: Function from the optimizer's learning rate to that of these variables. None stands
            for the same.
        clip: Function that clips the gradient of one of these variables, in place of the
            optimizer's own clipping. None stands for the optimizer's.
    """
    kind = type(optimizer)

    def apply_weight_decay(variables: Sequence[Any]) -> None:
        others = [variable for variable in variables if not is_member(variable)]
        if others:
            kind._apply_weight_decay(optimizer, others)

    # Attributes of the instance hide the methods of its class, which an attribute set by an earlier
    # call does not: a second call replaces what the first one did.
    optimizer._apply_weight_decay = apply_weight_decay
    if rate is not None:
        optimizer._backend_update_step = functools.partial(
            _update_apart, optimizer, is_member, rate
        )
    if clip is not None:
        _clip_apart(optimizer, is_member, clip)


def _update_apart(
    optimizer: Any,
    is_member: Callable[[Any], bool],
    rate: Callable[[Any], Any],
    gradients: Sequence[Any],
    variables: Sequence[Any],
    learning_rate: Any,
) -> None:
    """Update variables, those apart with a learning rate of their own."""
    kind = type(optimizer)
    for apart in (False, True):
        pairs = [
            (gradient, variable)
            for gradient, variable in zip(gradients, variables, strict=True)
            if is_member(variable) == apart
        ]
        if not pairs:
            continue
        rate_of_group = rate(learning_rate) if apart else learning_rate
        if apart and not kind.__module__.startswith("keras."):
            # A user's `update_step` may read the optimizer's learning rate, not its argument.
            optimizer._get_current_learning_rate = lambda value=rate_of_group: value
        try:
            kind._backend_update_step(
                optimizer,
                [gradient for gradient, _ in pairs],
                [variable for _, variable in pairs],
                rate_of_group,
            )
        finally:
            vars(optimizer).pop("_get_current_learning_rate", None)


def _clip_apart(
    optimizer: Any, is_member: Callable[[Any], bool], clip: Callable[[Any], Any]
) -> None:
    kind = type(optimizer)
    applied: list[Any] = []  # The variables of the gradients that are clipped next.

    def apply_gradients(gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        applied[:] = variables
        kind._backend_apply_gradients(optimizer, gradients, variables)

    def clip_gradients(gradients: Sequence[Any]) -> list[Any]:
        clipped = kind._clip_gradients(optimizer, gradients)
        return [
            clip(gradient) if is_member(variable) else other
            for gradient, other, variable in zip(gradients, clipped, applied, strict=True)
        ]

    optimizer._backend_apply_gradients = apply_gradients
    optimizer._clip_gradients = clip_gradients


def compile_arguments(model: keras.Model) -> Mapping[str, Any]:
    """Return the arguments that a model was compiled with, as objects.

    `get_compile_config` returns their configurations, from which a loss or metric that is not
    registered can't be made again. The result is empty if the model is not compiled. Keras does not
    store `auto_scale_loss`; it follows from the optimizer.
    """
    settings = getattr(model, "_compile_config", None)
    if not model.compiled or settings is None:
        return {}
    has_float16 = model.dtype_policy.name == "mixed_float16"
    scales_loss = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    return {**settings.config, "auto_scale_loss": scales_loss or not has_float16}


class WrappedFunction(NamedTuple):
    """A function of a metric, and its further arguments."""

    function: Callable[..., Any]
    arguments: Mapping[str, Any]


def metric_function(metric: keras.metrics.MeanMetricWrapper) -> WrappedFunction:
    """Return the function whose mean a metric is."""
    return WrappedFunction(function=metric._fn, arguments=metric._fn_kwargs)


def compiled_metrics(model: keras.Model) -> Any:
    """Return the metric that holds those which a model is compiled with, or None without any.

    Its `result()` is a dict, and its `metrics` are the single ones once it is built.
    """
    metrics = getattr(model, "_compile_metrics", None)
    if metrics is None or not (metrics._user_metrics or metrics._user_weighted_metrics):
        return None
    return metrics


def metric_direction(metric: keras.metrics.Metric) -> str | None:
    """Return "up" if higher values are better, "down" if lower ones are, None if unknown."""
    direction = getattr(metric, "_direction", None)
    return direction if direction in ("up", "down") else None


def ranks_aligned(labels: Any, outputs: Any) -> tuple[Any, Any]:
    """Return labels and outputs with the same rank if one of them lacks a last axis of size 1.

    In training, Keras aligns what it gives to a loss that is a function.
    """
    one, other = squeeze_or_expand_to_same_rank(labels, outputs)
    return one, other


EXECUTION_FUNCTIONS = ("train_function", "test_function", "predict_function")
"""The attributes in which a model keeps the functions that `fit` and the like have compiled."""


def nodes_of_graph(layer: Any) -> list[Any]:
    """Return the nodes of the graph of a functional or Sequential model, if it has one."""
    by_depth = getattr(getattr(layer, "_functional", None) or layer, "_nodes_by_depth", {})
    return [node for nodes in by_depth.values() for node in nodes]


def copy_tf_wrapper(value: Any, copied: Callable[[Any], Any]) -> Any:
    """Return a copy of a list, dict or tuple in the wrapper by which TensorFlow tracks it.

    Args:
        value: Any.
        copied: Function that returns the copy of what is in the wrapper.

    Returns:
        The copy, or None for any other value.
    """
    if not type(value).__module__.startswith("tensorflow.python.trackable.data_structures"):
        return None
    import tensorflow as tf

    kind = next(kind for kind in (dict, list, tuple) if isinstance(value, kind))
    return tf.__internal__.tracking.wrap(kind(copied(kind(value))))


def index_by_identity(copy: Any) -> None:
    """Let a copy of one of Keras's objects find by identity what it holds, if it does so."""
    if isinstance(copy, Function):
        copy._nodes = {
            make_node_key(node.operation, node.operation._inbound_nodes.index(node))
            for node in nodes_of_graph(copy)
        }
    if isinstance(copy, Tracker):
        copy.stored_ids = {name: set(map(id, store)) for name, (_, store) in copy.config.items()}
    elif isinstance(copy, keras.optimizers.Optimizer) and copy.built:
        copy._trainable_variables_indices = {
            copy._var_key(variable): i for i, variable in enumerate(copy._trainable_variables)
        }


def untrack(layer: Any, layers: Sequence[Any]) -> None:
    """Make layers no sublayers of a layer any more; no attribute of it may hold them."""
    for each in layers:
        layer._tracker.untrack(each)
    if hasattr(layer, "_torch_params"):
        layer._track_variables()
