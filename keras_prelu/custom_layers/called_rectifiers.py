"""Rectifiers that the Python code of a layer, or of a layer inside it, calls as functions."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.backend.traces import code_as_written
from keras_prelu.custom_layers.code_calls import (
    CodeCalls,
    CodeRectifier,
    code_calls_of,
)
from keras_prelu.custom_layers.code_keys import (
    is_inside_argument,
    passes_of,
    rectifier_of_key,
    with_passes,
    without_passes,
)
from keras_prelu.custom_layers.held_rectifiers import HeldRectifier, find_held_rectifiers
from keras_prelu.custom_layers.source_scan import may_call_relu_functions
from keras_prelu.custom_layers.tracing import call_in_modes
from keras_prelu.graph.hooks import HookTarget, hook_calls
from keras_prelu.graph.rectifiers import RECURRENT, Rectifier
from keras_prelu.graph.sublayer_addresses import SublayerAddress, layers_by_address

__all__ = [
    "backend_functions_as_nodes",
    "called_rectifier",
    "called_target",
    "can_follow",
    "find_called_rectifiers",
    "is_handed_on",
]

_CODE = "(): "
"""What follows the address of a layer in the address of a rectifier in its code."""


def find_called_rectifiers(
    layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[HeldRectifier]:
    """Call a layer on symbolic tensors, and return the rectifiers that its code calls as functions.

    Several may have the same path. The layer is called for inference and for training. Rectifiers
    that are replaced already are left out, and those in code that can't be followed.

    Args:
        layer: Layer that is built. It is left unchanged.
        args: Sequence. Positional arguments, with symbolic tensors.
        kwargs: Mapping. Keyword arguments, with symbolic tensors.

    Raises:
        Exception: Whatever the layer's code raises.
    """
    heard: dict[tuple[int, str], tuple[CodeCalls, CodeRectifier]] = {}

    thread = threading.get_ident()

    def hear(calls: CodeCalls, found: CodeRectifier) -> None:
        if threading.get_ident() != thread:  # It calls the model meanwhile.
            return
        heard.setdefault((id(calls), found.key), (calls, found))

    addresses = layers_by_address(layer)
    with ExitStack() as undo:
        for inner in addresses.values():
            if isinstance(inner, keras.layers.Layer) and may_call_relu_functions(inner):
                undo.enter_context(code_calls_of(inner).heard_by(hear))
        # What is held is no site of the code that calls it.
        held = [each.target for each in find_held_rectifiers(layer)]
        undo.enter_context(hook_calls(held, lambda call: None))
        undo.enter_context(code_as_written())
        call_in_modes(layer, args, kwargs)
    by_layer = {id(inner): address for address, inner in addresses.items()}
    passes = _passes_of_each(heard.values())
    return [
        _held(layer, by_layer[id(calls.layer)], calls, found, passes[id(calls)])
        for calls, found in heard.values()
    ]


def _passes_of_each(
    heard: Collection[tuple[CodeCalls, CodeRectifier]],
) -> dict[int, dict[str, int]]:
    """Return how often each code comes to its calls, by its id, and tell it to expect that."""
    keys: dict[int, list[str]] = {}
    for calls, found in heard:
        keys.setdefault(id(calls), []).append(found.key)
    passes = {each: passes_of(keys_of_one) for each, keys_of_one in keys.items()}
    for calls in {id(calls): calls for calls, _ in heard}.values():
        calls.expected.expect_passes(passes[id(calls)])
    return passes


def can_follow(layer: Any) -> bool:
    """Return whether the functions that the code of a layer calls can be found and replaced."""
    return code_calls_of(layer).can_follow


@contextmanager
def backend_functions_as_nodes(layer: Any) -> Iterator[None]:
    """Let the code of a layer, and of the layers inside, call the backend on symbolic tensors."""
    with ExitStack() as undo:
        for inner in (layer, *sublayers(layer)):
            if can_follow(inner):
                undo.enter_context(code_calls_of(inner).making_nodes())
        yield


def called_rectifier(address: str) -> Rectifier | None:
    """Return what the code applies at the address of a rectifier; None for other addresses.

    Smooth rectifiers are None as well.
    """
    _, separator, key = address.partition(_CODE)
    return rectifier_of_key(key) if separator else None


def is_handed_on(address: str) -> bool:
    """Return whether the rectifier at an address is in a function that the code hands on.

    What calls the function may give it parts of a batch, as `jax.vmap` and `tf.map_fn` do.
    """
    return is_inside_argument(address.partition(_CODE)[2])


def called_target(layer: Any, address: str) -> HookTarget | None:
    """Return the target of a rectifier in the code of a layer, or of one inside, by its address.

    Returns None if the layer has no layer inside at the address, and for other addresses.
    """
    place, separator, key = address.partition(_CODE)
    if not separator:
        return None
    for steps, inner in layers_by_address(layer).items():
        if _text(steps) == place:
            key, passes = without_passes(key)
            code_calls_of(inner).expected.expect_passes(passes)
            return code_calls_of(inner).target(key)
    return None


def _held(
    layer: Any,
    address: SublayerAddress,
    calls: CodeCalls,
    found: CodeRectifier,
    passes: Mapping[str, int],
) -> HeldRectifier:
    rectifier = found.rectifier
    if _is_in_cell(layer, address) and not rectifier.reason:
        rectifier = replace(rectifier, reason="a recurrent cell applies it in a loop")
    path = _join(_path(layer, address), _function_name(rectifier))
    site = found.site
    where = f"{Path(site.file).name}:{site.line} in {site.function}"
    return HeldRectifier(
        address=f"{_text(address)}{_CODE}{with_passes(found.key, passes)}",
        path=f"{path}()",
        target=calls.target(found.key),
        rectifier=rectifier,
        source=f"{where} ({found.repetition})" if found.repetition else where,
    )


def _function_name(rectifier: Rectifier) -> str:
    if rectifier.smooth:
        return rectifier.smooth
    if rectifier.negative_slope:
        return "leaky_relu"
    return "relu" if rectifier.max_value is None else "relu6"


def _is_in_cell(layer: Any, address: SublayerAddress) -> bool:
    """Return whether a layer, or one around it, runs in the loop of a recurrent layer."""
    return any(
        type(each).__name__ in RECURRENT or isinstance(each, keras.layers.RNN)
        for steps, each in layers_by_address(layer).items()
        if steps == address[: len(steps)]
    )


def _text(address: SublayerAddress) -> str:
    """Return an address as attributes and, in brackets, indices and keys."""
    text = ""
    for step in address:
        is_attribute = isinstance(step, str) and step != ""
        text += (f"/{step}" if text else step) if is_attribute else f"[{step}]"
    return text


def _path(layer: Any, address: SublayerAddress) -> str:
    """Return an address for people: inside models, the names of layers instead of indices."""
    by_address = layers_by_address(layer)
    start = max((i for i in range(len(address)) if address[i] == ""), default=-1)
    if start < 0:
        return _text(address)
    inner = by_address[address[: start + 2]]
    return _join(_join(_path(layer, address[:start]), inner.name), _text(address[start + 2 :]))


def _join(prefix: str, name: str) -> str:
    return f"{prefix}/{name}" if prefix and name else prefix or name
