"""Opening layers with Python code: the graph of what the code computes, in place of the code.

A stock layer can't take the place of a PReLU in Python code, since a file would not say where. But
code that can be called on symbolic tensors creates a graph, in which stock layers have a place: the
layers that it calls are layers of that graph, and functions of `keras.ops` are its operations. So a
model whose code applies PReLUs becomes a functional model that computes the same.

What stays behind: classes, with their methods and training steps; branches that the code takes in
training only; layers that the code does not call for inference. Refused is code whose graph does
not hold all of what it computes with: its own weights, and functions of a backend.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras

from keras_prelu.backend.dtype_policies import default_dtype_policy
from keras_prelu.backend.keras_internals import keras_mask, producer, sublayers
from keras_prelu.backend.symbolic_operators import symbolic_operators
from keras_prelu.conversion.replacements import ActivationFactory
from keras_prelu.conversion.rewriter import new_input
from keras_prelu.custom_layers.called_rectifiers import called_target
from keras_prelu.custom_layers.code_calls import CodeCalls
from keras_prelu.custom_layers.converted_layer import exchange_prelus, is_converted, prelus
from keras_prelu.custom_layers.held_rectifiers import find_held_rectifiers
from keras_prelu.errors import ConversionError, reason_of
from keras_prelu.graph import functional
from keras_prelu.graph.hooks import HookTarget
from keras_prelu.graph.masks import without_mask
from keras_prelu.graph.output_names import output_names
from keras_prelu.layers import PReLU
from keras_prelu.sites.site import unique_name
from keras_prelu.sites.traces import arguments_at_build
from keras_prelu.utils.user_warnings import warn

__all__ = ["Opened", "open_converted"]

_WAYS_OUT = (
    "Keep keras_prelu installed where the model is loaded; or export the model, or convert it to"
    ' ReLU (to="relu"), or exclude the layer from the conversion'
)


class Opened(NamedTuple):
    """A model without converted layers.

    Attributes:
        model: `keras.Model`.
        lacks_losses: Boolean. Whether code added losses, which the model does not add.
    """

    model: keras.Model
    lacks_losses: bool


def open_converted(model: keras.Model, make: ActivationFactory) -> Opened:
    """Return a functional model of what a model computes, without converted layers.

    Args:
        model: `keras.Model`. It is changed: the functional model consists of its layers.
        make: `ActivationFactory`.

    Returns:
        The functional model, or `model` itself if it has no converted layer.

    Raises:
        ConversionError: The code of a converted layer can't be opened. The message names the layer
            and what to do.
    """
    converted = [layer for layer in (model, *sublayers(model)) if is_converted(layer)]
    if not converted:
        return Opened(model, lacks_losses=False)
    opened, lacks_losses = _Opener(model, converted, make).opened()
    names = output_names(model)
    if names is not None and functional.has_graph(model):
        opened.output_names = names
    _refuse_missing_weights(model, opened, converted)
    _refuse_what_no_file_holds(opened, converted)
    if not functional.has_graph(model):
        warn(
            f"Baked as a graph: '{model.name}' ({type(model).__name__}). The new model computes"
            " what the class does for inference, but is a plain functional model: methods and"
            " training steps of the class are not kept.",
        )
    return Opened(opened, lacks_losses)


class _Opener:
    """Builds the graph of a model level by level, until no code applies a PReLU any more."""

    def __init__(
        self, model: keras.Model, converted: Sequence[Any], make: ActivationFactory
    ) -> None:
        self._model = model
        self._converted = converted
        self._make = make
        targets = [target for layer in converted for target in _targets(layer)]
        self._with_code = {id(_holder(each)) for each in targets if not _is_of_layer(each)}
        self._replaced = {id(each.owner) for each in targets if _is_of_layer(each)}
        self._taken: set[str] = set()
        self._activations: dict[int, Callable[[Any], Any]] = {}  # By id of the layer.
        self._of_steps: dict[int, keras.layers.TimeDistributed] = {}  # By id of the wrapper.
        replaced = {id(prelu) for layer in converted for prelu in prelus(layer)}
        for layer in (model, *sublayers(model)):
            if id(layer) not in replaced:
                layer.name = unique_name(layer.name, self._taken)
        for layer in converted:
            exchange_prelus(layer, self._stock_chain)

    def _stock_chain(self, prelu: PReLU) -> Callable[[Any], Any]:
        name = unique_name(prelu.name, self._taken)
        layers = self._make(prelu, name, unique_name(f"{name}_cap", self._taken))
        for layer in layers:
            layer.trainable = prelu.trainable

        def apply(tensor: Any) -> Any:
            is_dropped = prelu.drop_mask and keras_mask(tensor) is not None
            for layer in layers:
                tensor = layer(tensor)
            return without_mask(tensor) if is_dropped else tensor

        return apply

    def opened(self) -> Opened:
        layers = (self._model, *sublayers(self._model))
        opened = [layer for layer in layers if self._runs_code(layer)]
        with (
            symbolic_operators(),
            default_dtype_policy(self._model.dtype_policy),
            functional.losses_of_calls(opened) as added,
        ):
            model = self._without_code(self._first_level())
        if added:
            names = ", ".join(dict.fromkeys(repr(each.layer.name) for each in added))
            warn(f"The baked model does not add the losses that the code of {names} adds.")
        return Opened(model, lacks_losses=bool(added))

    def _without_code(self, model: keras.Model) -> keras.Model:
        """Return the graph of a model in which no code applies a PReLU."""
        while any(map(self._runs_code, model.operations)):
            model = _rewritten(model, self._call_opened)
        return _rewritten(model, self._call_stock)

    def _first_level(self) -> keras.Model:
        """Return the graph that the model has, or that its own code creates."""
        model = self._model
        if functional.has_graph(model):
            view = functional.functional_view(model)
            return keras.Model(view.input, view.output, name=model.name)
        failure = "it is not known what the model is called with"
        for arguments in arguments_at_build(model):
            args, kwargs = _inputs(list(arguments.args)), _inputs(dict(arguments.kwargs))
            try:
                outputs = _outputs_of_code(model, args, kwargs)
                return keras.Model(args[0] if args else kwargs, outputs, name=model.name)
            except Exception as error:  # Whatever the user's code raises.
                failure = _told(error)
        raise _refusal(model, failure)

    def _runs_code(self, operation: Any) -> bool:
        """Return whether Python code of an operation, or inside it, applies PReLUs."""
        if any(operation is done for done in self._of_steps.values()):
            return False
        held = self._with_code | self._replaced
        return id(operation) in self._with_code or any(
            id(inner) in held for inner in sublayers(operation)
        )

    def _call_opened(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        if not self._runs_code(operation):
            return operation(*args, **kwargs)
        try:
            if isinstance(operation, keras.layers.TimeDistributed):
                return self._wrapper_of_steps(operation, args[0])(*args, **kwargs)
            return _outputs_of_code(operation, args, kwargs)
        except Exception as error:  # Whatever the user's code raises.
            raise _refusal(operation, _told(error)) from error

    def _wrapper_of_steps(
        self, wrapper: keras.layers.TimeDistributed, inputs: Any
    ) -> keras.layers.TimeDistributed:
        """Return a wrapper of the graph of what is computed at each time step."""
        if id(wrapper) not in self._of_steps:
            step = keras.Input(inputs.shape[2:], dtype=inputs.dtype)
            name = unique_name(f"{wrapper.layer.name}_steps", self._taken)
            graph = keras.Model(step, wrapper.layer(step), name=name)
            self._of_steps[id(wrapper)] = keras.layers.TimeDistributed(
                self._without_code(graph), name=wrapper.name, dtype=wrapper.dtype_policy
            )
        return self._of_steps[id(wrapper)]

    def _call_stock(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        """Call what stands in for an operation, or for its activation."""
        if id(operation) not in self._replaced:
            return operation(*args, **kwargs)
        stand_in = vars(operation).get("call")
        if hasattr(stand_in, "stands_in"):
            return stand_in(*args)
        if operation.activity_regularizer is not None:
            raise _refusal(operation, "it has an activity regularizer")
        if id(operation) not in self._activations:
            self._activations[id(operation)] = operation.activation
            operation.activation = keras.activations.linear
        return self._activations[id(operation)](operation(*args, **kwargs))


def _outputs_of_code(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return what the code of a layer computes from symbolic tensors.

    If a branch of `keras.ops.cond` returns a tensor as it is, Keras takes that tensor for the
    result of the branches: a graph would lack the condition, or be a circle.

    Raises:
        Exception: Whatever the code raises; ValueError if it has such a branch.
    """
    leaves = keras.tree.flatten((tuple(args), dict(kwargs)))
    tensors = [leaf for leaf in leaves if keras.utils.is_keras_tensor(leaf)]
    producers = [producer(tensor) for tensor in tensors]
    outputs = layer.call(*args, **kwargs)
    if any(producer(tensor) is not one for tensor, one in zip(tensors, producers, strict=True)):
        raise ValueError("a branch of keras.ops.cond returns a tensor of the code as it is")
    keras.Function(tensors, outputs)
    return outputs


