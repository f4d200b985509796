"""Tracing of a layer: which of its rectifiers a call applies, and the shapes of their inputs."""

from __future__ import annotations

import contextlib
import inspect
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.backend.traces import every_branch
from keras_prelu.custom_layers.held_rectifiers import HeldRectifier
from keras_prelu.graph.functional import Call
from keras_prelu.graph.hooks import HookedCall, hook_calls
from keras_prelu.graph.parts import callable_form
from keras_prelu.typing import Shape

__all__ = ["RectifierCall", "Shape", "call_in_modes", "trace_calls"]


@dataclass(frozen=True)
class RectifierCall:
    """One application of a rectifier inside a layer.

    Attributes:
        held: `HeldRectifier`. What is called.
        shape: Tuple. Shape of the tensor that it is applied to; the batch size, and sizes that
            vary, are None.
        dtype: String. Dtype of that tensor.
        has_arguments: Boolean. Whether it is called with more arguments than the tensor.
        has_batch: Boolean. Whether the tensor has one row for each sample; a weight has not.
    """

    held: HeldRectifier
    shape: Shape
    dtype: str
    has_arguments: bool
    has_batch: bool = True

    @classmethod
    def from_graph(cls, held: HeldRectifier, call: Call) -> RectifierCall:
        """Return the application of a rectifier that a call in a graph represents."""
        tensor = call.outputs[0]
        argument_count = len(call.args) + len(call.kwargs)
        return cls(
            held=held,
            shape=(None, *tensor.shape[1:]),
            dtype=keras.backend.standardize_dtype(tensor.dtype),
            has_arguments=held.target.attribute == "call" and argument_count > 1,
        )


def trace_calls(
    layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], rectifiers: Sequence[HeldRectifier]
) -> list[RectifierCall]:
    """Call a layer on symbolic tensors, and return the calls of the rectifiers inside it.

    The layer is called for inference and for training; the calls are in the order of execution.

    Args:
        layer: Layer that is built. It is left unchanged.
        args: Sequence. Positional arguments, with symbolic tensors.
        kwargs: Mapping. Keyword arguments, with symbolic tensors.
        rectifiers: Sequence of `HeldRectifier`. The rectifiers inside the layer.

    Returns:
        A list of `RectifierCall` without duplicates.

    Raises:
        Exception: Whatever the layer's code raises.
    """
    calls: list[RectifierCall] = []

    def trace(kwargs: Mapping[str, Any]) -> None:
        for call in _trace_once(layer, args, kwargs, rectifiers):
            if call not in calls:
                calls.append(call)

    _in_modes(layer, kwargs, trace)
    return calls


def call_in_modes(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Call a layer on symbolic tensors, for inference and for training.

    The arguments are those of `trace_calls`, and what is raised.
    """
    _in_modes(layer, kwargs, lambda kwargs: _call_symbolically(layer, args, kwargs))


def _in_modes(
    layer: Any, kwargs: Mapping[str, Any], run: Callable[[Mapping[str, Any]], None]
) -> None:
    """Run something with the arguments for inference, and with those for training.

    Some layers can't be called for training on symbolic tensors of PyTorch, and those with layers
    that are not built are not. What is called for training only is then not seen.
    """
    if "training" not in inspect.signature(layer.call).parameters:
        run(kwargs)
        return
    run({**kwargs, "training": False})
    if not all(inner.built for inner in sublayers(layer)):
        return  # A call for training might build them, which would give the model new weights.
    with contextlib.suppress(Exception):
        run({**kwargs, "training": True})


def _trace_once(
    layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], rectifiers: Sequence[HeldRectifier]
) -> list[RectifierCall]:
    passes: list[list[RectifierCall]] = []
    by_target = {held.target.key: held for held in rectifiers}

    thread = threading.get_ident()

    def note(call: HookedCall) -> None:
        if threading.get_ident() != thread:  # It calls the layer meanwhile.
            return
        tensor = call.inputs
        passes[-1].append(
            RectifierCall(
                held=by_target[call.target.key],
                # On JAX, an open size is a symbol.
                shape=tuple(size if isinstance(size, int) else None for size in tensor.shape),
                dtype=keras.backend.standardize_dtype(tensor.dtype),
                has_arguments=len(call.args) + len(call.kwargs) > 1,
            )
        )

    with hook_calls([held.target for held in rectifiers], note):
        _call_symbolically(layer, args, kwargs, on_pass=lambda: passes.append([]))
    return _merged(passes, _batch_sizes(args, kwargs))


def _batch_sizes(args: Sequence[Any], kwargs: Mapping[str, Any]) -> set[int | None]:
    """Return the numbers of samples of the arguments: of a model, those that it was built with."""
    leaves = keras.tree.flatten((tuple(args), dict(kwargs)))
    return {leaf.shape[0] for leaf in leaves if keras.utils.is_keras_tensor(leaf) and leaf.shape}


def _call_symbolically(
    layer: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    on_pass: Callable[[], None] = lambda: None,
) -> None:
    called = callable_form(layer)

    class Traced(keras.Operation):
        """Calls the layer. Keras may do so several times, with different values for open sizes."""

        def call(self, *args: Any, **kwargs: Any) -> Any:
            on_pass()
            return called(*args, **kwargs)

    with warnings.catch_warnings(), every_branch():
        warnings.simplefilter("ignore")
        Traced().compute_output_spec(*args, **kwargs)


def _merged(passes: list[list[RectifierCall]], batch_sizes: set[int | None]) -> list[RectifierCall]:
    """Return the calls of the last pass that had any.

    Sizes that differ between passes with the same calls are None.
    """
    *_, last = [calls for calls in passes if calls] or [[]]
    addresses = [call.held.address for call in last]
    same = [calls for calls in passes if [call.held.address for call in calls] == addresses]
    return [
        RectifierCall(
            held=call.held,
            shape=_open_shape([calls[i].shape for calls in same]),
            dtype=call.dtype,
            has_arguments=call.has_arguments,
            has_batch=call.shape[:1] in {(size,) for size in batch_sizes}
            or _has_open_batch([calls[i].shape for calls in same]),
        )
        for i, call in enumerate(last)
    ]


def _has_open_batch(shapes: list[Shape]) -> bool:
    """Return whether the first size is open: unknown, or not the same in all passes."""
    batches = {shape[0] if shape else 1 for shape in shapes}
    return len(batches) > 1 or None in batches


def _open_shape(shapes: list[Shape]) -> Shape:
    """Return one shape for several shapes: sizes that differ, and the batch size, are None."""
    if len({len(shape) for shape in shapes}) > 1:
        return shapes[-1]
    merged = tuple(
        sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True)
    )
    return (None, *merged[1:])
