"""Objections to a conversion: rectifiers whose range the model relies on.

A ReLU guarantees that its output is not negative, a capped one also that it is not above its cap.
These ranges are followed from each rectifier through the model (`graph.value_ranges`,
`graph.range_rules`), also into nested models and into the Python code of layers. Where something
relies on a range, such as a square root, a division, a gate or the caller of the model, the
rectifiers behind it are converted on request only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras

from keras_prelu.graph import functional
from keras_prelu.graph.backend_functions import BackendFunction
from keras_prelu.graph.functional import Call, Graph
from keras_prelu.graph.hooks import HookTarget
from keras_prelu.graph.layer_code import AppliedFunction, LayerCode
from keras_prelu.graph.observed_uses import Use, observed_uses
from keras_prelu.graph.range_application import (
    HARD_SIGMOID,
    Application,
    constant_of,
    object_to_masks,
)
from keras_prelu.graph.range_rules import of_unknown_operation
from keras_prelu.graph.range_table import rule_for
from keras_prelu.graph.rectifier_ranges import (
    RectifierKey,
    range_of_rectifier,
    rectifier_of,
    takes_floats,
)
from keras_prelu.graph.rectifier_recognition import unchanged_class
from keras_prelu.graph.rectifiers import Rectifier
from keras_prelu.graph.value_ranges import ANY, ValueRange, fixed, hull_of

__all__ = ["Objections"]

_ONE_LAYER_WRAPPERS = {
    "Bidirectional": "forward_layer",
    "SpectralNormalization": "layer",
    "TimeDistributed": "layer",
}
"""Keras's layers that call one layer, by class name: the attribute that holds it."""
_RUNNING_FUNCTIONS = frozenset(
    {
        "AssociativeScan",
        "Cond",
        "ForiLoop",
        "Map",
        "Scan",
        "Switch",
        "VectorizedMap",
        "WhileLoop",
    }
)
"""Class names of ops that run functions, which no graph shows."""
_OF_LAYERS = ("activation", "call")
"""Attributes through which layers of Keras's apply rectifiers."""
_LOSS = "code adds its output to the loss, which would reward what is negative"
_OUTPUT = "it is an output of the model, which a conversion would let out of its range"