def _inputs(structure: Any, name: str | None = None) -> Any:
    """Return inputs in the structure of symbolic tensors, named by the keys of dicts."""
    if isinstance(structure, dict):
        return {key: _inputs(value, str(key)) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        return [_inputs(value) for value in structure]
    return keras.Input(structure.shape[1:], dtype=structure.dtype, name=name)


def _rewritten(model: keras.Model, call: Callable[..., Any]) -> keras.Model:
    """Return a functional model with the same layers, each called by a function."""
    return keras.models.clone_model(
        model,
        input_tensors=keras.tree.map_structure(new_input, model.input),
        clone_function=lambda operation: operation,
        call_function=call,
    )


def _targets(layer: Any) -> Iterator[HookTarget]:
    """Yield what the stand-ins of a converted layer replace."""
    with layer.as_written():
        held = {each.address: each.target for each in find_held_rectifiers(layer)}
        for stand_in in layer._stand_ins:
            target = held.get(stand_in.address) or called_target(layer, stand_in.address)
            if target is not None:
                yield target


def _is_of_layer(target: HookTarget) -> bool:
    """Return whether a target is what a layer of Keras's computes, or its activation."""
    return not target.keys and target.attribute in ("activation", "call")


def _holder(target: HookTarget) -> Any:
    """Return the layer whose code applies what a target replaces."""
    return target.owner.layer if isinstance(target.owner, CodeCalls) else target.owner


def _told(error: Exception) -> str:
    return f"called on symbolic tensors, it raises {type(error).__name__} ({reason_of(error)})"


def _refusal(layer: Any, reason: str) -> ConversionError:
    return ConversionError(
        f"'{layer.name}' ({type(layer).__name__}) applies PReLUs in its own Python code, of which"
        f" no graph of stock layers can be made: {reason}. {_WAYS_OUT}."
    )


def _refuse_missing_weights(
    model: keras.Model, opened: keras.Model, converted: Sequence[Any]
) -> None:
    """Check that a graph has all weights that it computes with, and warn of those it lacks.

    Raises:
        ConversionError: Code uses weights other than through a layer.
    """
    left_out = {
        id(variable) for layer in converted for each in prelus(layer) for variable in each.variables
    }
    present = {id(variable) for variable in opened.variables}
    missing = [each for each in model.variables if id(each) not in present | left_out]
    constants = [leaf for call in functional.calls(opened) for leaf in _constants(call)]
    used = [leaf for leaf in constants if isinstance(leaf, keras.Variable)]
    if used or (missing and constants):
        variable = (used or missing)[0]
        raise _refusal(
            converted[0], f"it computes with its weight '{variable.path}' outside of any layer"
        )
    if missing:
        names = ", ".join(dict.fromkeys(repr(each.path.rpartition("/")[0]) for each in missing))
        warn(
            f"The baked model lacks weights that no call for inference uses: {names}.",
        )


def _constants(call: functional.Call) -> Iterator[Any]:
    """Yield the weights, and the tensors of more than one number, among a call's arguments."""
    for leaf in keras.tree.flatten((call.args, call.kwargs)):
        is_tensor = not keras.utils.is_keras_tensor(leaf) and keras.ops.is_tensor(leaf)
        if isinstance(leaf, keras.Variable) or (is_tensor and keras.ops.size(leaf) > 1):
            yield leaf


def _refuse_what_no_file_holds(opened: keras.Model, converted: Sequence[Any]) -> None:
    """Check that a file can hold a functional model.

    Raises:
        ConversionError: It can't.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            json.dumps(keras.saving.serialize_keras_object(opened))
    except Exception as error:  # Whatever an operation's configuration raises.
        raise _refusal(converted[0], f"a file can't hold it ({reason_of(error)})") from error
