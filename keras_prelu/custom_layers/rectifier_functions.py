"""Recognition of a call of a function as the call of a rectifier, from what is called with what."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_prelu.graph.rectifier_recognition import recognize, recognize_function
from keras_prelu.graph.rectifiers import RECTIFYING, Rectifier
from keras_prelu.typing import Tensor
from keras_prelu.utils.libraries import is_of_user

__all__ = [
    "RECTIFYING_FUNCTIONS",
    "RectifierUse",
    "is_tensor",
    "may_rectify",
    "rectifier_use",
    "runs_code_of_user",
]

RECTIFYING_FUNCTIONS = frozenset(
    {
        *(
            "clamp",
            "clamp_min",
            "clip",
            "clip_by_value",
            "hardtanh",
            "leaky_relu",
            "max",
            "maximum",
        ),
        *("relu", "relu6", "threshold", "where", "where_v2"),
        *("_clip", "_threshold", "clamp_", "clamp_min_", "leaky_relu_", "relu_"),
        *("celu", "elu", "gelu", "hard_silu", "hard_swish", "hardswish", "mish"),
        *("selu", "silu", "softplus", "swish"),
    }
)
"""Names of functions of Keras's and of the backends that rectify, depending on their arguments.

As their `__name__` says: that of `x.clip` is `_clip` on JAX.
"""
_NUMBERS = (bool, float, int, np.bool_, np.floating, np.integer)


@dataclass(frozen=True)
class RectifierUse:
    """A rectifier as a call applies it.

    Attributes:
        rectifier: `Rectifier`.
        tensor: Tensor. What it is applied to.
        apply: Callable. Applies it to a tensor, as the call does.
    """

    rectifier: Rectifier
    tensor: Tensor
    apply: Callable[[Tensor], Tensor]


def runs_code_of_user(function: Any) -> bool:
    """Return whether a function, a method or another callable object runs code of the user's."""
    if isinstance(function, functools.partial):
        return runs_code_of_user(function.func)
    if isinstance(function, (types.FunctionType, types.MethodType)):
        return is_of_user(function)
    if isinstance(function, (type, keras.Operation)):
        return False
    cls = type(function)
    return callable(function) and is_of_user(cls) and isinstance(cls.__call__, types.FunctionType)


def may_rectify(function: Any) -> bool:
    """Return whether a function, or what a method or a layer belongs to, may be a rectifier.

    A layer that is a rectifier may be one that the code has just created.
    """
    if isinstance(function, keras.layers.Layer):
        return type(function).__name__ in (*RECTIFYING, "Activation")
    if isinstance(function, (type, functools.partial)):
        return isinstance(function, functools.partial) and may_rectify(function.func)
    name = getattr(function, "__name__", None)
    return name in RECTIFYING_FUNCTIONS and not hasattr(function, "stands_in")


def rectifier_use(
    function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> RectifierUse | None:
    """Return what a call applies if it is a rectifier of one tensor, or None.

    Args:
        function: Callable. What is called.
        args: Sequence. Its positional arguments.
        kwargs: Mapping. Its keyword arguments.
    """
    owner = getattr(function, "__self__", None)
    if is_tensor(owner):  # A method of a tensor, such as PyTorch's `x.relu()`.
        function = getattr(type(owner), function.__name__, None) or function.__func__
        args = (owner, *args)
    while isinstance(function, functools.partial):
        args, kwargs = (*function.args, *args), {**function.keywords, **kwargs}
        function = function.func
    arguments = _Arguments.of(args, kwargs)
    if arguments is None:
        return None
    rectifier = _rectifier_of(function, arguments)
    if rectifier is None:
        return None
    if arguments.work_in_place(function):
        rectifier = replace(rectifier, reason="it works in place, which other code may rely on")
    constants = arguments.without_tensor()  # Which would be kept in memory.
    return RectifierUse(
        rectifier=replace(rectifier, kind="code"),
        tensor=arguments.tensor,
        apply=lambda tensor: constants.call(function, tensor),
    )


class _Arguments:
    """The arguments of a call, of which one is a tensor and the others are numbers.

    Attributes:
        tensor: Tensor.
        constants: Tuple. The others, hashable, with the position or the name of each.
    """

    def __init__(self, tensor: Tensor, place: int | str, constants: dict[int | str, Any]) -> None:
        self.tensor = tensor
        self._place = place
        self._constants = constants

    @classmethod
    def of(cls, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Arguments | None:
        """Return the arguments, or None if they are others."""
        given: dict[int | str, Any] = dict(enumerate(args))
        given.update(kwargs.items())
        tensors = [place for place, value in given.items() if is_tensor(value)]
        constants = {place: value for place, value in given.items() if not is_tensor(value)}
        if len(tensors) != 1 or not all(map(_is_constant, constants.values())):
            return None
        return cls(given[tensors[0]], tensors[0], constants)

    @property
    def constants(self) -> tuple[Any, ...]:
        numbers = ((place, _number(value)) for place, value in self._constants.items())
        return (self._place, *sorted(numbers, key=str))

    def call(self, function: Callable[..., Tensor], tensor: Tensor) -> Tensor:
        """Call a function with another tensor and the same numbers."""
        given = {**self._constants, self._place: tensor}
        positions = sorted(place for place in given if isinstance(place, int))
        named = {place: each for place, each in given.items() if isinstance(place, str)}
        return function(*(given[position] for position in positions), **named)

    def without_tensor(self) -> _Arguments:
        return _Arguments(None, self._place, self._constants)

    def work_in_place(self, function: Any) -> bool:
        """Return whether the call changes the tensor, as some functions of PyTorch do on request.

        Other code may rely on that.
        """
        is_of_torch = str(getattr(function, "__module__", "")).startswith("torch")
        asks_for_it = any(value is True for value in self._constants.values())
        return (is_of_torch and asks_for_it) or str(getattr(function, "__name__", "")).endswith("_")


_CACHE: dict[tuple[int, tuple[Any, ...]], tuple[Any, Rectifier | None]] = {}


def _rectifier_of(function: Any, arguments: _Arguments) -> Rectifier | None:
    if isinstance(function, keras.layers.Layer):
        return recognize(function)
    key = (id(function), arguments.constants)
    if key not in _CACHE:
        # Ids are unique only among live objects, so the function has to stay alive.
        _CACHE[key] = (function, _recognized(function, arguments.without_tensor()))
    return _CACHE[key][1]


def _recognized(function: Any, arguments: _Arguments) -> Rectifier | None:
    if arguments.constants == (0,):
        return recognize_function(function)

    def with_numbers(tensor: Tensor) -> Tensor:
        return arguments.call(function, tensor)

    found = recognize_function(with_numbers)
    if found is None and isinstance(function, types.FunctionType):
        found = recognize_function(function)
        found = found if found is not None and found.smooth else None
    return found


def is_tensor(value: Any) -> bool:
    """Return whether a value is a tensor, or an array of samples, which Keras's functions take."""
    is_samples = isinstance(value, np.ndarray) and value.ndim > 1 and value.size > 1
    return is_samples or keras.utils.is_keras_tensor(value) or keras.ops.is_tensor(value)


def _is_constant(value: Any) -> bool:
    return value is None or isinstance(value, (str, *_NUMBERS)) or _number(value) is not value


def _number(value: Any) -> Any:
    """Return the number in an array of one element; anything else as it is."""
    if isinstance(value, np.ndarray) and value.size == 1:
        return value.item()
    return value