class Objections:
    """The reasons why rectifiers of a model are converted on request only.

    Args:
        code: `LayerCode`.
    """

    def __init__(self, code: LayerCode) -> None:
        self._code = code
        self._reasons: dict[RectifierKey, str] = {}
        self._reasons_of_owners: dict[int, str] = {}
        self._applied: set[tuple[Any, ...]] = set()
        # Operations are told apart by their ids, which are unique as long as the objects exist.
        self._graphs: list[Graph] = []

    def examine(self, graph: Graph) -> None:
        """Follow the ranges of all rectifiers through the graph of a model."""
        for values in self._ranges_of_graph(graph, ()):
            if values.loses_range:
                self._object_to(values.sites, _OUTPUT)

    def examine_code(self, layer: Any, args: Any, kwargs: Any) -> None:
        """Follow the ranges of all rectifiers through a model with Python code of its own."""
        graph = self._code.graph(layer, args, kwargs)
        if graph is None:
            self._object_to_unobserved(layer, args, kwargs)
        else:
            self.examine(graph)

    def reason(self, call: Call, rectifier: Rectifier) -> str:
        """Return the objection to a rectifier that a call in a graph applies, or ""."""
        return self._reasons.get(RectifierKey.of_call(call, rectifier), "")

    def reasons(self) -> list[str]:
        """Return all objections."""
        return list(self._reasons.values())

    def reason_inside(self, target: HookTarget) -> str:
        """Return the objection to a rectifier that a layer applies in its code, or ""."""
        by_attribute = self._reasons.get(RectifierKey.of_target(target), "")
        return by_attribute or self._reasons_of_owners.get(id(target.owner), "")

    def is_applied(self, target: HookTarget) -> bool:
        """Return whether a rectifier inside a layer is applied to what the layer is called with.

        Returns False for one that is not applied, or applied to weights only. Returns True if it is
        not known.
        """
        return target.key in self._applied

    def object_to_code(self, layer: Any) -> None:
        """Object to the rectifiers inside a layer whose code can't be followed."""
        self._object_to_targets(layer, self._code.targets(layer))

    def _object_to_targets(self, layer: Any, targets: Sequence[HookTarget]) -> None:
        reason = (
            f"the code of layer '{layer.name}' ({type(layer).__name__}), which applies it, can't be"
            " followed"
        )
        for target in targets:
            self._applied.add(target.key)
            keys = {RectifierKey.of_target(target)}
            if not target.keys and target.attribute in _OF_LAYERS:
                keys.add(RectifierKey(id(target.owner), 0))
            self._object_to(frozenset(keys), reason)

    def _note_applied(self, operation: Any) -> None:
        if isinstance(operation, AppliedFunction):
            self._applied.add(operation.target.key)
        self._applied |= {HookTarget(operation, name).key for name in _OF_LAYERS}
        if isinstance(operation, (keras.layers.Wrapper, keras.layers.RNN)):
            self._applied |= {target.key for target in self._code.targets(operation)}

    def _object_to(self, keys: frozenset[RectifierKey], reason: str) -> None:
        for key in keys:
            self._reasons.setdefault(key, reason)
            if isinstance(key.use, int):
                self._reasons_of_owners.setdefault(key.owner, reason)

    def _ranges_of_graph(self, graph: Graph, inputs: Sequence[ValueRange]) -> list[ValueRange]:
        """Return the ranges of a graph's outputs.

        Args:
            graph: `Graph`.
            inputs: Sequence of `ValueRange`. One for each input of the graph. If there are more or
                fewer, it is not known which input has which range.
        """
        self._graphs.append(graph)
        if len(inputs) != len(graph.inputs):
            inputs = [hull_of(inputs)] * len(graph.inputs)
        ranges = {id(tensor): values for tensor, values in zip(graph.inputs, inputs, strict=True)}
        shifted = _shifted_tensors(graph)
        for call in graph.calls:
            self._note_applied(call.operation)
            given = tuple(ranges.get(id(tensor), fixed(ANY)) for tensor in call.inputs)
            ranges.update(
                (id(tensor), values)
                for tensor, values in zip(
                    call.outputs, self.ranges_of_call(call, given, shifted), strict=True
                )
            )
        for tensor in graph.losses:
            values = ranges.get(id(tensor), fixed(ANY))
            if values.loses_range:
                self._object_to(values.sites, _LOSS)
        return [ranges.get(id(tensor), fixed(ANY)) for tensor in graph.outputs]

    def ranges_of_call(
        self,
        call: Call,
        inputs: tuple[ValueRange, ...],
        shifted: frozenset[int] = frozenset(),
    ) -> list[ValueRange]:
        """Return the ranges of a call's outputs.

        Args:
            call: `Call`.
            inputs: Tuple of `ValueRange`, one for each of the call's tensors.
            shifted: Frozen set of integers. Ids of tensors that are another one plus a number.
        """
        operation = call.operation
        rectifier = rectifier_of(call)
        if rectifier is not None:
            outputs = [self._rectified(call, rectifier, shifted)]
        elif functional.has_graph(operation):
            outputs = self._ranges_of_graph(functional.graph_of_model(operation), inputs)
        else:
            outputs = self._ranges_of_operation(call, inputs, shifted)
        if _is_regularized_by_code(operation):
            for values in outputs:
                self._object_to(values.sites, "its activity regularizer may rely on its range")
        count = len(call.outputs)
        return outputs if len(outputs) == count else [hull_of(outputs)] * count

    def _ranges_of_operation(
        self, call: Call, inputs: tuple[ValueRange, ...], shifted: frozenset[int]
    ) -> list[ValueRange]:
        operation = call.operation
        name = _name_of_known(operation)
        if name in _ONE_LAYER_WRAPPERS:
            wrapped = replace(call, operation=getattr(operation, _ONE_LAYER_WRAPPERS[name]))
            if name == "TimeDistributed":
                wrapped, inputs = _one_step(wrapped), inputs[:1]
            return self.ranges_of_call(wrapped, inputs, shifted)
        if name == "RNN" and _name_of_known(operation.cell):
            return [fixed(ANY)]
        application = Application(call=call, inputs=inputs, object_to=self._object_to)
        object_to_masks(application)
        rule = rule_for(name)
        if rule is not None:
            return [rule(application)]
        if isinstance(operation, BackendFunction) or (
            name and not isinstance(operation, keras.layers.Layer)
        ):
            return [of_unknown_operation(application)]
        return self._ranges_of_code(application)

    def _ranges_of_code(self, application: Application) -> list[ValueRange]:
        """Return the ranges of the outputs of a layer without a rule, whose code is run."""
        call, inputs = application.call, application.inputs
        carries_sites = any(values.sites for values in inputs)
        if not carries_sites and not any(self._code.targets(call.operation)):
            return [fixed(ANY)]
        graph = self._code.graph(call.operation, call.args, call.kwargs)
        if graph is None:
            self._object_to_unobserved(call.operation, call.args, call.kwargs)
            _object_to_code_of(application)
            return [fixed(ANY)]
        if any(_name_of_known(inner.operation) in _RUNNING_FUNCTIONS for inner in graph.calls):
            self.object_to_code(call.operation)
            _object_to_code_of(application)  # Functions may use any tensor of the code.
        return self._ranges_of_graph(graph, inputs)

    def _object_to_unobserved(self, layer: Any, args: Any, kwargs: Any) -> None:
        """Object to the rectifiers in code that accepts no symbolic tensors.

        Those of which all uses were observed, and that go into layers that don't rely on their
        range, are left out.
        """
        rectifiers = self._code.rectifiers_of(layer)
        unknown = []
        for target in self._code.targets(layer):
            uses = _UsesOfOne(self._code, rectifiers[target.key])
            observed = observed_uses(
                layer, args, kwargs, target, is_known=_is_known, carries_on=uses.carry_on
            )
            if observed is None or uses.objections:
                unknown.append(target)
            self._applied.add(target.key)
        self._object_to_targets(layer, unknown)

    def _rectified(self, call: Call, rectifier: Rectifier, shifted: frozenset[int]) -> ValueRange:
        """Return the range of a rectifier's output."""
        key = RectifierKey.of_call(call, rectifier)
        if not takes_floats(call):
            return fixed(range_of_rectifier(rectifier, key).before)
        # min(max(x + c/2, 0), c)/c is the hard sigmoid.
        if (
            rectifier.max_value is not None
            and rectifier.kind != "inline"
            and id(call.inputs[0]) in shifted
        ):
            self._object_to(frozenset({key}), HARD_SIGMOID)
        return range_of_rectifier(rectifier, key)


