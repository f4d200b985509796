"""Duplicates of layers and models that no configuration describes.

A configuration says how to make a layer again. `duplicate` needs none: it copies the object that is
in memory, with the layers, variables, lists and functions that it refers to. What a copy shares
with its original is nothing that a training or a conversion changes:

- Layers, variables, metrics, optimizers, containers and objects of the user's classes are copied.
  An object that several attributes refer to is copied once.
- Functions are copied if they, through their closure or defaults, refer to any of these, as in
  `self.block = lambda x: self.dense(x)`; bound methods get the copy as their `self`.
- A weak reference refers to the copy of what it refers to, if that is copied.
- All else is shared: modules, classes, plain functions, what a module holds in its globals, and
  objects of other libraries, such as data sets and lookup tables.

Failure modes, in which `duplicate` raises an error: a shared object refers to a layer or a variable
of the original, such as a function that `tf.function` has compiled; and classes whose objects can't
be made without their constructor. Metrics and optimizers have their state in the copy too.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import (
    EXECUTION_FUNCTIONS,
    copy_tf_wrapper,
    index_by_identity,
    nodes_of_graph,
    sublayers,
    without_compiled_functions,
)
from keras_prelu.backend.variables import copy_tensor
from keras_prelu.errors import ConversionError, reason_of
from keras_prelu.graph.copied_objects import SHARED, is_copied, refers_to
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["duplicate"]

_OF_A_CALL = ("_losses", "_loss_ids")
"""Attributes of a layer that its last call has set."""
_NODES = ("_inbound_nodes", "_outbound_nodes")


@on_large_graphs
def duplicate(layer: Any) -> Any:
    """Return a copy of a layer or model as it is in memory, with its weights.

    Args:
        layer: Layer or model. It is not changed.

    Raises:
        ConversionError: The copy would share layers or variables with the original. The message
            names the attribute.
    """
    with ExitStack() as stack:
        # A converted layer is copied in the state in which its class wrote it.
        layers = (layer, *sublayers(layer))
        converted = [each for each in layers if hasattr(each, "converted_from")]
        classes = [type(each) for each in converted]
        for each in converted:
            stack.enter_context(each.as_written())
        duplication = _Duplication(layer)
        copy = duplication.copy(layer)
        if duplication.met_reference_first():
            duplication = _Duplication(layer, duplication.originals)
            copy = duplication.copy(layer)
    duplication.finish()
    for each, cls in zip(converted, classes, strict=True):
        cls.adopt(duplication.copy(each))
    return copy


class _Duplication:
    """The copies of what one layer refers to.

    Args:
        layer: Layer or model.
        reached: Objects that are known to be copied: those of an earlier duplication. A weak
            reference to one of them that is met first has it copied at once.
    """

    def __init__(self, layer: Any, reached: Iterable[Any] = ()) -> None:
        self._layer = layer
        self._reached = {id(each): each for each in reached}
        # By the ids of the originals, which stay alive.
        self._copies: dict[int, Any] = {}
        self.originals: list[Any] = []
        self._targets: list[Any] = []
        self._shared: list[tuple[str, Any]] = []
        self._nodes = {
            id(node) for each in (layer, *sublayers(layer)) for node in nodes_of_graph(each)
        }
        self._attribute = ""

    def copy(self, value: Any) -> Any:
        """Return the copy of an object, or the object itself if it is shared."""
        if isinstance(value, SHARED):
            return value
        if id(value) not in self._copies:
            self.originals.append(value)
            self._copy_new(value)
        return self._copies[id(value)]

    def met_reference_first(self) -> bool:
        """Return whether a weak reference was shared, and what it refers to was copied later."""
        return any(id(target) in self._copies for target in self._targets)

    def finish(self) -> None:
        """Update what depends on the identity of the copied objects, and check what is shared.

        Raises:
            ConversionError: A shared object refers to a layer or variable that was copied.
        """
        for original in self.originals:
            index_by_identity(self._copies[id(original)])
        stateful = {
            id(original)
            for original in self.originals
            if isinstance(original, (keras.layers.Layer, keras.Variable))
        }
        for attribute, value in self._shared:
            if refers_to(value, stateful):
                raise self._failure(
                    f"`{attribute}` holds an object ({type(value).__name__}) that refers to its"
                    " layers and can't be copied"
                )

    def _failure(self, reason: str) -> ConversionError:
        kind = "Model" if isinstance(self._layer, keras.Model) else "Layer"
        return ConversionError(
            f"{kind} '{self._layer.name}' ({type(self._layer).__name__}) can't be copied: {reason}."
        )

    def _set(self, original: Any, copy: Any) -> Any:
        self._copies[id(original)] = copy
        return copy

    def _copy_new(self, value: Any) -> None:
        if isinstance(value, (keras.KerasTensor, keras.Variable)):
            self._copy_object(value)
        elif isinstance(value, np.ndarray):
            self._set(value, value.copy())
        elif (wrapper := copy_tf_wrapper(value, self.copy)) is not None:
            self._set(value, wrapper)
        elif keras.ops.is_tensor(value):
            self._set(value, copy_tensor(value))
        elif isinstance(value, (list, tuple, dict, set, frozenset)):
            self._copy_container(value)
        elif isinstance(value, types.FunctionType):
            self._copy_function(value)
        elif isinstance(value, types.MethodType):
            owner, function = self.copy(value.__self__), self.copy(value.__func__)
            is_same = owner is value.__self__ and function is value.__func__
            self._set(value, value if is_same else types.MethodType(function, owner))
        elif isinstance(value, functools.partial):
            self._copy_partial(value)
        elif isinstance(value, weakref.ref):
            self._set(value, self._reference(value))
        elif is_copied(value):
            self._copy_object(value)
        else:
            self._shared.append((self._attribute, value))
            self._set(value, value)

    def _reference(self, reference: weakref.ref[Any]) -> weakref.ref[Any]:
        """Return a weak reference to the copy of an object, or the same if it is not copied."""
        found = reference()
        target = getattr(found, "__self__", found)  # That of a `WeakMethod` is a bound method.
        if target is None:
            return reference
        if id(target) in self._copies or id(target) in self._reached:
            return type(reference)(self.copy(found))
        self._targets.append(target)
        return reference

    def _copy_container(self, value: Any) -> None:
        cls: Any = type(value)
        if isinstance(value, (tuple, frozenset)):
            items = [self.copy(item) for item in value]
            if any(new is not old for new, old in zip(items, value, strict=True)):
                # A named tuple takes its items one by one.
                value_copy = cls(*items) if hasattr(value, "_fields") else cls(items)
                self._set(value, value_copy)
            else:
                self._set(value, value)
            return
        copy = self._set(value, cls.__new__(cls))
        # The methods of the base classes, since those of Keras's classes track what is added.
        if isinstance(value, dict):
            # That of dict would leave the order of an OrderedDict, by which it is read, empty.
            base = OrderedDict if isinstance(value, OrderedDict) else dict
            for key, item in value.items():
                base.__setitem__(copy, self.copy(key), self.copy(item))
        elif isinstance(value, set):
            set.update(copy, [self.copy(item) for item in value])
        else:
            list.extend(copy, [self.copy(item) for item in value])
        if isinstance(value, defaultdict):
            copy.default_factory = self.copy(value.default_factory)
        self._copy_attributes(value, copy)

    def _copy_function(self, function: types.FunctionType) -> None:
        """Copy a function if it refers to anything that is copied.

        A function in its own closure refers to its copy, which is why that is made first.
        """
        cells = function.__closure__ or ()
        new_cells = tuple(types.CellType() for _ in cells)
        copy = types.FunctionType(
            function.__code__, function.__globals__, function.__name__, None, new_cells or None
        )
        self._set(function, copy)
        is_same = True
        for cell, new_cell in zip(cells, new_cells, strict=True):
            try:
                content = cell.cell_contents
            except ValueError:  # The cell is empty.
                continue
            new_cell.cell_contents = self.copy(content)
            is_same &= any(new_cell.cell_contents is same for same in (content, copy))
        defaults = self.copy(function.__defaults__)
        keyword_defaults = self.copy(function.__kwdefaults__)
        is_same &= defaults is function.__defaults__ and all(
            keyword_defaults[name] is value
            for name, value in (function.__kwdefaults__ or {}).items()
        )
        if is_same:
            self._set(function, function)
            return
        functools.update_wrapper(copy, function)
        vars(copy).pop("__wrapped__", None)
        copy.__defaults__, copy.__kwdefaults__ = defaults, keyword_defaults

    def _copy_partial(self, partial: functools.partial[Any]) -> None:
        function = self.copy(partial.func)
        args = self.copy(partial.args)
        keywords = self.copy(dict(partial.keywords))
        self._set(partial, type(partial)(function, *args, **keywords))

    def _copy_object(self, value: Any) -> None:
        try:
            copy = object.__new__(type(value))
        except TypeError as error:
            raise self._failure(
                f"`{self._attribute}` holds an object of class {type(value).__name__}"
                f" ({reason_of(error)})"
            ) from error
        self._set(value, copy)
        self._copy_attributes(value, copy)

    def _copy_attributes(self, value: Any, copy: Any) -> None:
        attributes = getattr(value, "__dict__", None)
        if attributes is not None:
            # Assigning with `setattr` would track layers and variables.
            vars(copy).update(
                {name: self._copy_attribute(value, name, each) for name, each in attributes.items()}
            )
        for cls in type(value).__mro__:
            slots = vars(cls).get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                    object.__setattr__(copy, name, self.copy(getattr(value, name)))

    def _copy_attribute(self, owner: Any, name: str, value: Any) -> Any:
        if isinstance(owner, keras.Model) and name in EXECUTION_FUNCTIONS:
            return None
        if isinstance(owner, keras.Operation) and name in _OF_A_CALL:
            return set() if isinstance(value, set) else []
        if isinstance(owner, keras.Operation) and name in _NODES:
            value = self._nodes_inside(value)
        if isinstance(owner, keras.Model):
            value = without_compiled_functions(name, value)
        self._attribute = name
        return self.copy(value)

    def _nodes_inside(self, nodes: Sequence[Any]) -> list[Any]:
        """Return the nodes of graphs that are copied, each at its place, by which it is known."""
        inside: list[Any] = []
        missing = 0
        for node in nodes:
            missing += 1
            if id(node) in self._nodes:
                inside += [node] * missing
                missing = 0
        return inside
