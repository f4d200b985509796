"""Forward hooks, which observe the calls of layers or replace their outputs by patching attributes.

What is patched: an attribute of one object, such as the `call` of a layer or the `activation` of a
Dense. The new value goes straight into the object's instance dictionary, which attribute lookup
reads before the class, so that no class is changed and no other layer is affected. Assigning with
`setattr` instead would go through the `__setattr__` of Keras, TensorFlow and PyTorch, which track
layers and variables by it: the patch would become part of the model's state and of its files.

What undoes a patch: the end of the context, also through an exception; for `set_target`, the
function that it returns. The attribute then has its former value, and an attribute that only the
class had is deleted from the instance.

Nesting: a hook that is entered later wraps those entered earlier. It is called after them and gets
the outputs that they returned. Contexts have to end in the reverse of the order in which they were
entered, as `with` statements do.

Failure modes:

- A function that was compiled before (`tf.function`, `jax.jit`, `torch.compile`) does not look the
  attribute up again, so its calls are not observed; a function that is compiled inside the context
  keeps the hook for good. Enter the context inside the function that is compiled, as
  `sites.activity` does.
- Inside a loop, a branch or a compiled function, the tensors of a call can't be used by the code
  around it, or are parts of a batch. `hook_seen_calls` leaves such calls alone.
- A generator with the context inside keeps the patch until it is exhausted or closed.
- The patch holds for all threads.
- Special methods such as `__call__` can't be hooked: Python looks them up on the class.
- A copy or a pickle of a patched layer contains the patch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.backend.traces import code_as_written, current_position

__all__ = [
    "Hook",
    "HookTarget",
    "HookedCall",
    "attributes_set",
    "hook_calls",
    "hook_seen_calls",
    "set_target",
    "without_hooks",
]

_ABSENT = object()


@dataclass(frozen=True, eq=False)
class HookTarget:
    """An attribute of an object whose calls can be hooked.

    Attributes:
        owner: Any. The object, such as a layer.
        attribute: String. Name of an attribute that is callable. Defaults to "call".
        keys: Tuple. If the attribute is a list, tuple or dict: the indices and keys that lead to
            the callable in it. Defaults to none.
    """

    owner: Any
    attribute: str = "call"
    keys: tuple[Any, ...] = ()

    @property
    def key(self) -> tuple[Any, ...]:
        """A key that is equal for all targets with the same attribute of the same object."""
        return id(self.owner), self.attribute, self.keys

    @property
    def value(self) -> Any:
        """What the target is now."""
        value = getattr(self.owner, self.attribute)
        for key in self.keys:
            value = value[key]
        return value


@dataclass(frozen=True)
class HookedCall:
    """One call of a hooked attribute.

    Attributes:
        target: `HookTarget`. What was called.
        args: Tuple. Its positional arguments.
        kwargs: Dict. Its keyword arguments.
        outputs: Any. What it returned.
    """

    target: HookTarget
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Any

    @property
    def inputs(self) -> Any:
        """The first tensor among the arguments."""
        leaves = keras.tree.flatten((self.args, self.kwargs))
        return next(leaf for leaf in leaves if hasattr(leaf, "shape"))


Hook = Callable[[HookedCall], Any]
"""Called after each call; returns the outputs for the caller, or None to leave them as they are."""


@contextmanager
def hook_calls(targets: Iterable[HookTarget], hook: Hook) -> Iterator[None]:
    """Call a hook after each call of the targets, as long as the context lasts.

    Args:
        targets: Iterable of `HookTarget`. A target that is given twice is hooked once.
        hook: Callable. Gets a `HookedCall`. Its return value, unless None, replaces the outputs.
            The call raises whatever the hook raises.

    Example:

    >>> layer, shapes = keras.layers.Dense(2), []
    >>> with hook_calls([HookTarget(layer)], lambda call: shapes.append(call.inputs.shape)):
    ...     outputs = layer(np.ones((1, 3)))
    >>> tuple(shapes[0])
    (1, 3)
    """
    unique = {target.key: target for target in targets}
    with ExitStack() as undo:
        for target in unique.values():
            undo.callback(set_target(target, _hooked(target, hook)))
        yield


@contextmanager
def hook_seen_calls(
    targets: Iterable[HookTarget], hook: Hook, rows: int | None = None
) -> Iterator[None]:
    """Call a hook after the calls of the targets whose tensors the surrounding code can use.

    Left alone are calls in another trace of the backend than the context (in `keras.ops.cond` on
    TensorFlow and JAX, `jax.jit`, `tf.function`, `torch.vmap`, …), calls in a loop, such as
    `keras.ops.map` and a recurrent layer's, and calls on parts of a batch. A target without other
    calls counts as not seen. Layers that are rematerialized are seen.

    Args:
        targets: Iterable of `HookTarget`, as in `hook_calls`.
        hook: Callable, as in `hook_calls`.
        rows: Integer or None. The number of samples in a batch: a call on tensors whose first axis
            is no multiple of it is left alone. Defaults to None, any number.
    """

    def hook_if_seen(call: HookedCall) -> Any:
        is_seen = position.can_use_tensors_of(current_position()) and _has_rows(call, rows)
        return hook(call) if is_seen else None

    with code_as_written():
        position = current_position()
        with hook_calls(targets, hook_if_seen):
            yield


def _has_rows(call: HookedCall, rows: int | None) -> bool:
    """Return whether the first axis of what a call reads may belong to a number of samples."""
    if rows is None:
        return True
    shape = tuple(call.inputs.shape)
    first = shape[0] if shape else 0
    return first is None or (first > 0 and first % rows == 0)


@contextmanager
def attributes_set(targets: Iterable[HookTarget], value: Any) -> Iterator[None]:
    """Set the target attributes to another value, as long as the context lasts.

    Args:
        targets: Iterable of `HookTarget`.
        value: Any. The value of the attributes within the context.
    """
    with ExitStack() as undo:
        for target in targets:
            undo.callback(set_target(target, value))
        yield


def set_target(target: HookTarget, value: Any) -> Callable[[], None]:
    """Set a target to another value, until the returned function is called.

    A list or dict is changed in place, since other layers may hold it too; a tuple is replaced.

    Args:
        target: `HookTarget`.
        value: Any. Its new value.

    Returns:
        A function that restores the target.
    """
    containers = [getattr(target.owner, target.attribute)]
    for key in target.keys[:-1]:
        containers.append(containers[-1][key])
    for container, key in zip(reversed(containers), reversed(target.keys), strict=False):
        if not isinstance(container, tuple):
            return _set_item(container, key, value)
        value = _with_item(container, key, value)
    return _set_attribute(target.owner, target.attribute, value)


def _set_item(container: Any, key: Any, value: Any) -> Callable[[], None]:
    old = container[key]
    _assign_item(container, key, value)
    return lambda: _assign_item(container, key, old)


def _assign_item(container: Any, key: Any, value: Any) -> None:
    """Assign an item without the `__setitem__` of Keras, which tracks layers and variables."""
    for base in (list, dict):
        if base in type(container).__mro__:
            base.__setitem__(container, key, value)
            return
    container[key] = value


def _with_item(container: tuple[Any, ...], index: int, value: Any) -> tuple[Any, ...]:
    items = (*container[:index], value, *container[index + 1 :])
    return type(container)(*items) if hasattr(container, "_fields") else items


def _set_attribute(owner: Any, attribute: str, value: Any) -> Callable[[], None]:
    """Set an attribute to another value, until the returned function is called.

    Args:
        owner: Any. An object with an instance dictionary.
        attribute: String. Name of the attribute, whether or not the instance has it.
        value: Any. Its new value.

    Returns:
        A function that restores the attribute.
    """
    attributes = vars(owner)
    old = attributes.get(attribute, _ABSENT)
    attributes[attribute] = value

    def restore() -> None:
        if old is _ABSENT:
            del attributes[attribute]
        else:
            attributes[attribute] = old

    return restore


def without_hooks(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that runs below the hooks of an attribute, or the function itself."""
    while hasattr(function, "hooked_function"):
        function = function.hooked_function
    return function


def _hooked(target: HookTarget, hook: Hook) -> Callable[..., Any]:
    original = target.value

    def hooked(*args: Any, **kwargs: Any) -> Any:
        outputs = original(*args, **kwargs)
        replacement = hook(HookedCall(target=target, args=args, kwargs=kwargs, outputs=outputs))
        return outputs if replacement is None else replacement

    vars(hooked)["hooked_function"] = original
    return hooked