class _UsesOfOne:
    """Uses of one rectifier in code that can't be followed.

    Attributes:
        objections: List of strings. Why some of them rely on its range.
    """

    def __init__(self, code: LayerCode, rectifier: Rectifier) -> None:
        self._code = code
        self._range = range_of_rectifier(rectifier, RectifierKey(0, 0))
        self.objections: list[str] = []

    def carry_on(self, use: Use) -> bool:
        """Return whether the output of a use inherits the range of the rectifier."""
        inputs = tuple(
            self._range if position in use.positions else fixed(ANY)
            for position in range(len(use.call.inputs))
        )
        found = Objections(self._code)
        outputs = found.ranges_of_call(use.call, inputs)
        self.objections += found.reasons()
        return any(values.sites for values in outputs)


def _object_to_code_of(application: Application) -> None:
    for values in application.inputs:
        application.object_to(
            values.sites, f"its output goes into {application.name}, whose code can't be followed"
        )


def _is_known(operation: Any) -> bool:
    return functional.has_graph(operation) or rule_for(_name_of_known(operation)) is not None


def _is_regularized_by_code(operation: Any) -> bool:
    regularizer = getattr(operation, "activity_regularizer", None)
    return regularizer is not None and not type(regularizer).__module__.startswith("keras.")


def _one_step(call: Call) -> Call:
    """Return the call of a layer that is called once for each step, without the mask."""
    first, last = (
        keras.KerasTensor((tensor.shape[0], *tensor.shape[2:]), dtype=tensor.dtype)
        for tensor in (call.inputs[0], call.outputs[0])
    )
    return replace(call, args=(first,), kwargs={}, inputs=(first,), outputs=(last,))


def _shifted_tensors(graph: Graph) -> frozenset[int]:
    """Return the ids of the tensors that are another tensor plus a number."""
    return frozenset(
        id(tensor) for call in graph.calls if _is_shift(call) for tensor in call.outputs
    )


def _is_shift(call: Call) -> bool:
    name = _name_of_known(call.operation)
    if name == "Rescaling":
        return call.operation.offset != 0
    return name in ("Add", "Subtract") and constant_of(call) is not None


def _name_of_known(operation: Any) -> str:
    """Return the name of the class of Keras whose `call` an operation has, or ""."""
    if isinstance(operation, BackendFunction):
        return operation.keras_name
    cls = unchanged_class(operation, ("keras",))
    is_replaced = hasattr(vars(operation).get("call"), "stands_in")
    return "" if cls is None or is_replaced else cls.__name__
